%% @doc How many connections wait to be accepted, how long, and why: by the kernel's own figures.
%%
%% A client whose handshake is done waits in the listener's accept queue until a process calls `accept'. When the queue is
%% full, Linux silently drops the next client's SYN, and the VM is not notified.
%%
%% == Which function ==
%%
%% <table>
%% <tr><td>how deep is the queue</td><td>{@link depth/1}</td><td>three system calls, on a normal scheduler</td></tr>
%% <tr><td>which clients wait in it, how long, how many have left</td><td>{@link counts/1}</td>
%%     <td>one walk over the kernel's table of connections, on a dirty I/O scheduler</td></tr>
%% <tr><td>which listeners does this VM have</td><td>{@link list/0}, {@link i/0}</td>
%%     <td>one dump of the listeners; the TCP ports of the VM when one is new</td></tr>
%% <tr><td>which processes accept, and what do the others do instead</td><td>{@link acceptors/1}</td>
%%     <td>`process_info' of each process of the pool</td></tr>
%% <tr><td>how long did the accepted connections wait</td><td>{@link accepted/2} with each, {@link waits/1}</td>
%%     <td>one system call, on a normal scheduler; from memory</td></tr>
%% <tr><td>what are the limits, what was lost</td><td>{@link kernel/0}</td><td>six files of `/proc'</td></tr>
%% <tr><td>what is set wrongly, before anything breaks</td><td>{@link advice/0}</td>
%%     <td>as {@link list/0}, and {@link counts/1} where connections wait</td></tr>
%% <tr><td>and on the other nodes</td><td>{@link cluster/1}</td><td>one round trip to each, side by side</td></tr>
%% <tr><td>the same listener again and again</td><td>{@link open/1} once, then the handle</td><td></td></tr>
%% </table>
%%
%% A library in the VM makes the readings, or, with `{source, port}' in the environment and where the library cannot be loaded, a
%% program beside it. The costs above are the library's; `docs/configuration.md' has the program's.
%%
%% Every call reads the kernel again. Only the processes that were found in accept are remembered, as the pool, and the names of the
%% listeners.
%%
%% == A session ==
%%
%% No process accepts; one client waits, one has come and gone:
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
%% raises `badarg', and the shell or the log says which argument it is and what is allowed. See {@link reason()}.
-module(accept_queue).

-export([
    open/1, depth/1, counts/1, list/0, acceptors/1, holders/1, holders/2, wait_ms/1, peer_closed/1,
    accepted/2, waits/1, resize/2, kernel/0,
    advice/0, advice/1, cluster/1, cluster/2, i/0
]).
-export([watch/1, watch/2, unwatch/1, watched/0, status/1, health/0, health/1, subscribe/0, unsubscribe/0]).

-export_type([
    listener/0, connection/0, handle/0, address/0, cookie/0, depth/0, counts/0, listed/0, acceptors/0, busy/0, holder/0,
    waits/0,
    kernel/0, advice/0, call/0, node_answer/0, reason/0,
    condition/0, status/0, health/0, server/0
]).

%% Bad arguments are the caller's fault; what else cannot be read is an error. Macros: the exception is the called function's, so that its
%% name and its arguments stand beside what is allowed.
-define(READING(Arguments, Read),
    case accept_queue_reading:make(fun() -> Read end) of
        {error, badarg} -> ?BADARG(Arguments);
        Answer -> Answer
    end
).
-define(BADARG(Arguments), erlang:error(badarg, Arguments, [{error_info, #{module => accept_queue_errors}}])).
%% The last argument is wrong, and this is why.
-define(BADARG(Arguments, Sentence),
    erlang:error(badarg, Arguments, [{error_info, #{module => accept_queue_errors, cause => Sentence}}])
).

-type listener() ::
    gen_tcp:socket()
    | socket:socket()
    | ssl:sslsocket()
    | {ranch, Ref :: term()}
    | {port, inet:port_number()}
    | {inet:ip_address(), inet:port_number()}
    | {inet:ip6_address(), inet:port_number(), Scope :: non_neg_integer()}
    | {local, Path :: binary() | string()}
    | {address(), {device, binary()} | {namespace | inode, pos_integer()}}
    | handle().
%% Any term for a listener. A gen_tcp listen socket of either backend, one of the `socket' module, or an ssl one; the
%% reference of a ranch listener; an address or a port of this VM, where several sockets are answered with their sum; the
%% path of a Unix stream listener, or its abstract name behind a NUL; a handle.

-type connection() :: gen_tcp:socket() | socket:socket() | ssl:sslsocket().

-type handle() :: accept_queue_source:handle().
%% A listener looked up once. Holds nothing open.

-type address() ::
    {inet:ip_address(), inet:port_number()}
    | {inet:ip6_address(), inet:port_number(), Scope :: non_neg_integer()}
    | {local, binary()}
    | {address(), {device, binary()} | {namespace | inode, pos_integer()}}.
%% The scope, an interface's index, stands with a link-local address only. The last form is for what is watched: an address may stand for
%% more than one queue, where sockets are bound to different devices (SO_BINDTODEVICE) or live in different network namespaces, or
%% where a Unix path was bound again while the old socket listens on. Then one of them is called by the address, and each other one also by the
%% device, the inode of the namespace or that of the socket: in events, `watched/0', `status/1' and `health/0'. A name stays for as
%% long as its sockets do.

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
    syn_recv := non_neg_integer() | undefined,
    queued_alive := non_neg_integer() | undefined,
    queued_closed := non_neg_integer() | undefined,
    queued_reset := non_neg_integer() | undefined,
    queued_bytes := non_neg_integer() | undefined,
    oldest_wait_ms := non_neg_integer() | undefined,
    established := non_neg_integer(),
    close_wait := non_neg_integer(),
    sockets := pos_integer()
}.

-type server() ::
    {ranch | phoenix | bandit | thousand_island | mochiweb | elli | esockd, Name :: term()}
    | {label, term()}
    | {application, atom()}
    | atom()
    | mfa()
    | undefined.
%% The owner's name for a person: the listener of a framework, or else the owner's label (`proc_lib:set_label/1'), its registered name,
%% its application, or the function it started with. The name of a framework's listener: ranch's reference; `MyAppWeb.Endpoint.HTTP' as
%% an atom; the plug of Bandit; the registered name or the handler of Thousand Island; the registered name of mochiweb and elli; the protocol of esockd.

-type listed() :: #{
    address := address(),
    socket := accept_queue_backend:socket() | undefined,
    owner := pid() | undefined,
    server := server(),
    cookie := cookie(),
    inode := pos_integer(),
    device := binary() | undefined,
    namespace := pos_integer() | undefined,
    queued := non_neg_integer(),
    limit := non_neg_integer(),
    drops := non_neg_integer() | undefined,
    waiting_acceptors := non_neg_integer() | undefined
}.
%% `socket', `owner', `server' and `waiting_acceptors' are `undefined' for a listening descriptor of this operating system process
%% that has no Erlang socket. `device': the one that it is bound to, if any. `namespace': its network namespace, by the inode that
%% `/proc/PID/ns/net' shows, where that is not the VM's own.

-type acceptors() :: #{
    waiting_count := non_neg_integer(),
    waiting := [pid()],
    pool := [pid()] | undefined,
    busy := [busy()],
    busy_count := non_neg_integer()
}.
%% `waiting_count': how many processes are blocked in accept, exactly; `waiting': those of them that were found. `pool': which
%% should be, `undefined' where none has ever been found in accept. `busy': those of the pool that are not in accept, at most
%% 1000; `busy_count': how many there are.

-type busy() :: #{
    pid := pid(),
    parked := {accept_queue_parking:id(), binary()} | undefined,
    status := atom(),
    current_stacktrace := [tuple()],
    message_queue_len := non_neg_integer(),
    initial_call := mfa(),
    current_function := mfa() | undefined,
    registered_name := atom(),
    label := term()
}.
%% `parked': what it waits for, as a name and a sentence, by its stack; `undefined' where it runs.

-type holder() :: #{
    pid := pid() | undefined,
    socket := accept_queue_backend:socket() | undefined,
    peer := address(),
    state := close_wait,
    age_ms := non_neg_integer(),
    recv_bytes := non_neg_integer(),
    initial_call := mfa() | undefined,
    current_function := mfa() | undefined,
    registered_name := atom(),
    label := term(),
    close_wait := pos_integer()
}.
%% `age_ms': since anything came from the peer; since its FIN, unless this side goes on sending. `recv_bytes': received
%% and not read. `close_wait': how many such connections there are in all, also where the list is shorter.

-type waits() :: #{
    count := non_neg_integer(),
    sum_ms := non_neg_integer(),
    max_ms := non_neg_integer() | undefined,
    p50_ms := non_neg_integer() | undefined,
    p99_ms := non_neg_integer() | undefined,
    buckets := [{UpToMs :: pos_integer() | infinity, Count :: non_neg_integer()}, ...]
}.
%% `buckets': how many waited up to so long, and longer than the bucket before: 1, 2, 5, 10, ... 20000, 60000 ms and `infinity'.
%% `p50_ms', `p99_ms': so many of a hundred waited no longer than this. That is the upper end of a bucket, or `max_ms' where that is
%% less. `max_ms', `p50_ms' and `p99_ms' are `undefined' where `count' is 0.

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

-type condition() :: accept_queue_monitor:condition().
-type status() :: accept_queue_monitor:status().
-type health() :: accept_queue_health:health().

-type figure() :: non_neg_integer() | undefined.
%% `undefined': this kernel or network namespace does not have it.

-type advice() :: #{
    id := atom(),
    severity := info | warning | error,
    listener := address() | undefined,
    text := binary(),
    evidence := #{atom() => non_neg_integer()}
}.
%% `id': the rule; `docs/advice.md' lists them. `severity': `info' may be meant so, `warning' loses clients under a load
%% that the server could stand, `error' is not at all what was asked for. `listener': `undefined' where it is about the
%% kernel. `text': one or two sentences for a person, with the remedy; may change. `evidence': the figures that say so.

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
    | already_written
    | {errno, atom()}.
%% `unsupported': not Linux, or the kernel or its sandbox does not offer the call. `not_listening': a socket, but one
%% that is connected, or UDP. `closed': it was a listener and has been closed. `truncated', `interrupted', `timeout':
%% the kernel's answer was not whole, so there is no figure. `timeout' is also the error while the port program is away.
%% `not_loaded': there is neither the native library nor the program. `already_written': see {@link wait_ms/1}.

-type call() :: (Name :: atom()) | {Name :: atom(), Arguments :: [term()]}.
%% A reading, as {@link cluster/2} takes it.

-type node_answer() ::
    {ok, term()} | health() | [address()] | {error, reason() | nodedown | {exception, term()}}.
%% The answer of that node, or why there is none.

%% @doc Looks a listener up once, so that later calls need not.
%%
%% The handle holds nothing open. When the owner closes the socket, the next reading is `{error, closed}', also when the
%% descriptor number has been given to another socket by then: every reading ends with a check of the socket's cookie.
%% A handle can be sent to other processes of this VM and is good for as long as the VM runs. The source that made it reads it, the
%% NIF or the port program.
%%
%% ```
%% 1> {ok, L} = gen_tcp:listen(0, [{backlog, 30}]).
%% 2> {ok, Handle} = accept_queue:open(L), accept_queue:depth(Handle).
%% {ok,#{drops => 0,limit => 30,queued => 0}}
%% 3> ok = gen_tcp:close(L), accept_queue:depth(Handle).
%% {error,closed}
%% '''
-spec open(listener()) -> {ok, handle()} | {error, reason()}.
open(Listener) ->
    ?READING([Listener], accept_queue_reading:open(Listener)).

%% @doc How deep the queue is. Three system calls on the owner's descriptor, 1 to 2 microseconds with a handle; anything else
%% is looked up first. The depth of a Unix socket takes a dump, on a dirty I/O scheduler.
%%
%% Cannot tell which clients wait in the queue; see {@link counts/1}. Without the native library gen_tcp sockets are read through
%% `inet:getopts/2'.
%%
%% ```
%% 1> {ok, L} = gen_tcp:listen(0, [{backlog, 30}]), {ok, Port} = inet:port(L).
%% 2> {ok, _Client} = gen_tcp:connect("localhost", Port, []).
%% 3> accept_queue:depth(L).
%% {ok,#{drops => 0,limit => 30,queued => 1}}
%% '''
-spec depth(listener()) -> {ok, depth()} | {error, reason()}.
depth(Listener) ->
    ?READING([Listener], accept_queue_reading:depth(Listener)).

%% @doc The connections of a listener: queued, accepted, and in their handshake.
%%
%% One walk over the kernel's table of connections, on a dirty I/O scheduler: a fraction of a millisecond on an
%% idle machine, and more with the number of connections in the network namespace (`docs/proof/speed.md'). Sockets that share an address
%% (SO_REUSEPORT) are answered with their sum, and `sockets' says how many they are.
%%
%% The figures are not of one instant. `queued_reset' is `queued' less the rows of queued connections; where that is above 0,
%% everything is read a second time and the smaller figure counts, so that connections accepted in between are hardly ever taken
%% for reset ones. Clients that shut down only their sending side count as `queued_closed'. Handshakes that began with a
%% listener that has been closed are counted in `syn_recv' of the next one on the same address until they expire: nothing in the
%% kernel tells them apart.
%%
%% Of a Unix socket `drops', `syn_recv', `queued_bytes' and `oldest_wait_ms' are `undefined': the kernel has no such
%% figures. `queued_alive', `queued_closed' and `queued_reset' are `undefined' where rows cannot be credited: of a transparent proxy, and
%% of a Unix socket with more than about 8,000 waiting clients.
%%
%% ```
%% 1> {ok, L} = gen_tcp:listen(0, [{backlog, 30}]), {ok, Port} = inet:port(L).
%% 2> {ok, Client} = gen_tcp:connect("localhost", Port, []), ok = gen_tcp:send(Client, "GET /").
%% 3> accept_queue:counts(L).
%% {ok,#{close_wait => 0,drops => 0,established => 0,limit => 30,oldest_wait_ms => ...,
%%       queued => 1,queued_alive => 1,queued_bytes => 5,queued_closed => 0,
%%       queued_reset => 0,sockets => 1,syn_recv => 0}}
%% '''
-spec counts(listener()) -> {ok, counts()} | {error, reason()}.
counts(Listener) ->
    ?READING([Listener], accept_queue_reading:with_handle(Listener, fun accept_queue_source:counts/1)).

%% @doc Every listener of this VM, TCP and Unix stream, ordered by address. One dump of the listeners of the network
%% namespace; only when that shows a new one, a search of the descriptors and sockets of the VM.
%%
%% `waiting_acceptors' is the number of processes that are blocked in accept at this moment. `server' is the name of the listener in its
%% framework, or else that of its owner: {@link server()}. A listener in another network namespace than
%% the VM's may be listed up to ten seconds late: the dump does not show it.
%%
%% ```
%% 1> {ok, L} = gen_tcp:listen(0, [{ip, {127, 0, 0, 1}}, {backlog, 30}]).
%% 2> {ok, Listeners} = accept_queue:list(), [Row || #{socket := S} = Row <- Listeners, S =:= L].
%% [#{address => {{127,0,0,1},...},cookie => ...,device => undefined,drops => 0,inode => ...,limit => 30,
%%    namespace => undefined,owner => ...,queued => 0,server => ...,socket => #Port<...>,waiting_acceptors => 0}]
%% '''
-spec list() -> {ok, [listed()]} | {error, reason()}.
list() ->
    ?READING([], accept_queue_listener:all()).

%% @doc Which processes are blocked in accept now, and what the others of the pool do instead.
%%
%% The pool is that of the framework (ranch, Thousand Island and with it Bandit and Phoenix, mochiweb, elli, esockd), or else the
%% processes that were found in accept while all was well: the application looks every ten to thirty seconds, without a call. It has as many
%% places as were taken at once; a process that is new in accept takes the place of the one that has been away longest.
%%
%% On the `socket' backend one process at a time is woken for a connection. While that one does something else, `waiting_count' is 0, and the
%% others are `busy', `parked' behind it (`docs/figures.md').
%%
%% Costs `process_info' of each process of the pool; on the `socket' backend, where these are fewer than `waiting_count', of each
%% process of the VM, up to 100,000. No process is stopped or sent a message, except ranch's supervisors, which have a second to
%% answer. The figures are not of one instant: a process that has ended since is left out, and one that has gone back to accept in
%% between is shown with that stack.
%%
%% ```
%% 1> {ok, L} = gen_tcp:listen(0, []).
%% 2> spawn(fun() -> gen_tcp:accept(L) end), timer:sleep(500), accept_queue:acceptors(L).
%% {ok,#{busy => [],busy_count => 0,pool => [<...>],waiting => [<...>],waiting_count => 1}}
%% '''
-spec acceptors(listener()) -> {ok, acceptors()} | {error, reason()}.
acceptors(Listener) ->
    ?READING([Listener], accept_queue_acceptors:of_listener(Listener)).

%% @equiv holders(Listener, #{limit => 1000})
-spec holders(listener()) -> {ok, [holder()]} | {error, reason()}.
holders(Listener) ->
    holders(Listener, #{limit => 1000}).

%% @doc Which processes hold the connections of this listener that their peers have closed, the longest held first.
%%
%% A server that does not read is not notified that its client has gone: the socket stays in CLOSE_WAIT, and its descriptor
%% taken, until a process closes it. One dump and one system call for each descriptor of the VM, on a dirty I/O
%% scheduler; then a search through the sockets of the VM, in the caller. `unsupported' for a Unix socket.
%%
%% ```
%% 1> {ok, L} = gen_tcp:listen(0, [{active, false}]), {ok, Port} = inet:port(L).
%% 2> {ok, Client} = gen_tcp:connect("localhost", Port, []), {ok, Held} = gen_tcp:accept(L).
%% 3> ok = gen_tcp:close(Client), accept_queue:holders(L, #{limit => 10}).
%% {ok,[#{age_ms => ...,close_wait => 1,current_function => ...,peer => {{127,0,0,1},...},pid => <...>,
%%        ...,state => close_wait}]}
%% '''
-spec holders(listener(), #{limit => pos_integer()}) -> {ok, [holder()]} | {error, reason()}.
holders(Listener, #{limit := Limit} = Options) when map_size(Options) =:= 1, is_integer(Limit), Limit > 0 ->
    ?READING(
        [Listener, Options],
        accept_queue_reading:with_handle(Listener, fun(Handle) -> accept_queue_holders:of_handle(Handle, Limit) end)
    );
holders(Listener, Options) when Options =:= #{} ->
    holders(Listener);
holders(Listener, Options) ->
    ?BADARG([Listener, Options]).

%% @doc How long a connection waited in the queue, in milliseconds. For one that has just been accepted and not been written
%% to: afterwards the kernel no longer has it, and the error is `already_written'. For ssl, call it between
%% `ssl:transport_accept/1' and `ssl:handshake/1'. One system call. `unsupported' for a Unix socket.
%%
%% ```
%% 1> {ok, L} = gen_tcp:listen(0, []), {ok, Port} = inet:port(L).
%% 2> {ok, _Client} = gen_tcp:connect("localhost", Port, []), timer:sleep(200).
%% 3> {ok, Accepted} = gen_tcp:accept(L), {ok, Ms} = accept_queue:wait_ms(Accepted), Ms >= 150.
%% true
%% 4> ok = gen_tcp:send(Accepted, "hello"), accept_queue:wait_ms(Accepted).
%% {error,already_written}
%% '''
-spec wait_ms(connection()) -> {ok, non_neg_integer()} | {error, reason()}.
wait_ms(Connection) ->
    ?READING([Connection], accept_queue_reading:of_connection(Connection, fun accept_queue_source:waited/1)).

%% @doc Whether the client of an accepted connection has already closed or reset it, so that an acceptor can skip it. One
%% system call.
%%
%% A client that has closed only its sending side and still reads (`shutdown(2)', `nc -N', some HTTP/1.0 clients) looks the
%% same: skip such connections only where no client of yours does that.
%%
%% ```
%% 1> {ok, L} = gen_tcp:listen(0, [{active, false}]), {ok, Port} = inet:port(L).
%% 2> {ok, Client} = gen_tcp:connect("localhost", Port, []), {ok, Accepted} = gen_tcp:accept(L).
%% 3> accept_queue:peer_closed(Accepted).
%% {ok,false}
%% 4> ok = gen_tcp:close(Client), accept_queue:peer_closed(Accepted).
%% {ok,true}
%% '''
-spec peer_closed(connection()) -> {ok, boolean()} | {error, reason()}.
peer_closed(Connection) ->
    ?READING([Connection], accept_queue_reading:of_connection(Connection, fun accept_queue_source:peer_closed/1)).

%% @doc How long a connection that was accepted from this listener waited in its queue, and whether its client has left:
%% {@link wait_ms/1} and {@link peer_closed/1} at once, with their limits. The wait is added to the listener's histogram, which
%% {@link waits/1} reads.
%%
%% For the loop of an acceptor, or the `init' of a protocol: before anything is written (`already_written'), and with ssl before
%% `ssl:handshake/1'. The time between accept and this call counts as waiting. `unsupported' for a Unix socket. Only what is
%% answered with `ok' is counted. A handle, or a socket that was asked about before, is good for connections that were accepted before the
%% listener was closed.
%%
%% One system call, of the connection. The listener is looked up with its first connection; then a handle costs nothing, a socket one
%% look-up in memory, and an address or a ranch reference one system call more. Where several sockets listen on an address, nothing says
%% which of them a connection came from: it is counted with the first.
%%
%% ```
%% 1> {ok, L} = gen_tcp:listen(0, [{active, false}]), {ok, Port} = inet:port(L).
%% 2> {ok, Client} = gen_tcp:connect("localhost", Port, []), {ok, Accepted} = gen_tcp:accept(L).
%% 3> accept_queue:accepted(L, Accepted).
%% {ok,#{peer_closed => false,wait_ms => ...}}
%% '''
-spec accepted(listener(), connection()) ->
    {ok, #{wait_ms := non_neg_integer(), peer_closed := boolean()}} | {error, reason()}.
accepted(Listener, Connection) ->
    ?READING([Listener, Connection], accept_queue_accepted:count(Listener, Connection)).

%% @doc How long the connections of a listener had waited that were passed to {@link accepted/2}, since the listener was first seen.
%% From memory; the listener is looked up. Where several sockets listen on an address, the sum.
%%
%% With `{source, port}' the program counts, and begins again with 0 when it is started again.
%%
%% ```
%% 1> {ok, L} = gen_tcp:listen(0, [{active, false}]), {ok, Port} = inet:port(L).
%% 2> {ok, Client} = gen_tcp:connect("localhost", Port, []), timer:sleep(200), {ok, Accepted} = gen_tcp:accept(L).
%% 3> {ok, _} = accept_queue:accepted(L, Accepted), {ok, #{count := 1, buckets := Buckets}} = accept_queue:waits(L).
%% 4> lists:sum([Count || {_UpToMs, Count} <- Buckets]).
%% 1
%% '''
-spec waits(listener()) -> {ok, waits()} | {error, reason()}.
waits(Listener) ->
    ?READING([Listener], accept_queue_accepted:waits(Listener)).

%% @doc Gives a listener that is in use another backlog: `listen(2)' again, with no restart and without touching what is
%% queued. `limit' is what is now in force: smaller than `requested' where `somaxconn' clipped it. Where the term means
%% several sockets, each gets this backlog, and `limit' is the sum.
%%
%% ```
%% 1> {ok, L} = gen_tcp:listen(0, [{backlog, 5}]), accept_queue:resize(L, 100).
%% {ok,#{limit => 100,requested => 100}}
%% '''
-spec resize(listener(), Backlog :: 0..16#7fffffff) ->
    {ok, #{requested := non_neg_integer(), limit := non_neg_integer()}} | {error, reason()}.
resize(Listener, Backlog) when is_integer(Backlog), Backlog >= 0, Backlog =< 16#7fffffff ->
    ?READING([Listener, Backlog], accept_queue_reading:resize(Listener, Backlog));
resize(Listener, Backlog) ->
    ?BADARG([Listener, Backlog]).

%% @doc The limits and counters of the VM's network namespace. Six files of `/proc', on a dirty I/O scheduler.
%%
%% The counters are sums over all listeners of the namespace since it was made, and are not of one instant.
%%
%% ```
%% 1> accept_queue:kernel().
%% {ok,#{listen_drops => ...,listen_overflows => ...,somaxconn => ...,
%%       ...,tcp_syncookies => ...}}
%% '''
-spec kernel() -> {ok, kernel()} | {error, reason()}.
kernel() ->
    ?READING([], accept_queue_source:kernel()).

%% @doc What is set wrongly, before anything breaks: in the kernel, and in every listener of this VM. An empty list where
%% nothing is.
%%
%% Costs what {@link list/0} does, six files of `/proc', and {@link counts/1} for each listener with queued connections. The
%% kernel keeps the backlog in force, not the requested one; ranch has that too, and elsewhere the text of a rule says that it
%% is not known. It judges settings only, not whether a queue is full or whether a process accepts.
%%
%% ```
%% 1> {ok, L} = gen_tcp:listen(0, []).
%% 2> {ok, Advice} = accept_queue:advice(), [Severity || #{id := default_backlog, severity := Severity} <- Advice].
%% [warning...]
%% '''
-spec advice() -> {ok, [advice()]} | {error, reason()}.
advice() ->
    ?READING([], accept_queue_advice:all()).

%% @doc The same, of the kernel and of one listener.
%%
%% ```
%% 1> {ok, L} = gen_tcp:listen(0, []), {ok, Advice} = accept_queue:advice(L).
%% 2> [Evidence || #{id := default_backlog, evidence := Evidence} <- Advice].
%% [#{limit => 5}]
%% '''
-spec advice(listener()) -> {ok, [advice()]} | {error, reason()}.
advice(Listener) ->
    ?READING([Listener], accept_queue_reading:with_handle(Listener, fun accept_queue_advice:of_handle/1)).

%% @equiv watch(Listener, #{})
-spec watch(listener()) -> ok | {error, reason() | not_running}.
watch(Listener) ->
    watch(Listener, #{}).

%% @doc Watches a listener, with options of its own; the others are those of the environment. An event is published when a
%% condition begins and when it ends: see {@link accept_queue_event}. A listener that is watched already starts again.
%%
%% The application watches all listeners of the VM without this call, unless its environment has another `watch'.
%%
%% ```
%% 1> {ok, L} = gen_tcp:listen(0, [{ip, {127, 0, 0, 1}}]), {ok, Address} = inet:sockname(L).
%% 2> accept_queue:watch(L, #{stuck_ms => 2000}).
%% ok
%% 3> lists:member(Address, accept_queue:watched()).
%% true
%% '''
-spec watch(listener(), map()) -> ok | {error, reason() | not_running}.
watch(Listener, Options) ->
    case accept_queue_reading:make(fun() -> accept_queue_config:watch_options(Options) end) of
        {ok, Known} -> ?READING([Listener, Options], accept_queue_monitor:watch(Listener, Known));
        {error, [_ | _] = Sentence} -> ?BADARG([Listener, Options], Sentence);
        {error, Reason} -> {error, Reason};
        {unread, Reason} -> {error, Reason}
    end.

%% @doc Watches a listener no longer, until {@link watch/1} asks for it. Its conditions are cleared.
%%
%% ```
%% 1> {ok, L} = gen_tcp:listen(0, [{ip, {127, 0, 0, 1}}]), {ok, Address} = inet:sockname(L).
%% 2> ok = accept_queue:watch(L), ok = accept_queue:unwatch(L), lists:member(Address, accept_queue:watched()).
%% false
%% '''
-spec unwatch(listener()) -> ok | {error, reason() | not_running}.
unwatch(Listener) ->
    ?READING([Listener], accept_queue_monitor:unwatch(Listener)).

%% @doc The addresses that are watched.
%%
%% ```
%% 1> {ok, L} = gen_tcp:listen(0, [{ip, {127, 0, 0, 1}}]), ok = accept_queue:watch(L), accept_queue:watched().
%% [...{{127,0,0,1},...}...]
%% '''
-spec watched() -> [address()].
watched() ->
    accept_queue_monitor:watched().

%% @doc What is known of a watched listener, from memory: the raised conditions, the last readings, the last minute.
%%
%% Of all sockets of the listener together; of a port with several addresses there is no `window'. `since' and `peak_at' are system times
%% in milliseconds. `stale': nothing has been read for several intervals, or no census was taken for several of its own.
%% `counts_age_ms': the counts are of the last census, so long ago; `census_every_ms': how often one is taken, less often than
%% configured where it costs more than a hundredth of a core. `waits': as {@link waits/1}. A listener that is open and not watched is `{error, not_watched}'.
%%
%% ```
%% 1> {ok, L} = gen_tcp:listen(0, []), {ok, Port} = inet:port(L), ok = accept_queue:watch(L, #{for_ms => 200}).
%% 2> ok = accept_queue:subscribe(), {ok, _Client} = gen_tcp:connect("localhost", Port, []).
%% 3> receive {accept_queue, raised, behind, _} -> accept_queue:status(L) end.
%% {ok,#{census_every_ms => 5000,conditions => [behind],counts => #{...},counts_age_ms => ...,
%%       depth => #{drops => 0,limit => 5,queued => 1},since => ...,stale => false,waits => #{...},
%%       window => #{max => 1,mean => ...,min => 0,peak_at => ...}}}
%% '''
-spec status(listener()) -> {ok, status()} | {error, reason() | not_watched | not_running}.
status(Listener) ->
    ?READING([Listener], accept_queue_monitor:status(Listener)).

%% @doc For a readiness probe. `ok': what is to be watched is watched, can be read, and nothing is wrong. From memory, in 1 to 2 microseconds,
%% also while the monitor is busy or restarting.
%%
%% A reason is one of:
%% <ul>
%% <li>`{Condition, Address}', which is raised: `overflowing' and `stuck' fail, all other reasons degrade;</li>
%% <li>`{unreadable, Address, Error}': its queue cannot be read now. Where the depth can be read and a census cannot, the listener is not
%% unreadable: by its depth alone `overflowing' and `stuck' are found, and {@link status/1} is `stale' with counts that are old;</li>
%% <li>`{not_listening, Listener}': the `watch' of the environment names it, and it has not been there for two seconds. An address that is closed
%% and opened again takes less;</li>
%% <li>`{listeners_unreadable, Error}': the listeners of this VM cannot be listed, so that a new one is not found;</li>
%% <li>`monitor_not_running'. With `{unreadable, Address, stale}' for each listener where what reads has itself not run for four seconds,
%% held by a debugger or by a machine that has no processor for it;</li>
%% <li>`watchdog_not_running': one is configured, and its program is missing or ends before it has said anything.</li>
%% </ul>
%%
%% ```
%% 1> accept_queue:health().
%% ok
%% '''
-spec health() -> health().
health() ->
    accept_queue_health:health().

%% @doc The same of one listener or of some, for a probe that asks about a port of its own.
%%
%% What nothing listens on is `{not_listening, Listener}', at once. What listens and is not watched is `{not_watched, Listener}': a new
%% listener for a second at most, one of {@link unwatch/1} or that the environment leaves out until it is watched. `ok' would say what is not
%% known. Where it cannot be found out, the reason is `{unreadable, Listener, Error}'. The watchdog, the listeners that the environment
%% names and `listeners_unreadable' are {@link health/0}'s alone. A socket is looked up; all other forms are found in memory.
%%
%% ```
%% 1> {ok, L} = gen_tcp:listen(0, []), {ok, Port} = inet:port(L), ok = accept_queue:watch(L).
%% 2> accept_queue:health({port, Port}).
%% ok
%% 3> ok = accept_queue:unwatch(L), ok = gen_tcp:close(L), accept_queue:health([{port, Port}]).
%% {degraded,[{not_listening,{port,...}}]}
%% '''
-spec health(listener() | [listener()]) -> health().
health(Listeners) ->
    ?READING([Listeners], accept_queue_health:health(Listeners)).

%% @doc Sends the events of {@link accept_queue_event} to the calling process as messages, until it ends.
%% First, before this returns, a `raised' message for each condition that stands, with `standing => true' in its details.
%%
%% ```
%% 1> accept_queue:subscribe().
%% ok
%% 2> {ok, L} = gen_tcp:listen(0, []), {ok, Port} = inet:port(L), ok = accept_queue:watch(L, #{for_ms => 200}).
%% 3> {ok, _Client} = gen_tcp:connect("localhost", Port, []).
%% 4> receive {accept_queue, raised, behind, #{queued := Queued}} -> Queued after 5000 -> nothing end.
%% 1
%% '''
-spec subscribe() -> ok | {error, not_running | timeout}.
subscribe() ->
    accept_queue_event:subscribe(self()).

%% @doc Stops these messages to the calling process.
%%
%% ```
%% 1> ok = accept_queue:subscribe(), accept_queue:unsubscribe().
%% ok
%% '''
-spec unsubscribe() -> ok | {error, not_running | timeout}.
unsubscribe() ->
    accept_queue_event:unsubscribe(self()).

%% @doc Prints every listener of this VM, as {@link inet:i/0} does for sockets.
%%
%% ```
%% 1> {ok, L} = gen_tcp:listen(0, [{ip, {127, 0, 0, 1}}, {backlog, 30}]), {ok, Port} = inet:port(L).
%% 2> {ok, _Client} = gen_tcp:connect({127, 0, 0, 1}, Port, []), accept_queue:i().
%% address   queue  oldest ms  drops  accepting  server  verdict
%% ...
%% 127.0.0.1:...  1/30  ...  0  0 ...
%% ok
%% '''
-spec i() -> ok.
i() ->
    io:put_chars(accept_queue_table:text()).

%% @doc As {@link cluster/2}, with the five seconds of a `gen_server:call/2': more than a busy node needs, and no more than a
%% person at a shell waits.
%%
%% ```
%% 1> {ok, L} = gen_tcp:listen(0, [{backlog, 30}]), {ok, Port} = inet:port(L).
%% 2> accept_queue:cluster({depth, [{port, Port}]}).
%% #{...@... => {ok,#{drops => 0,limit => 30,queued => 0}}}
%% '''
-spec cluster(call()) -> #{node() => node_answer()}.
cluster(Call) ->
    cluster(Call, 5000).

%% @doc The same reading on this node and on every node it is connected to, each answering for itself.
%%
%% `Call' is the name of a function of this module that reads, or `{Name, Arguments}': `list', `{counts, [{port, 8080}]}'.
%% Handles and sockets mean something on their own node only. Nodes that do not run the application are left out, this one
%% too; so are those connected as hidden.
%%
%% Returns after `Timeout' milliseconds at the latest. The answer of a node is `{error, timeout}' where it has not come by then,
%% `{error, nodedown}' where the connection was lost, `{error, unsupported}' where the release does not know the function, and
%% `{error, {exception, Reason}}' where the reading raised an exception. Of three nodes:
%%
%% ```
%% #{'a@host' => {ok,#{drops => 0,limit => 1024,queued => 0}},
%%   'b@host' => {ok,#{drops => 17,limit => 128,queued => 129}},
%%   'c@host' => {error,timeout}}
%% '''
%%
%% ```
%% 1> {ok, L} = gen_tcp:listen(0, [{backlog, 30}]), {ok, Port} = inet:port(L).
%% 2> maps:get(node(), accept_queue:cluster({depth, [{port, Port}]}, 1000)).
%% {ok,#{drops => 0,limit => 30,queued => 0}}
%% '''
-spec cluster(call(), TimeoutMs :: non_neg_integer()) -> #{node() => node_answer()}.
%% A time-out has 32 bits in Erlang.
cluster(Call, Timeout) when is_integer(Timeout), Timeout >= 0, Timeout =< 16#ffffffff ->
    ?READING([Call, Timeout], accept_queue_cluster:ask(Call, Timeout));
cluster(Call, Timeout) ->
    ?BADARG([Call, Timeout]).
