%% @private
%% What a socket of this VM is asked, on either backend of OTP: a port of the driver `tcp_inet', or a socket of the `socket'
%% module, alone or inside gen_tcp.
-module(accept_queue_backend).

-export([descriptor/1, is_still/2, owner/1, waiting/1, acceptors/3, held/2, is_socket/1, find/1]).

-export_type([socket/0]).

-type socket() :: port() | socket:socket() | {'$inet', module(), {pid(), socket:socket()}}.

%% The descriptor number. It is the socket's only while the socket is open: ask again after using it.
-callback descriptor(socket()) -> {ok, accept_queue_nif:fd()} | {error, closed | not_listening | badarg}.
%% Whether it is that socket's number still: of a socket that `descriptor/1' has answered for.
-callback is_still(socket(), accept_queue_nif:fd()) -> boolean().
%% The controlling process.
-callback owner(socket()) -> pid() | undefined.
%% How many processes are blocked in accept, exactly.
-callback waiting(socket()) -> non_neg_integer().
%% The same figure, and which processes they are. The likely ones are checked first, where that is cheaper than to check all
%% processes of the VM, and no others where these are not to be searched. The search takes time: it may find fewer.
-callback acceptors(socket(), Likely :: [pid()], search | no_search) -> {non_neg_integer(), [pid()]}.
%% Those of these processes that asked for a connection and have been woken for one, but do something else: while one of them does,
%% none of the others gets a connection. To be asked only where connections wait.
-callback held(socket(), [pid()]) -> [pid()].
%% Every socket of the VM on this backend, and maybe terms that are none: those have no descriptor.
-callback sockets() -> [socket()].

-define(BACKENDS, [accept_queue_inet, accept_queue_socket]).

-spec descriptor(socket()) -> {ok, accept_queue_nif:fd()} | {error, closed | not_listening | badarg}.
descriptor(Socket) ->
    (backend(Socket)):descriptor(Socket).

-spec is_still(socket(), accept_queue_nif:fd()) -> boolean().
is_still(Socket, Fd) ->
    (backend(Socket)):is_still(Socket, Fd).

-spec owner(socket()) -> pid() | undefined.
owner(Socket) ->
    (backend(Socket)):owner(Socket).

-spec waiting(socket()) -> non_neg_integer().
waiting(Socket) ->
    (backend(Socket)):waiting(Socket).

-spec acceptors(socket(), [pid()], search | no_search) -> {non_neg_integer(), [pid()]}.
acceptors(Socket, Likely, Search) ->
    (backend(Socket)):acceptors(Socket, Likely, Search).

-spec held(socket(), [pid()]) -> [pid()].
held(Socket, Pids) ->
    (backend(Socket)):held(Socket, Pids).

%% Which socket of the VM has each of these descriptors. The search ends when all are found: listeners are among the oldest
%% sockets of a VM.
-spec find([accept_queue_nif:fd()]) -> #{accept_queue_nif:fd() => socket()}.
find(Fds) ->
    find(maps:from_keys(Fds, true), #{}, [], ?BACKENDS).

find(Missing, Found, _Sockets, _Backends) when map_size(Missing) =:= 0 ->
    Found;
find(_Missing, Found, [], []) ->
    Found;
find(Missing, Found, [], [Backend | Backends]) ->
    find(Missing, Found, Backend:sockets(), Backends);
find(Missing, Found, [Socket | Sockets], Backends) ->
    case descriptor(Socket) of
        {ok, Fd} when is_map_key(Fd, Missing) ->
            find(maps:remove(Fd, Missing), Found#{Fd => Socket}, Sockets, Backends);
        _ ->
            find(Missing, Found, Sockets, Backends)
    end.

-spec is_socket(term()) -> boolean().
is_socket(Term) ->
    backend(Term) =/= undefined.

backend(Port) when is_port(Port) -> accept_queue_inet;
backend({'$socket', Ref}) when is_reference(Ref) -> accept_queue_socket;
backend({'$inet', gen_tcp_socket, {Server, {'$socket', Ref}}}) when is_pid(Server), is_reference(Ref) -> accept_queue_socket;
backend(_) -> undefined.
