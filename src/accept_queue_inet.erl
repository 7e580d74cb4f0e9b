%% @private
%% gen_tcp sockets of the `inet' backend: ports of the driver `tcp_inet'. The only module that knows what OTP does not
%% promise about them: the port's name, and that its monitors are the processes blocked in accept
%% (erts/emulator/drivers/common/inet_drv.c, `driver_monitor_process' in `tcp_inet_ctl').
-module(accept_queue_inet).
-behaviour(accept_queue_backend).

-export([descriptor/1, is_still/2, owner/1, waiting/1, acceptors/3, held/2, sockets/0, depth/1]).

%% TCP_INFO (include/uapi/linux/tcp.h) and SO_MEMINFO (include/uapi/asm-generic/socket.h) with as many bytes as are read.
-define(TCP_INFO, {raw, 6, 11, 32}).
-define(SO_MEMINFO, {raw, 1, 55, 36}).
-define(TCP_LISTEN, 10).

-spec descriptor(accept_queue_backend:socket()) ->
    {ok, accept_queue_nif:fd()} | {error, closed | not_listening | badarg}.
descriptor(Port) ->
    %% Only an inet port may be asked: another driver could take the same control code for a command of its own.
    case erlang:port_info(Port, name) of
        {name, "tcp_inet"} ->
            case inet:getfd(Port) of
                {ok, Fd} -> {ok, Fd};
                {error, _} -> {error, closed}
            end;
        {name, "udp_inet"} ->
            {error, not_listening};
        {name, "sctp_inet"} ->
            {error, not_listening};
        undefined ->
            {error, closed};
        {name, _} ->
            {error, badarg}
    end.

%% A port keeps its driver.
-spec is_still(accept_queue_backend:socket(), accept_queue_nif:fd()) -> boolean().
is_still(Port, Fd) ->
    inet:getfd(Port) =:= {ok, Fd}.

-spec owner(accept_queue_backend:socket()) -> pid() | undefined.
owner(Port) ->
    case erlang:port_info(Port, connected) of
        {connected, Pid} -> Pid;
        undefined -> undefined
    end.

-spec waiting(accept_queue_backend:socket()) -> non_neg_integer().
waiting(Port) ->
    {Count, _Pids} = acceptors(Port, [], no_search),
    Count.

-spec acceptors(accept_queue_backend:socket(), [pid()], search | no_search) -> {non_neg_integer(), [pid()]}.
acceptors(Port, _Likely, _Search) ->
    case erlang:port_info(Port, monitors) of
        {monitors, Monitors} ->
            Pids = [Pid || {process, Pid} <- Monitors],
            {length(Pids), Pids};
        undefined ->
            {0, []}
    end.

%% The driver takes the connection itself, and is asked by no process then.
-spec held(accept_queue_backend:socket(), [pid()]) -> [].
held(_Port, _Pids) ->
    [].

-spec sockets() -> [accept_queue_backend:socket()].
sockets() ->
    %% Those of other drivers too: they have no descriptor.
    erlang:ports().

%% The depth without the NIF, by `inet:getopts'.
-spec depth(port()) -> {ok, accept_queue:depth()} | {error, accept_queue:reason()}.
depth(Port) ->
    case inet:getopts(Port, [?TCP_INFO, ?SO_MEMINFO]) of
        {ok, [{raw, 6, 11, <<?TCP_LISTEN, _:23/binary, Queued:32/native, Limit:32/native>>} | MemInfo]} ->
            {ok, #{queued => Queued, limit => Limit, drops => drops(MemInfo)}};
        {ok, [{raw, 6, 11, <<_State, _/binary>>} | _]} ->
            {error, not_listening};
        {ok, []} ->
            {error, unsupported};
        {error, einval} ->
            {error, closed};
        {error, Reason} ->
            {error, {errno, Reason}}
    end.

drops([{raw, 1, 55, <<_:32/binary, Drops:32/native>>}]) -> Drops;
drops(_) -> undefined.
