%% What it costs to watch from outside: processor time and memory of the program, over half a minute and longer.
-module(bench_watch).

-export([measure/0, watchdog/0]).

-export_type([figures/0]).

-type figures() :: [{Command :: string(), When :: string(), Percent :: float(), MiB :: float(), goal | none}].

-define(LISTENERS, 10).
-define(PAST_MS, 2000).
-define(WATCH_MS, 30_000).

%% {command, what is going on, percent of a core, the most memory it ever took}
-define(FOREIGN, 15_000).
%% As Prometheus does.
-define(SCRAPE_MS, 15_000).

%% Beside a few listeners of this VM, and beside many of another process.
-spec measure() -> {figures(), figures()}.
measure() ->
    {own(), foreign()}.

own() ->
    Listeners = [listener() || _ <- lists:seq(1, ?LISTENERS)],
    Recording = beside("bench.aq"),
    _ = file:delete(Recording),
    Ours = " --pid " ++ os:getpid(),
    %% `script' has a terminal for `top', and what it costs itself is left out.
    Commands = [
        {"`watch`", "exec $0 watch" ++ Ours, goal},
        {"`watch --json`", "exec $0 watch --json" ++ Ours, goal},
        {"`export`", "exec $0 export --listen 127.0.0.1:0" ++ Ours, goal},
        {"`record`", "exec $0 record " ++ Recording ++ Ours, goal},
        {"`top`, every 500 ms", "TERM=xterm exec script -qec \"$0 top" ++ Ours ++ "\" /dev/null", none}
    ],
    Programs = [{Name, Goal, start(Line)} || {Name, Line, Goal} <- Commands],
    Quiet = used("all queues are empty", Programs),
    {ok, Port} = inet:port(hd(Listeners)),
    {ok, Client} = gen_tcp:connect({127, 0, 0, 1}, Port, []),
    Waiting = used("a connection waits in one of them", [{Name, none, Program} || {Name, _, Program} <- Programs]),
    lists:foreach(fun({_, _, Program}) -> stop(Program) end, Programs),
    lists:foreach(fun gen_tcp:close/1, [Client | Listeners]),
    Quiet ++ Waiting.

%% Each is scraped meanwhile.
foreign() ->
    Many = bench_program:start(beside("listeners"), [integer_to_list(?FOREIGN)]),
    "ready" = bench_program:answer(Many),
    Commands = [{"`export`", "", 19700}, {"`export --all`", " --all", 19701}],
    Line = fun(Options, Port) -> io_lib:format("exec $0 export --listen 127.0.0.1:~b~s", [Port, Options]) end,
    Programs = [{Name, goal, start(lists:flatten(Line(Options, Port)))} || {Name, Options, Port} <- Commands],
    Scraper = spawn_link(fun() -> scrape([Port || {_, _, Port} <- Commands]) end),
    Used = used("all queues are empty; scraped every 15 s", Programs),
    true = unlink(Scraper) andalso exit(Scraper, kill),
    lists:foreach(fun({_, _, Program}) -> stop(Program) end, Programs),
    ok = bench_program:stop(Many),
    Used.

scrape(Ports) ->
    timer:sleep(?SCRAPE_MS),
    _ = [
        begin
            {ok, Scraper} = gen_tcp:connect({127, 0, 0, 1}, Port, [binary, {active, false}]),
            ok = gen_tcp:send(Scraper, "GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n"),
            {ok, <<"HTTP/1.1 200", _/binary>>} = gen_tcp:recv(Scraper, 0, ?WATCH_MS),
            gen_tcp:close(Scraper)
        end
     || Port <- Ports
    ],
    scrape(Ports).

%% Of the port program that keeps the watchdog, beside this VM.
-spec watchdog() -> figures().
watchdog() ->
    used("the VM is idle", [{"the program of the watchdog", none, accept_queue_port:os_pid()}]).

%% All at once: they share nothing.
used(When, Programs) ->
    timer:sleep(?PAST_MS),
    Pids = [os_pid(Program) || {_, _, Program} <- Programs],
    Before = [account(Pid) || Pid <- Pids],
    Begun = erlang:monotonic_time(nanosecond),
    timer:sleep(?WATCH_MS),
    Used = [account(Pid) || Pid <- Pids],
    Passed = erlang:monotonic_time(nanosecond) - Begun,
    [
        {Name, When, 100 * (Now - Then) / Passed, memory(Pid) / 1024, Goal}
     || {{{Name, Goal, _}, Pid}, Then, Now} <- lists:zip3(lists:zip(Programs, Pids), Before, Used)
    ].

start(Line) ->
    Program = accept_queue_port:program(),
    open_port({spawn_executable, "/bin/sh"}, [{args, ["-c", Line ++ " >/dev/null 2>&1", Program]}, exit_status]).

%% `script' ends with the status of what it runs.
stop(Program) ->
    "" = os:cmd("kill " ++ integer_to_list(os_pid(Program))),
    receive
        {Program, {exit_status, 0}} -> ok;
        {Program, {exit_status, Status}} -> error({program_ended, Status})
    end.

%% The kernel's account of every thread, in nanoseconds. A program that has ended costs nothing, and is no result.
account(Pid) ->
    Files = filelib:wildcard("/proc/" ++ integer_to_list(Pid) ++ "/task/*/schedstat"),
    true = Files =/= [],
    lists:sum([binary_to_integer(hd(binary:split(Text, <<" ">>))) || File <- Files, {ok, Text} <- [file:read_file(File)]]).

%% The most that it ever took, in KiB.
memory(Pid) ->
    {ok, Status} = file:read_file("/proc/" ++ integer_to_list(Pid) ++ "/status"),
    {match, [KiB]} = re:run(Status, "VmHWM:\\s*([0-9]+)", [{capture, all_but_first, list}]),
    list_to_integer(KiB).

%% Of the command itself, where the port's process is `script'.
os_pid(Pid) when is_integer(Pid) ->
    Pid;
os_pid(Program) ->
    {os_pid, Pid} = erlang:port_info(Program, os_pid),
    {ok, Children} = file:read_file(io_lib:format("/proc/~b/task/~b/children", [Pid, Pid])),
    case string:lexemes(Children, " ") of
        [] -> Pid;
        [Child] -> binary_to_integer(Child)
    end.

listener() ->
    {ok, Listener} = gen_tcp:listen(0, [{ip, {127, 0, 0, 1}}, {backlog, 128}]),
    Listener.

beside(Name) ->
    filename:join(filename:dirname(code:which(?MODULE)), Name).
