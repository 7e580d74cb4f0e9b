%% Processes of the operating system that a test starts, and ends by their number.
-module(processes).

-export([start/3, signal/2, is_alive/1]).

%% In the foreground of a port; what it says goes into a file. The number is that of the command.
start([Program | Arguments], Environment, Log) ->
    Redirected = ["-c", "log=$1; shift; exec \"$@\" >\"$log\" 2>&1 </dev/null", "sh", Log, Program | Arguments],
    Port = open_port({spawn_executable, "/bin/sh"}, [{args, Redirected}, {env, Environment}, exit_status]),
    {os_pid, Pid} = erlang:port_info(Port, os_pid),
    Pid.

signal(Signal, Pid) ->
    "" = os:cmd(io_lib:format("kill -~ts ~b", [string:uppercase(atom_to_list(Signal)), Pid])),
    ok.

is_alive(Pid) ->
    case file:read_file(io_lib:format("/proc/~b/stat", [Pid])) of
        %% A zombie has ended.
        {ok, Stat} -> re:run(Stat, "\\) Z ") =:= nomatch;
        {error, _} -> false
    end.
