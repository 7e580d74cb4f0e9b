%% @private
%% gen_tcp listen sockets of the `inet' backend: ports of the driver `tcp_inet'. The only module that knows what OTP
%% does not promise about them: the port's name, and that its monitors are the processes blocked in accept
%% (erts/emulator/drivers/common/inet_drv.c, `driver_monitor_process' in `tcp_inet_ctl').
-module(accept_queue_inet).

-export([descriptor/1, ports/0, waiting/1, owner/1, depth/1]).

%% TCP_INFO (include/uapi/linux/tcp.h) and SO_MEMINFO (include/uapi/asm-generic/socket.h) with as many bytes as are read.
-define(TCP_INFO, {raw, 6, 11, 32}).
-define(SO_MEMINFO, {raw, 1, 55, 36}).
-define(TCP_LISTEN, 10).

%% The descriptor number of a port. It is the port's only while the port is open: ask again after using it.
-spec descriptor(port()) -> {ok, accept_queue_nif:fd()} | {error, closed | not_listening | badarg}.
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

%% Every TCP port of the VM, listening or not.
-spec ports() -> [port()].
ports() ->
    [Port || Port <- erlang:ports(), erlang:port_info(Port, name) =:= {name, "tcp_inet"}].

%% The processes that are blocked in accept on this port.
-spec waiting(port()) -> [pid()].
waiting(Port) ->
    case erlang:port_info(Port, monitors) of
        {monitors, Monitors} -> [Pid || {process, Pid} <- Monitors];
        undefined -> []
    end.

-spec owner(port()) -> pid() | undefined.
owner(Port) ->
    case erlang:port_info(Port, connected) of
        {connected, Pid} -> Pid;
        undefined -> undefined
    end.

%% The depth without the NIF: what `inet:getopts' can tell.
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
