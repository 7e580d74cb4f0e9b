%% What it costs to watch: processor time and wake-ups of all threads of a VM while nothing happens, less those of the same VM, with
%% the same listeners, before the application is started.
-module(bench_monitor).

-export([measure/0]).
%% Called in the VM that is measured.
-export([listen/1, close/1, watch/2, health/0, wake_up/0, resident/0]).

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
    Loads = [load(Load) || Load <- ?LOADS],
    #{
        loads => Loads,
        timer => in_own_vm(fun timer/1),
        sleeper => sleeper(),
        %% Of the second and third thousand: the first pays for what is there once.
        bytes => (in_own_vm(fun(Vm) -> grown(Vm, 3000) end) - in_own_vm(fun(Vm) -> grown(Vm, 1000) end)) / 2000,
        health_ns => maps:get(health_ns, lists:last(Loads)),
        longest_ms => lists:max([Longest || #{longest_ms := Longest} <- Loads])
    }.

%% Nothing is left in it from another measurement: no setting, and no memory that costs nothing the second time. It is measured
%% from here, so that measuring wakes none of its threads.
in_own_vm(Measure) ->
    {ok, Vm, _} = peer:start_link(#{connection => standard_io, args => ["-pa" | code:get_path()]}),
    Answer = Measure(Vm),
    ok = peer:stop(Vm),
    Answer.

load({Count, Settings, Goal}) ->
    in_own_vm(fun(Vm) ->
        Keeper = call(Vm, listen, [Count]),
        Idle = rounds(Vm),
        ok = call(Vm, watch, [Count, Settings]),
        Busy = rounds(Vm),
        HealthNs = call(Vm, health, []),
        {_, Before} = hd(Idle),
        IsOurs = fun(Tid) -> not is_map_key(Tid, Before) end,
        #{
            listeners => Count,
            settings => bench_application:settings(Settings),
            goal => Goal,
            percent => percent(Busy, Idle),
            our_wakeups => wakeups(IsOurs, Busy),
            vm_wakeups => wakeups(fun(Tid) -> not IsOurs(Tid) end, Busy) - wakeups(fun(_) -> true end, Idle),
            health_ns => HealthNs,
            longest_ms => call(Vm, close, [Keeper])
        }
    end).

%% A process that wakes up every 100 ms and does nothing, in percent of a core.
timer(Vm) ->
    Idle = rounds(Vm),
    ok = call(Vm, wake_up, []),
    percent(rounds(Vm), Idle).

%% What so many cost in memory, in bytes.
grown(Vm, Count) ->
    _ = call(Vm, listen, [Count]),
    Before = call(Vm, resident, []),
    ok = call(Vm, watch, [Count, #{interval_ms => 1000}]),
    call(Vm, resident, []) - Before.

call(Vm, Function, Arguments) ->
    peer:call(Vm, ?MODULE, Function, Arguments, ?CALL_MS).

%% Listeners, until they are closed by `close'.
-spec listen(pos_integer()) -> pid().
listen(Count) ->
    Self = self(),
    Keeper = spawn(fun() ->
        _ = erlang:system_monitor(self(), [{long_schedule, 1}]),
        Listeners = [listener() || _ <- lists:seq(1, Count)],
        Self ! {self(), listening},
        receive
            {close, Asks} ->
                lists:foreach(fun gen_tcp:close/1, Listeners),
                Asks ! {self(), longest(0)}
        end
    end),
    receive
        {Keeper, listening} -> Keeper
    end.

%% For how long, at the most, anything has held a normal scheduler.
-spec close(pid()) -> non_neg_integer().
close(Keeper) ->
    Keeper ! {close, self()},
    receive
        {Keeper, Longest} -> Longest
    end.

%% The application finds them of its own accord.
-spec watch(pos_integer(), #{atom() => term()}) -> ok.
watch(Count, Settings) ->
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

%% Nanoseconds a call.
-spec health() -> float().
health() ->
    {Us, _} = timer:tc(fun() -> [ok = accept_queue:health() || _ <- lists:seq(1, ?HEALTH_CALLS)] end),
    Us * 1000 / ?HEALTH_CALLS.

-spec wake_up() -> ok.
wake_up() ->
    _ = spawn(fun every_100_ms/0),
    ok.

every_100_ms() ->
    receive
    after 100 -> every_100_ms()
    end.

-spec resident() -> non_neg_integer().
resident() ->
    _ = [erlang:garbage_collect(Pid) || Pid <- processes()],
    {ok, Text} = file:read_file("/proc/self/statm"),
    binary_to_integer(lists:nth(2, binary:split(Text, <<" ">>, [global]))) * 4096.

sleeper() ->
    Program = filename:join(filename:dirname(code:which(?MODULE)), "sleeper"),
    list_to_integer(os:cmd(Program)) / 1.0e7.

rounds(Vm) ->
    OsPid = peer:call(Vm, os, getpid, []),
    [used(OsPid) || _ <- lists:seq(1, ?ROUNDS)].

-spec used(string()) -> use().
used(OsPid) ->
    {Ns, Wakeups} = account(OsPid),
    timer:sleep(?ROUND_MS),
    {NsThen, WakeupsThen} = account(OsPid),
    {NsThen - Ns, maps:map(fun(Tid, Count) -> Count - maps:get(Tid, Wakeups, 0) end, WakeupsThen)}.

%% The kernel's, of every thread.
account(OsPid) ->
    Tasks = [{filename:basename(Task), Task} || Task <- filelib:wildcard("/proc/" ++ OsPid ++ "/task/*")],
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

listener() ->
    {ok, Listener} = gen_tcp:listen(0, [{ip, loopback}, {backlog, 128}]),
    Listener.

longest(So) ->
    receive
        {monitor, _, long_schedule, Info} -> longest(max(So, proplists:get_value(timeout, Info)))
    after 0 -> So
    end.
