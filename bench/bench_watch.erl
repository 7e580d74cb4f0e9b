%% What it costs to watch from outside: processor time and memory of the program beside ten listeners, read every 100 ms.
-module(bench_watch).

-export([markdown/0]).

-define(LISTENERS, 10).
-define(PAST_MS, 2000).
-define(WATCH_MS, 30_000).
%% Percent of a core.
-define(GOAL_PERCENT, 0.5).
-define(GOAL_MIB, 20).

-spec markdown() -> iodata().
markdown() ->
    Listeners = [listener() || _ <- lists:seq(1, ?LISTENERS)],
    Ours = " --pid " ++ os:getpid(),
    Commands = [{"`watch`", "watch" ++ Ours}, {"`watch --json`", "watch --json" ++ Ours}, {"`export`", "export --listen 127.0.0.1:0" ++ Ours}],
    Programs = [{Name, start(Line)} || {Name, Line} <- Commands],
    Quiet = rows("", {below, ?GOAL_PERCENT}, Programs),
    {ok, Port} = inet:port(hd(Listeners)),
    {ok, Client} = gen_tcp:connect({127, 0, 0, 1}, Port, []),
    Standing = rows(", somebody waits at one of them", none, Programs),
    lists:foreach(fun({_, Program}) -> stop(Program) end, Programs),
    lists:foreach(fun gen_tcp:close/1, [Client | Listeners]),
    Headings = ["beside ten listeners, every 100 ms", "of a core", "goal", "", "memory at most", "goal", ""],
    Rule = ["---" || _ <- Headings],
    ["\n## What watching from outside costs\n\n", [line(Row) || Row <- [Headings, Rule] ++ Quiet ++ Standing]].

%% All at once: they share nothing.
rows(When, Goal, Programs) ->
    timer:sleep(?PAST_MS),
    Before = [account(Program) || {_, Program} <- Programs],
    Begun = erlang:monotonic_time(nanosecond),
    timer:sleep(?WATCH_MS),
    Used = [account(Program) || {_, Program} <- Programs],
    Passed = erlang:monotonic_time(nanosecond) - Begun,
    [
        [[Name, When], percent(100 * (Now - Then) / Passed, Goal), mebibytes(memory(Program) / 1024)]
     || {{Name, Program}, Then, Now} <- lists:zip3(Programs, Before, Used)
    ].

percent(Percent, none) -> lists:join(" | ", [io_lib:format("~.2f %", [Percent]), "none", ""]);
percent(Percent, {below, Goal}) ->
    lists:join(" | ", [io_lib:format("~.2f %", [Percent]), io_lib:format("below ~.1f %", [Goal]), met(Percent < Goal)]).

mebibytes(MiB) ->
    lists:join(" | ", [io_lib:format("~.1f MiB", [MiB]), io_lib:format("below ~b MiB", [?GOAL_MIB]), met(MiB < ?GOAL_MIB)]).

met(true) -> "met";
met(false) -> "**MISSED**".

%% The shell becomes the program.
start(Line) ->
    Program = filename:join(code:priv_dir(accept_queue), "accept-queue"),
    open_port({spawn_executable, "/bin/sh"}, [{args, ["-c", "exec \"$0\" " ++ Line ++ " >/dev/null 2>&1", Program]}, exit_status]).

stop(Program) ->
    "" = os:cmd("kill " ++ integer_to_list(os_pid(Program))),
    receive
        {Program, {exit_status, 0}} -> ok;
        {Program, {exit_status, Status}} -> error({program_ended, Status})
    end.

%% The kernel's account of every thread, in nanoseconds. A program that has ended costs nothing, and is no result.
account(Program) ->
    Files = filelib:wildcard("/proc/" ++ integer_to_list(os_pid(Program)) ++ "/task/*/schedstat"),
    true = Files =/= [],
    lists:sum([binary_to_integer(hd(binary:split(Text, <<" ">>))) || File <- Files, {ok, Text} <- [file:read_file(File)]]).

%% The most that it ever took, in KiB.
memory(Program) ->
    {ok, Status} = file:read_file("/proc/" ++ integer_to_list(os_pid(Program)) ++ "/status"),
    {match, [KiB]} = re:run(Status, "VmHWM:\\s*([0-9]+)", [{capture, all_but_first, list}]),
    list_to_integer(KiB).

os_pid(Program) ->
    {os_pid, Pid} = erlang:port_info(Program, os_pid),
    Pid.

listener() ->
    {ok, Listener} = gen_tcp:listen(0, [{ip, {127, 0, 0, 1}}, {backlog, 128}]),
    Listener.

line(Cells) ->
    ["| ", lists:join(" | ", Cells), " |\n"].
