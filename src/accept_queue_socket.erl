%% @private
%% Sockets of the `socket' module, and gen_tcp sockets of that backend. The only module that knows what OTP does not
%% promise about them: that gen_tcp wraps one in `{'$inet', gen_tcp_socket, {Server, Socket}}', where Server is a process
%% that stands for it and monitors its owner, and to which those that accept make a call (lib/kernel/src/gen_tcp_socket.erl);
%% and that the native part monitors a process that is blocked in accept, so that the socket's reference stands among its
%% monitors (erts/emulator/nifs/common/prim_socket_nif.c).
-module(accept_queue_socket).
-behaviour(accept_queue_backend).

-export([descriptor/1, owner/1, waiting/1, sockets/0]).

-spec descriptor(accept_queue_backend:socket()) -> {ok, accept_queue_nif:fd()} | {error, closed}.
descriptor({'$inet', gen_tcp_socket, {_Server, Socket}}) ->
    descriptor(Socket);
descriptor({'$socket', _} = Socket) ->
    case socket:getopt(Socket, {otp, fd}) of
        {ok, Fd} -> {ok, Fd};
        {error, _} -> {error, closed}
    end.

-spec owner(accept_queue_backend:socket()) -> pid() | undefined.
owner({'$inet', gen_tcp_socket, {Server, _Socket}}) ->
    case erlang:process_info(Server, monitors) of
        {monitors, Monitors} -> hd([Pid || {process, Pid} <- Monitors] ++ [undefined]);
        undefined -> undefined
    end;
owner({'$socket', _} = Socket) ->
    case socket:info(Socket) of
        #{owner := Owner} -> Owner;
        _ -> undefined
    end.

-spec waiting(accept_queue_backend:socket()) -> {non_neg_integer(), [pid()]}.
waiting({'$inet', gen_tcp_socket, {Server, _Socket}}) ->
    Pids = callers(Server),
    {length(Pids), Pids};
waiting({'$socket', Ref} = Socket) ->
    case socket:info(Socket) of
        #{num_acceptors := 0} -> {0, []};
        #{num_acceptors := Count} -> {Count, monitored_by(Ref)};
        _ -> {0, []}
    end.

-spec sockets() -> [accept_queue_backend:socket()].
sockets() ->
    [wrapped(Socket) || Socket <- socket:which_sockets(stream)].

%% The processes in a call of `gen_tcp_socket:accept/2' to the server: such a call monitors it.
callers(Server) ->
    case erlang:process_info(Server, monitored_by) of
        {monitored_by, Monitors} -> [Pid || Pid <- Monitors, is_pid(Pid), is_accepting(Pid)];
        undefined -> []
    end.

is_accepting(Pid) ->
    case erlang:process_info(Pid, current_stacktrace) of
        {current_stacktrace, Stack} -> lists:any(fun is_accept/1, Stack);
        undefined -> false
    end.

is_accept({gen_tcp_socket, accept, 2, _}) -> true;
is_accept(_) -> false.

%% A look at every process, for nothing leads from a socket to those that wait on it.
monitored_by(Ref) ->
    [Pid || Pid <- erlang:processes(), is_monitored_by(Pid, Ref), erlang:process_info(Pid, status) =:= {status, waiting}].

is_monitored_by(Pid, Ref) ->
    case erlang:process_info(Pid, monitored_by) of
        {monitored_by, Monitors} -> lists:member(Ref, Monitors);
        undefined -> false
    end.

%% As its user has it: the server of a gen_tcp socket owns the socket inside.
wrapped(Socket) ->
    case socket:info(Socket) of
        #{owner := Server} ->
            case erlang:process_info(Server, dictionary) of
                {dictionary, Dictionary} ->
                    case lists:keyfind('$initial_call', 1, Dictionary) of
                        {_, {gen_tcp_socket, init, 1}} -> {'$inet', gen_tcp_socket, {Server, Socket}};
                        _ -> Socket
                    end;
                undefined ->
                    Socket
            end;
        _ ->
            Socket
    end.
