%% What it costs to watch: processor time and wake-ups of all threads of a VM while nothing happens, less those of the same VM, with
%% the same listeners, before the application is started.
-module(bench_monitor).

-export([measure/0]).
%% Called in a VM of its own.
-export([load/2, timer/0, watch/1]).

-export_type([figures/0, load/0]).

-type figures() :: #{
    loads := [load()],
    %% Percent of a core: a process that wakes up every 100 ms and does nothing, and a C program that does so.
    timer := float(),
    sleeper := float(),
    bytes := number(),
    health_ns := number(),
    longest_ms := non_neg_integer()
}.
-type load() :: #{
    listeners := pos_integer(),
    settings := iodata(),
    percent := float(),
    goal := {below, float()} | none,
    %% A second: of the threads that the application has started, and of the VM's own.
    our_wakeups := float(),
    vm_wakeups := float()
}.
%% Nanoseconds of all threads, and how often each has slept until something woke it.
-type use() :: {non_neg_integer(), #{Tid :: string() => non_neg_integer()}}.

%% Each load is measured as often and for so long, with the idle VM beside it; the median counts.
-define(ROUNDS, 3).
-define(ROUND_MS, 4000).
%% A new listener is searched for once more, and its queue is read in full.
-define(SETTLED_MS, 15000).
-define(CALL_MS, 120_000).
-define(HEALTH_CALLS, 100_000).
%% {listeners, settings, percent of a core}
-define(LOADS, [
    {1, #{}, {below, 0.05}},
    {20, #{}, none},
    {100, #{}, {below, 0.5}},
    {1000, #{}, none},
    {1000, #{interval_ms => 1000}, {below, 1.0}}
]).

-spec measure() -> figures().
measure() ->
    Loads = [
        (in_own_vm(load, [Count, Settings]))#{listeners => Count, settings => bench_application:settings(Settings), goal => Goal}
     || {Count, Settings, Goal} <- ?LOADS
    ],
    #{
        loads => Loads,
        timer => in_own_vm(timer, []),
        sleeper => sleeper(),
        %% Of the second and third thousand: the first pays for what is there once.
        bytes => (in_own_vm(watch, [3000]) - in_own_vm(watch, [1000])) / 2000,
        health_ns => maps:get(health_ns, lists:last(Loads)),
        longest_ms => lists:max([Longest || #{longest_ms := Longest} <- Loads])
    }.

%% Nothing is left in it from another measurement: no setting, and no memory that costs nothing the second time.
in_own_vm(Function, Arguments) ->
    {ok, Vm, _} = peer:start_link(#{connection => standard_io, args => ["-pa" | code:get_path()]}),
    Answer = peer:call(Vm, ?MODULE, Function, Arguments, ?CALL_MS),
    ok = peer:stop(Vm),
    Answer.

-spec load(pos_integer(), #{atom() => term()}) -> #{atom() => number()}.
load(Count, Settings) ->
    _ = erlang:system_monitor(self(), [{long_schedule, 1}]),
    Listeners = [listener() || _ <- lists:seq(1, Count)],
    Idle = rounds(),
    ok = watch_all(Settings, Count),
    Busy = rounds(),
    {HealthUs, _} = timer:tc(fun() -> [ok = accept_queue:health() || _ <- lists:seq(1, ?HEALTH_CALLS)] end),
    lists:foreach(fun gen_tcp:close/1, Listeners),
    {_, Before} = hd(Idle),
    IsOurs = fun(Tid) -> not is_map_key(Tid, Before) end,
    #{
        percent => percent(Busy, Idle),
        our_wakeups => wakeups(IsOurs, Busy),
        vm_wakeups => wakeups(fun(Tid) -> not IsOurs(Tid) end, Busy) - wakeups(fun(_) -> true end, Idle),
        health_ns => HealthUs * 1000 / ?HEALTH_CALLS,
        longest_ms => longest(0)
    }.

%% A process that wakes up every 100 ms and does nothing, in percent of a core.
-spec timer() -> float().
timer() ->
    Idle = rounds(),
    _ = spawn_link(fun wake_up/0),
    percent(rounds(), Idle).

%% What so many cost in memory.
-spec watch(pos_integer()) -> integer().
watch(Count) ->
    _ = [listener() || _ <- lists:seq(1, Count)],
    Before = resident(),
    ok = watch_all(#{interval_ms => 1000}, Count),
    resident() - Before.

%% It finds them of its own accord.
watch_all(Settings, Count) ->
    ok = logger:set_primary_config(level, error),
    ok = bench_application:start(Settings),
    ok = watched(Count, erlang:monotonic_time(millisecond) + ?SETTLED_MS),
    timer:sleep(?SETTLED_MS).

watched(Count, Deadline) ->
    case length(accept_queue:watched()) >= Count of
        true ->
            ok;
        false ->
            true = erlang:monotonic_time(millisecond) < Deadline,
            timer:sleep(50),
            watched(Count, Deadline)
    end.

sleeper() ->
    Program = filename:join(filename:dirname(code:which(?MODULE)), "sleeper"),
    list_to_integer(os:cmd(Program)) / 1.0e7.

-spec rounds() -> [use()].
rounds() ->
    [used() || _ <- lists:seq(1, ?ROUNDS)].

-spec used() -> use().
used() ->
    {Ns, Wakeups} = account(),
    timer:sleep(?ROUND_MS),
    {NsThen, WakeupsThen} = account(),
    {NsThen - Ns, maps:map(fun(Tid, Count) -> Count - maps:get(Tid, Wakeups, 0) end, WakeupsThen)}.

%% The kernel's, of every thread.
account() ->
    Tasks = [{filename:basename(Task), Task} || Task <- filelib:wildcard("/proc/self/task/*")],
    Ns = [binary_to_integer(hd(binary:split(Text, <<" ">>))) || {_, Task} <- Tasks, {ok, Text} <- [file:read_file(Task ++ "/schedstat")]],
    Wakeups = [{Tid, number("voluntary_ctxt_switches", Text)} || {Tid, Task} <- Tasks, {ok, Text} <- [file:read_file(Task ++ "/status")]],
    {lists:sum(Ns), maps:from_list(Wakeups)}.

number(Key, Text) ->
    {match, [Number]} = re:run(Text, "^" ++ Key ++ ":\\s*([0-9]+)", [multiline, {capture, all_but_first, list}]),
    list_to_integer(Number).

percent(Busy, Idle) ->
    100 * (median([Ns || {Ns, _} <- Busy]) - median([Ns || {Ns, _} <- Idle])) / (?ROUND_MS * 1_000_000).

wakeups(IsOf, Rounds) ->
    1000 * median([lists:sum([Count || {Tid, Count} <- maps:to_list(Wakeups), IsOf(Tid)]) || {_, Wakeups} <- Rounds]) / ?ROUND_MS.

median(Values) ->
    lists:nth((length(Values) + 1) div 2, lists:sort(Values)).

wake_up() ->
    receive
    after 100 -> wake_up()
    end.

listener() ->
    {ok, Listener} = gen_tcp:listen(0, [{ip, loopback}, {backlog, 128}]),
    Listener.

resident() ->
    _ = [erlang:garbage_collect(Pid) || Pid <- processes()],
    {ok, Text} = file:read_file("/proc/self/statm"),
    binary_to_integer(lists:nth(2, binary:split(Text, <<" ">>, [global]))) * 4096.

longest(So) ->
    receive
        {monitor, _, long_schedule, Info} -> longest(max(So, proplists:get_value(timeout, Info)))
    after 0 -> So
    end.
