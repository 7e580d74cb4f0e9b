%% What it costs to watch: processor time of the whole VM while nothing happens, less that of a VM in which nobody watches.
-module(bench_monitor).

-export([measure/0, watch/1]).

-export_type([figures/0]).

-type figures() :: #{
    loads := [{Listeners :: pos_integer(), IntervalMs :: pos_integer(), Percent :: float(), GoalPercent :: float()}],
    %% Of a core, for a process that wakes up every 100 ms and does nothing.
    timer := float(),
    %% The same for a C program.
    sleeper := float(),
    bytes := number(),
    health_ns := number(),
    longest_ms := non_neg_integer()
}.

%% Each load is measured as often and for so long, with the idle VM beside it; the median counts.
-define(ROUNDS, 3).
-define(ROUND_MS, 4000).
%% Whoever has just been met has been searched for once more, and looked at.
-define(SETTLED_MS, 15000).
-define(HEALTH_CALLS, 100_000).
%% Percent of a core.
-define(LOADS, [{1, 100, 0.05}, {100, 100, 0.5}, {1000, 1000, 1.0}]).

-spec measure() -> figures().
measure() ->
    Waker = spawn_link(fun wake_up/0),
    Woken = rounds(),
    unlink(Waker),
    exit(Waker, kill),
    Timer = percent(Woken, rounds()),
    _ = erlang:system_monitor(self(), [{long_schedule, 1}]),
    Loads = [load(Load) || Load <- ?LOADS],
    _ = erlang:system_monitor(undefined),
    Bytes = bytes(),
    #{
        loads => [{Count, Interval, Percent, Goal} || {Count, Interval, Percent, Goal, _} <- Loads],
        timer => Timer,
        sleeper => sleeper(),
        bytes => Bytes,
        health_ns => element(5, lists:last(Loads)),
        longest_ms => longest(0)
    }.

load({Count, Interval, Goal}) ->
    Listeners = [listener() || _ <- lists:seq(1, Count)],
    Idle = rounds(),
    ok = watch_all(Interval, Count),
    timer:sleep(?SETTLED_MS),
    Busy = rounds(),
    {HealthUs, _} = timer:tc(fun() -> [ok = accept_queue:health() || _ <- lists:seq(1, ?HEALTH_CALLS)] end),
    ok = application:stop(accept_queue),
    lists:foreach(fun gen_tcp:close/1, Listeners),
    {Count, Interval, percent(Busy, Idle), Goal, HealthUs * 1000 / ?HEALTH_CALLS}.

%% Of the second and third thousand: the first pays for what is there once. In VMs of their own, for memory that has been used
%% before costs nothing the second time.
bytes() ->
    (grown(3000) - grown(1000)) / 2000.

grown(Count) ->
    {ok, Vm, _} = peer:start_link(#{connection => standard_io, args => ["-pa" | code:get_path()]}),
    Bytes = peer:call(Vm, ?MODULE, watch, [Count], 10 * ?SETTLED_MS),
    ok = peer:stop(Vm),
    Bytes.

%% What so many cost in a VM in which nobody has watched yet.
-spec watch(pos_integer()) -> integer().
watch(Count) ->
    ok = logger:set_primary_config(level, error),
    Listeners = [listener() || _ <- lists:seq(1, Count)],
    Before = resident(),
    ok = watch_all(1000, Count),
    timer:sleep(?SETTLED_MS),
    Bytes = resident() - Before,
    lists:foreach(fun gen_tcp:close/1, Listeners),
    Bytes.

%% It finds them by itself.
watch_all(IntervalMs, Count) ->
    _ = application:load(accept_queue),
    ok = application:set_env(accept_queue, watch, all),
    ok = application:set_env(accept_queue, interval_ms, IntervalMs),
    {ok, _} = application:ensure_all_started(accept_queue),
    watched(Count, erlang:monotonic_time(millisecond) + ?SETTLED_MS).

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

rounds() ->
    [used_ns() || _ <- lists:seq(1, ?ROUNDS)].

percent(Busy, Idle) ->
    100 * (median(Busy) - median(Idle)) / (?ROUND_MS * 1_000_000).

wake_up() ->
    receive
    after 100 -> wake_up()
    end.

listener() ->
    {ok, Listener} = gen_tcp:listen(0, [{ip, loopback}, {backlog, 128}]),
    Listener.

%% The kernel's account of every thread, in nanoseconds.
used_ns() ->
    Before = account(),
    timer:sleep(?ROUND_MS),
    account() - Before.

account() ->
    lists:sum([
        binary_to_integer(hd(binary:split(Text, <<" ">>)))
     || File <- filelib:wildcard("/proc/self/task/*/schedstat"), {ok, Text} <- [file:read_file(File)]
    ]).

resident() ->
    _ = [erlang:garbage_collect(Pid) || Pid <- processes()],
    {ok, Text} = file:read_file("/proc/self/statm"),
    binary_to_integer(lists:nth(2, binary:split(Text, <<" ">>, [global]))) * 4096.

median(Values) -> lists:nth((length(Values) + 1) div 2, lists:sort(Values)).

longest(So) ->
    receive
        {monitor, _, long_schedule, Info} -> longest(max(So, proplists:get_value(timeout, Info)))
    after 0 -> So
    end.
