%% @doc How far behind its acceptors a listener is, as the kernel counts it.
%%
%% A client whose handshake is done waits in the listener's accept queue until some process calls `accept'. When the
%% queue is full, Linux drops the next client's SYN without a word, and the VM never learns of it.
%%
%% == Which function ==
%%
%% <table>
%% <tr><td>how deep is the queue</td><td>{@link depth/1}</td><td>three system calls, on a normal scheduler</td></tr>
%% <tr><td>who stands in it, how long, how many have left</td><td>{@link counts/1}</td>
%%     <td>one walk over the kernel's table of connections, on a dirty I/O scheduler</td></tr>
%% <tr><td>which listeners does this VM have</td><td>{@link list/0}, {@link i/0}</td>
%%     <td>one dump of the listeners, and a look at every TCP port</td></tr>
%% <tr><td>what are the limits, what was lost</td><td>{@link kernel/0}</td><td>six files of `/proc'</td></tr>
%% <tr><td>the same listener again and again</td><td>{@link open/1} once, then the handle</td><td></td></tr>
%% </table>
%%
%% Every call reads the kernel anew; nothing is kept. Nothing here can tell which process is slow.
%%
%% == A session ==
%%
%% Nobody accepts; one client waits, one has come and gone:
%% ```
%% 1> {ok, L} = gen_tcp:listen(0, [{backlog, 30}]), {ok, Port} = inet:port(L).
%% 2> {ok, _} = gen_tcp:connect("localhost", Port, []).
%% 3> {ok, Gone} = gen_tcp:connect("localhost", Port, []), gen_tcp:close(Gone).
%% 4> accept_queue:depth(L).
%% {ok,#{drops => 0,limit => 30,queued => 2}}
%% 5> {ok, #{queued_alive := 1, queued_closed := 1, oldest_wait_ms := Ms}} = accept_queue:counts(L).
%% '''
%%
%% == Errors ==
%%
%% "Could not read" is always `{error, Reason}', never a zero and never an empty list. A term that is no listener at all
%% raises `badarg'. See {@link reason()}.
-module(accept_queue).

-export([open/1, depth/1, counts/1, list/0, kernel/0, i/0]).

-export_type([listener/0, handle/0, address/0, cookie/0, depth/0, counts/0, listed/0, kernel/0, reason/0]).

-type listener() :: gen_tcp:socket() | handle().
%% Anything an owner has in hand: so far a gen_tcp listen socket of the `inet' backend, or a handle.

-type handle() :: accept_queue_nif:handle().
%% A listener looked up once. Holds nothing open.

-type address() :: {inet:ip_address(), inet:port_number()}.

-type cookie() :: pos_integer().
%% Names a socket for as long as the machine runs; never given twice.

-type depth() :: #{
    queued := non_neg_integer(),
    limit := non_neg_integer(),
    drops := non_neg_integer() | undefined
}.
%% `queued': connections that wait for accept. `limit': the backlog in force; full is `queued > limit'. `drops': packets
%% the listener has dropped since it was opened, overflow first among the causes (`undefined' before Linux 4.12).

-type counts() :: #{
    queued := non_neg_integer(),
    limit := non_neg_integer(),
    drops := non_neg_integer() | undefined,
    syn_recv := non_neg_integer(),
    queued_alive := non_neg_integer(),
    queued_closed := non_neg_integer(),
    queued_reset := non_neg_integer(),
    queued_bytes := non_neg_integer(),
    oldest_wait_ms := non_neg_integer() | undefined,
    established := non_neg_integer(),
    close_wait := non_neg_integer(),
    sockets := pos_integer()
}.

-type listed() :: #{
    address := address(),
    socket := port(),
    owner := pid() | undefined,
    server := atom() | mfa() | undefined,
    cookie := cookie(),
    inode := pos_integer(),
    queued := non_neg_integer(),
    limit := non_neg_integer(),
    drops := non_neg_integer() | undefined,
    waiting_acceptors := non_neg_integer()
}.

-type kernel() :: #{
    somaxconn := figure(),
    tcp_max_syn_backlog := figure(),
    tcp_abort_on_overflow := figure(),
    tcp_syncookies := figure(),
    tcp_synack_retries := figure(),
    listen_overflows := figure(),
    listen_drops := figure(),
    tcp_req_q_full_drop := figure(),
    tcp_req_q_full_do_cookies := figure(),
    syncookies_sent := figure(),
    syncookies_recv := figure(),
    syncookies_failed := figure()
}.

-type figure() :: non_neg_integer() | undefined.
%% `undefined': this kernel or network namespace does not have it.

-type reason() ::
    unsupported
    | not_listening
    | closed
    | not_found
    | eacces
    | eperm
    | truncated
    | interrupted
    | not_loaded
    | timeout
    | {errno, atom()}.
%% `unsupported': not Linux, or the kernel or its sandbox does not offer the call. `not_listening': a socket, but one
%% that is connected, or UDP. `closed': it was a listener and has been closed. `truncated', `interrupted', `timeout':
%% the kernel's answer was not whole, so there is no figure. `not_loaded': the native library is missing.

%% @doc Looks a listener up once, so that later calls need not.
%%
%% The handle holds nothing open. When the owner closes the socket, the next reading is `{error, closed}', also when the
%% descriptor number has been given to another socket by then: every reading ends with a look at the socket's cookie.
%% A handle can be sent to other processes of this VM and is good for as long as the VM runs.
-spec open(listener()) -> {ok, handle()} | {error, reason()}.
open(Handle) when is_reference(Handle) ->
    case depth(Handle) of
        {ok, _} -> {ok, Handle};
        {error, _} = Error -> Error
    end;
open(Listener) ->
    reading([Listener], fun() -> accept_queue_listener:open(Listener) end).

%% @doc How deep the queue is. Three system calls on the owner's descriptor, about 1.5 microseconds with a handle; a
%% socket is looked up first.
%%
%% Cannot tell who stands in the queue; see {@link counts/1}. Without the native library it still works for gen_tcp
%% sockets, through `inet:getopts/2'.
-spec depth(listener()) -> {ok, depth()} | {error, reason()}.
depth(Handle) when is_reference(Handle) ->
    try accept_queue_nif:depth(Handle) of
        {ok, {Queued, Limit, Drops}} -> {ok, #{queued => Queued, limit => Limit, drops => Drops}};
        {error, _} = Error -> Error
    catch
        error:not_loaded -> not_loaded();
        error:badarg -> erlang:error(badarg, [Handle])
    end;
depth(Listener) ->
    case open(Listener) of
        {ok, Handle} -> depth(Handle);
        {error, not_loaded} when is_port(Listener) -> accept_queue_inet:depth(Listener);
        {error, _} = Error -> Error
    end.

%% @doc Who stands in front of the listener.
%%
%% One walk over the kernel's table of connections, on a dirty I/O scheduler: a third of a millisecond on an idle
%% machine, and more with the number of connections in the network namespace. Sockets that share an address
%% (SO_REUSEPORT) are answered with their sum, and `sockets' says how many they are.
%%
%% The kernel does not tell the figures of one instant. `queued_reset' is what is left when the rows of queued
%% connections are taken from `queued'; where that is above 0, the listener is read a second time, so that connections
%% accepted in between are not taken for reset ones. Clients that shut down only their sending side count as
%% `queued_closed'. Handshakes that began with a listener that has been closed are counted in `syn_recv' of the next one
%% on the same address until they expire: nothing in the kernel tells them apart.
-spec counts(listener()) -> {ok, counts()} | {error, reason()}.
counts(Listener) ->
    reading([Listener], fun() ->
        case open(Listener) of
            {ok, Handle} -> accept_queue_nif:counts(Handle);
            {error, _} = Error -> Error
        end
    end).

%% @doc Every listener of this VM, ordered by address. One dump of the listeners of the network namespace, and a look at every TCP port of
%% the VM.
%%
%% `waiting_acceptors' is the number of processes that are blocked in accept at this moment. `server' is the owner's
%% registered name, or else the function it started with.
-spec list() -> {ok, [listed()]} | {error, reason()}.
list() ->
    reading([], fun accept_queue_listener:all/0).

%% @doc The limits and counters of the VM's network namespace. Six files of `/proc', on a dirty I/O scheduler.
%%
%% The counters are sums over all listeners of the namespace since it was made, and are not of one instant.
-spec kernel() -> {ok, kernel()} | {error, reason()}.
kernel() ->
    reading([], fun accept_queue_nif:kernel/0).

%% @doc Prints every listener of this VM, as {@link inet:i/0} does for sockets.
-spec i() -> ok.
i() ->
    io:put_chars(accept_queue_table:text()).

%% A reading that may find no library; bad arguments are the caller's.
reading(Arguments, Read) ->
    try Read() of
        {error, badarg} -> erlang:error(badarg, Arguments);
        Answer -> Answer
    catch
        error:not_loaded -> not_loaded()
    end.

not_loaded() ->
    case os:type() of
        {unix, linux} -> {error, not_loaded};
        _ -> {error, unsupported}
    end.
