%% Processes of the operating system that a test starts, and ends by their number; and waiting for what they are about to do,
%% by a condition and a deadline.
-module(processes).

-export([start/3, signal/2, is_alive/1, until/2, passes/2]).

-define(PAUSE_MS, 20).

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

%% Whether it comes true in time.
until(Ms, Condition) ->
    until_late(erlang:monotonic_time(millisecond) + Ms, Condition).

until_late(Deadline, Condition) ->
    case Condition() of
        true ->
            true;
        false ->
            erlang:monotonic_time(millisecond) < Deadline andalso
                begin
                    timer:sleep(?PAUSE_MS),
                    until_late(Deadline, Condition)
                end
    end.

%% Tries until nothing is raised, and at the deadline raises what is.
passes(Ms, Attempt) ->
    passes_late(erlang:monotonic_time(millisecond) + Ms, Attempt).

passes_late(Deadline, Attempt) ->
    try
        Attempt()
    catch
        Class:Reason:Stack ->
            case erlang:monotonic_time(millisecond) < Deadline of
                true ->
                    timer:sleep(?PAUSE_MS),
                    passes_late(Deadline, Attempt);
                false ->
                    erlang:raise(Class, Reason, Stack)
            end
    end.
