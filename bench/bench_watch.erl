%% What it costs to watch from outside: processor time and memory of the program, beside ten listeners at 100 ms.
-module(bench_watch).

-export([markdown/0]).

-define(LISTENERS, 10).
-define(PAST_MS, 2000).
-define(WATCH_MS, 30_000).
%% Percent of a core.
-define(GOAL_PERCENT, 0.5).
-define(GOAL_MIB, 20).

%% All at once: they share nothing.
-spec markdown() -> iodata().
markdown() ->
    Listeners = [listener() || _ <- lists:seq(1, ?LISTENERS)],
    Pid = os:getpid(),
    Started = [
        {Line, start(Line)}
     || Line <- ["watch --pid " ++ Pid, "watch --pid " ++ Pid ++ " --json", "watch", "export --listen 127.0.0.1:0 --pid " ++ Pid]
    ],
    timer:sleep(?PAST_MS),
    Before = [account(Port) || {_, Port} <- Started],
    Begun = erlang:monotonic_time(nanosecond),
    timer:sleep(?WATCH_MS),
    Rows = [row(Line, Port, Ns, Begun) || {{Line, Port}, Ns} <- lists:zip(Started, Before)],
    lists:foreach(fun({_, Port}) -> stop(Port) end, Started),
    lists:foreach(fun gen_tcp:close/1, Listeners),
    ["\n## What watching from outside costs: 10 listeners, every 100 ms\n\n", [line(Row) || Row <- [headings(), rule() | Rows]]].

headings() -> ["`accept-queue ...`", "of a core", "goal", "", "memory at most", "goal", ""].

rule() -> ["---" || _ <- headings()].

row(Line, Port, Before, Begun) ->
    Percent = 100 * (account(Port) - Before) / (erlang:monotonic_time(nanosecond) - Begun),
    MiB = memory(Port) / 1024,
    [
        ["`", re:replace(Line, "[0-9]{2,}$| [0-9]{2,} ", " PID ", [{return, list}]), "`"],
        io_lib:format("~.2f %", [Percent]),
        io_lib:format("below ~.1f %", [?GOAL_PERCENT]),
        verdict(Percent < ?GOAL_PERCENT),
        io_lib:format("~.1f MiB", [MiB]),
        io_lib:format("below ~b MiB", [?GOAL_MIB]),
        verdict(MiB < ?GOAL_MIB)
    ].

verdict(true) -> "met";
verdict(false) -> "**MISSED**".

%% The shell becomes the program.
start(Line) ->
    Program = filename:join(code:priv_dir(accept_queue), "accept-queue"),
    open_port({spawn_executable, "/bin/sh"}, [
        {args, ["-c", "exec \"$0\" " ++ Line ++ " >/dev/null 2>&1", Program]}, exit_status
    ]).

stop(Port) ->
    _ = os:cmd("kill " ++ integer_to_list(os_pid(Port))),
    receive
        {Port, {exit_status, 0}} -> ok;
        {Port, {exit_status, Status}} -> error({program_ended, Status})
    end.

%% The kernel's account of every thread, in nanoseconds. A program that has ended costs nothing, and is no result.
account(Port) ->
    Files = filelib:wildcard("/proc/" ++ integer_to_list(os_pid(Port)) ++ "/task/*/schedstat"),
    true = Files =/= [],
    lists:sum([binary_to_integer(hd(binary:split(Text, <<" ">>))) || File <- Files, {ok, Text} <- [file:read_file(File)]]).

%% The most that it ever took, in KiB.
memory(Port) ->
    {ok, Status} = file:read_file("/proc/" ++ integer_to_list(os_pid(Port)) ++ "/status"),
    {match, [KiB]} = re:run(Status, "VmHWM:\\s*([0-9]+)", [{capture, all_but_first, list}]),
    list_to_integer(KiB).

os_pid(Port) ->
    {os_pid, Pid} = erlang:port_info(Port, os_pid),
    Pid.

listener() ->
    {ok, Listener} = gen_tcp:listen(0, [{ip, loopback}, {backlog, 128}]),
    Listener.

line(Cells) ->
    ["| ", lists:join(" | ", Cells), " |\n"].
