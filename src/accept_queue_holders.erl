%% @private
%% Which Erlang process holds each connection that its peer has closed.
-module(accept_queue_holders).

-export([of_handle/2]).

%% The longest held first. Their descriptors come from the kernel, and the sockets of the VM are searched for them.
-spec of_handle(accept_queue:handle(), pos_integer()) -> {ok, [accept_queue:holder()]} | {error, accept_queue:reason()}.
of_handle(Handle, Limit) ->
    case accept_queue_source:held(Handle) of
        {ok, Held} ->
            Wanted = lists:sublist(Held, Limit),
            Sockets = accept_queue_backend:find([Fd || #{fd := Fd} <- Wanted, Fd =/= undefined]),
            {ok, [holder(Row, length(Held), Sockets) || Row <- Wanted]};
        {error, _} = Error ->
            Error
    end.

holder(#{fd := Fd, inode := Inode} = Row, CloseWait, Sockets) ->
    Socket = same(maps:get(Fd, Sockets, undefined), Inode),
    Pid = owner(Socket),
    Known = maps:with([peer, age_ms, recv_bytes], Row),
    maps:merge(process(Pid), Known#{pid => Pid, socket => Socket, state => close_wait, close_wait => CloseWait}).

%% The connection may have been closed since the dump, and its descriptor number reused.
same(undefined, _Inode) ->
    undefined;
same(Socket, Inode) ->
    case accept_queue_listener:with_descriptor(Socket, fun accept_queue_source:inode/1) of
        {ok, Inode} -> Socket;
        _ -> undefined
    end.

owner(undefined) -> undefined;
owner(Socket) -> accept_queue_backend:owner(Socket).

process(undefined) ->
    unknown();
process(Pid) ->
    case accept_queue_process:describe(Pid) of
        undefined -> unknown();
        Description -> Description
    end.

unknown() ->
    #{initial_call => undefined, current_function => undefined, registered_name => undefined, label => undefined}.
