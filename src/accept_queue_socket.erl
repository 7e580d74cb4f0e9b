%% @private
%% Sockets of the `socket' module, and gen_tcp sockets of that backend. The only module that knows what OTP does not
%% promise about them.
%%
%% gen_tcp wraps one in `{'$inet', gen_tcp_socket, {Server, Socket}}', where Server is a process that owns the socket and
%% monitors its user. Each call of `gen_tcp:accept' starts such a server for the connection to come, and it is this that
%% accepts from the socket inside (lib/kernel/src/gen_tcp_socket.erl, `accept/2').
%%
%% The native part monitors the owner of a socket and the processes in accept, so that the socket's reference is in their
%% `monitored_by', once for all reasons (erts/emulator/nifs/common/prim_socket_nif.c). That leads from a process to its socket;
%% nothing leads from a socket to the processes that wait on it.
-module(accept_queue_socket).
-behaviour(accept_queue_backend).

-export([descriptor/1, is_still/2, owner/1, waiting/1, acceptors/3, held/2, sockets/0, search/1]).

%% How many processes of the VM a search reads: a bound for its time, a microsecond or two each.
-define(SEARCH_MAX, 100000).

-spec descriptor(accept_queue_backend:socket()) -> {ok, accept_queue_nif:fd()} | {error, closed | badarg}.
descriptor({'$inet', gen_tcp_socket, {_Server, Socket}}) ->
    descriptor(Socket);
descriptor({'$socket', _} = Socket) ->
    try socket:getopt(Socket, {otp, fd}) of
        {ok, Fd} -> {ok, Fd};
        {error, _} -> {error, closed}
    catch
        %% A reference of something else.
        error:badarg -> {error, badarg}
    end.

-spec is_still(accept_queue_backend:socket(), accept_queue_nif:fd()) -> boolean().
is_still(Socket, Fd) ->
    descriptor(Socket) =:= {ok, Fd}.

-spec owner(accept_queue_backend:socket()) -> pid() | undefined.
owner({'$inet', gen_tcp_socket, {Server, _Socket}}) ->
    user(Server);
owner({'$socket', _} = Socket) ->
    %% Of a closed socket `info' has little.
    maps:get(owner, socket:info(Socket), undefined).

-spec waiting(accept_queue_backend:socket()) -> non_neg_integer().
waiting({'$inet', gen_tcp_socket, {_Server, Socket}}) ->
    waiting(Socket);
waiting({'$socket', _} = Socket) ->
    maps:get(num_acceptors, socket:info(Socket), 0).

-spec acceptors(accept_queue_backend:socket(), [pid()], search | no_search) -> {non_neg_integer(), [pid()]}.
acceptors({'$inet', gen_tcp_socket, {_Server, Socket}}, Likely, Search) ->
    acceptors(Socket, Likely, Search);
acceptors({'$socket', Ref} = Socket, Likely, Search) ->
    case waiting(Socket) of
        0 ->
            {0, []};
        Count ->
            Owner = owner(Socket),
            case monitored(Ref, Owner, Likely ++ lists:append([called(Pid) || Pid <- Likely])) of
                Known when length(Known) >= Count; Search =:= no_search ->
                    {Count, Known};
                _ ->
                    #{Socket := Found} = search([Socket]),
                    case waiting(Socket) of
                        Count -> {Count, with_owner(Owner, Count - length(Found), Found)};
                        %% A process came or went meanwhile: the missing one need not be the owner.
                        Now -> {Now, Found}
                    end
            end
    end.

%% The processes of the VM that are in accept of each of these sockets, in one walk over them.
-spec search([accept_queue_backend:socket()]) -> #{accept_queue_backend:socket() => [pid()]}.
search(Sockets) ->
    Refs = [{Ref, {Socket, owner(Inside)}} || Socket <- Sockets, {'$socket', Ref} = Inside <- [inside(Socket)]],
    Found = [
        {Socket, Acceptor}
     || Pid <- lists:sublist(erlang:processes(), ?SEARCH_MAX),
        {_Ref, {Socket, Owner}} <- monitors_of(Pid, Refs),
        Pid =/= Owner,
        Acceptor <- accepts_for(Pid),
        is_pid(Acceptor)
    ],
    maps:from_list([{Socket, lists:usort([Pid || {Of, Pid} <- Found, Of =:= Socket])} || Socket <- Sockets]).

monitors_of(Pid, [{Ref, _} = Only]) ->
    [Only || is_monitored_by(Pid, Ref)];
monitors_of(Pid, Refs) ->
    case erlang:process_info(Pid, monitored_by) of
        {monitored_by, [_ | _] = Monitors} -> [Of || {Ref, _} = Of <- Refs, lists:member(Ref, Monitors)];
        _ -> []
    end.

inside({'$inet', gen_tcp_socket, {_Server, Socket}}) -> Socket;
inside(Socket) -> Socket.

%% A process that has called `socket:accept/2' with `nowait' counts as an acceptor until it calls again. The message that wakes it goes
%% to one acceptor at a time; while that one does something else, or is suspended, the others wait in vain
%% (erts/emulator/nifs/common/prim_socket_nif.c, `esock_accept_accepting_other').
%%
%% Read from outside: connections wait, it has a message, and does not wait for one in `socket:accept/1,2', which takes its own out of any
%% others. What the message is cannot be read without copying all of them.
-spec held(accept_queue_backend:socket(), [pid()]) -> [pid()].
held(Socket, Pids) ->
    {'$socket', Ref} = inside(Socket),
    [Pid || Pid <- Pids, has_message(Pid), is_monitored_by(Pid, Ref), does_something_else(Pid)].

%% Most have none, and are asked nothing else.
has_message(Pid) ->
    case erlang:process_info(Pid, message_queue_len) of
        {message_queue_len, Length} -> Length > 0;
        undefined -> false
    end.

does_something_else(Pid) ->
    case erlang:process_info(Pid, [status, current_stacktrace]) of
        [{status, Status}, {current_stacktrace, Stack}] -> Status =:= suspended orelse not lists:any(fun is_accept/1, Stack);
        undefined -> false
    end.

is_accept({socket, Function, _, _}) -> lists:prefix("accept", atom_to_list(Function));
is_accept(_) -> false.

-spec sockets() -> [accept_queue_backend:socket()].
sockets() ->
    [wrapped(Socket) || Socket <- socket:which_sockets(stream)].

%% The owner is monitored whether it accepts or not: it does when it is the one that is missing, unless it is a server.
with_owner(Owner, 1, Found) when is_pid(Owner) ->
    case is_server(Owner) of
        true -> Found;
        false -> lists:sort([Owner | Found])
    end;
with_owner(_Owner, _Missing, Found) ->
    Found.

monitored(Ref, Owner, Candidates) ->
    lists:usort([
        Acceptor
     || Pid <- Candidates, Pid =/= Owner, is_monitored_by(Pid, Ref), Acceptor <- accepts_for(Pid), is_pid(Acceptor)
    ]).

accepts_for(Pid) ->
    case is_server(Pid) of
        true -> [user(Pid)];
        false -> [Pid]
    end.

%% The processes that a process monitors: among them the server that it calls while it is in `gen_tcp:accept'.
called(Pid) ->
    case erlang:process_info(Pid, monitors) of
        {monitors, Monitors} -> [Called || {process, Called} <- Monitors, is_pid(Called), node(Called) =:= node()];
        undefined -> []
    end.

is_monitored_by(Pid, Ref) ->
    case erlang:process_info(Pid, monitored_by) of
        {monitored_by, Monitors} -> lists:member(Ref, Monitors);
        undefined -> false
    end.

%% The term that its user has: the server of a gen_tcp socket owns the socket inside.
wrapped(Socket) ->
    case owner(Socket) of
        undefined ->
            Socket;
        Owner ->
            case is_server(Owner) of
                true -> {'$inet', gen_tcp_socket, {Owner, Socket}};
                false -> Socket
            end
    end.

is_server(Pid) ->
    case erlang:process_info(Pid, dictionary) of
        {dictionary, Dictionary} ->
            lists:keyfind('$initial_call', 1, Dictionary) =:= {'$initial_call', {gen_tcp_socket, init, 1}};
        undefined ->
            false
    end.

%% The process whose socket the server owns.
user(Server) ->
    case erlang:process_info(Server, monitors) of
        {monitors, Monitors} -> hd([Pid || {process, Pid} <- Monitors] ++ [undefined]);
        undefined -> undefined
    end.
