%% What it costs to watch, with the default settings: processor time and wake-ups of all threads of a VM while nothing happens, less those
%% of the same VM, with the same listeners, before the application is started. While connections come, those of the threads that the
%% application has started: what the VM does for the connections is a hundred times as much.
%%
%% With OLD=DIR, another checkout that has been built, each load is measured with that build too, in the same run.
-module(bench_monitor).

-export([measure/0]).
%% Called in the VM that is measured.
-export([listen/2, close/1, watch/2, health/0, wake_up/0, resident/0]).

-export_type([figures/0, load/0]).

-type figures() :: #{
    loads := [load()],
    %% Percent of a core: a process that wakes up every 100 ms and does nothing, and a C program that does so.
    timer := float(),
    sleeper := float(),
    bytes := [number()],
    health_ns := number(),
    longest_ms := non_neg_integer()
}.
-type load() :: #{
    name := iodata(),
    listeners := pos_integer(),
    percent := float(),
    before := figure() | none,
    goal := {below, float()} | none,
    %% A second: of the threads that the application has started, and of the VM's own.
    our_wakeups := float(),
    vm_wakeups := float()
}.
-type figure() :: #{percent := float(), our_wakeups := float(), vm_wakeups := float()}.
%% Nanoseconds of each thread in a second, and how often it has slept until something woke it.
-type use() :: #{Tid :: string() => {Ns :: float(), WakeUps :: float()}}.

%% How long it may take until they are watched.
-define(FOUND_MS, 15_000).
-define(CALL_MS, 120_000).
-define(HEALTH_CALLS, 100_000).
-define(MEMORY_ROUNDS, 5).
-define(ACCEPTORS, 4).
%% {listeners, what happens, percent of a core}
-define(LOADS, [
    {1, nothing, {below, 0.01}},
    {20, nothing, {below, 0.01}},
    {1000, nothing, {below, 0.06}},
    {100, {served, 50}, none},
    {1, stands, none}
]).

-spec measure() -> figures().
measure() ->
    Loads = [load(Load) || Load <- ?LOADS],
    #{
        loads => Loads,
        timer => in_own_vm(fun timer/1),
        sleeper => sleeper(),
        bytes => [bytes() || _ <- lists:seq(1, ?MEMORY_ROUNDS)],
        health_ns => hd([Ns || #{listeners := 1000, health_ns := Ns} <- Loads]),
        longest_ms => lists:max([Longest || #{longest_ms := Longest} <- Loads])
    }.

%% Nothing is left in it from another measurement: no setting, and no memory that costs nothing the second time. It is measured
%% from here, so that measuring wakes none of its threads.
in_own_vm(Measure) ->
    in_vm_with(code:get_path(), Measure).

in_vm_with(Path, Measure) ->
    %% `-pa' puts each before those that it has put there, so the last one comes first.
    {ok, Vm, _} = peer:start_link(#{connection => standard_io, args => ["-pa" | lists:reverse(Path)]}),
    %% Otherwise it is another build that is measured.
    true = lists:prefix(filename:dirname(hd(ebins(Path))), call(Vm, code, which, [accept_queue])),
    Answer = Measure(Vm),
    ok = peer:stop(Vm),
    Answer.

ebins(Path) ->
    [Ebin || Ebin <- Path, filelib:is_regular(filename:join(Ebin, "accept_queue.beam"))].

load({Count, Happens, Goal}) ->
    Before =
        case os:getenv("OLD") of
            false -> none;
            Old -> maps:with([percent, our_wakeups, vm_wakeups], load([Old ++ "/_build/rebar3/default/lib/accept_queue/ebin" | code:get_path()], Count, Happens))
        end,
    (load(code:get_path(), Count, Happens))#{
        name => happens(Happens), listeners => Count, goal => Goal, before => Before
    }.

%% Each load is measured as often and for so long, with the idle VM beside it; the median counts. What comes rarely while nothing
%% happens, at most once a minute, is in the one minute that is measured then.
rounds_and_ms(nothing) -> {1, 60_000};
rounds_and_ms(_Happens) -> {3, 8_000}.

%% A new listener is searched for once more, and its queue is read in full. For a minute after it has come the VM looks at it more often.
settled_ms(nothing) -> 75_000;
settled_ms(_Happens) -> 15_000.

happens(nothing) -> "nothing";
happens({served, PerSecond}) -> io_lib:format("each has ~b connections a second, served at once", [PerSecond]);
happens(stands) -> "a queue of eight that does not drain".

load(Path, Count, Happens) ->
    in_vm_with(Path, fun(Vm) ->
        {Keeper, Ports} = call(Vm, listen, [Count, Happens =/= stands]),
        Idle = rounds(Vm, Happens),
        %% They come before it is watched, so that it is not its first seconds that are measured.
        Clients = clients(Happens, Ports),
        ok = call(Vm, watch, [Count, settled_ms(Happens)]),
        Busy = rounds(Vm, Happens),
        HealthNs = call(Vm, health, []),
        _ = [unlink(Pid) andalso exit(Pid, kill) || Pid <- Clients],
        Threads = hd(Idle),
        Ours = fun(Use) -> maps:without(maps:keys(Threads), Use) end,
        Its = fun(Use) -> maps:with(maps:keys(Threads), Use) end,
        OfVm = wakeups(Its, Busy) - wakeups(Its, Idle),
        #{
            percent =>
                case Happens of
                    nothing -> percent(fun(Use) -> Use end, Busy) - percent(fun(Use) -> Use end, Idle);
                    _ -> percent(Ours, Busy)
                end,
            our_wakeups => wakeups(Ours, Busy),
            vm_wakeups => OfVm,
            health_ns => HealthNs,
            longest_ms => call(Vm, close, [Keeper])
        }
    end).

clients(nothing, _Ports) ->
    [];
clients({served, PerSecond}, Ports) ->
    [spawn_link(fun() -> every(1000 div PerSecond, fun() -> lists:foreach(fun come_and_go/1, Ports) end) end)];
clients(stands, [Port]) ->
    Self = self(),
    Pid = spawn_link(fun() ->
        _ = [{ok, _} = gen_tcp:connect({127, 0, 0, 1}, Port, []) || _ <- lists:seq(1, 8)],
        Self ! connected,
        receive never -> ok end
    end),
    receive connected -> [Pid] end.

every(Ms, Do) ->
    BegunMs = erlang:monotonic_time(millisecond),
    _ = Do(),
    timer:sleep(max(0, BegunMs + Ms - erlang:monotonic_time(millisecond))),
    every(Ms, Do).

%% By a reset: nothing is left in TIME_WAIT.
come_and_go(Port) ->
    {ok, Client} = gen_tcp:connect({127, 0, 0, 1}, Port, [{linger, {true, 0}}]),
    gen_tcp:close(Client).

%% A process that wakes up every 100 ms and does nothing, in percent of a core.
timer(Vm) ->
    Idle = rounds(Vm, wakes),
    ok = call(Vm, wake_up, []),
    All = fun(Use) -> Use end,
    percent(All, rounds(Vm, wakes)) - percent(All, Idle).

%% A listener, of the second and third thousand: the first pays for what is there once. The allocators of the VM and of the C library take
%% memory by the megabyte, so that one measurement says little.
bytes() ->
    (in_own_vm(fun(Vm) -> grown(Vm, 3000) end) - in_own_vm(fun(Vm) -> grown(Vm, 1000) end)) / 2000.

%% What so many cost in memory, in bytes.
grown(Vm, Count) ->
    _ = call(Vm, listen, [Count, false]),
    Before = call(Vm, resident, []),
    ok = call(Vm, watch, [Count, settled_ms(grows)]),
    call(Vm, resident, []) - Before.

call(Vm, Function, Arguments) ->
    call(Vm, ?MODULE, Function, Arguments).

call(Vm, Module, Function, Arguments) ->
    peer:call(Vm, Module, Function, Arguments, ?CALL_MS).

%% Listeners, until they are closed by `close', each with a pool where they are served.
-spec listen(pos_integer(), boolean()) -> {pid(), [inet:port_number()]}.
listen(Count, AreServed) ->
    Self = self(),
    Keeper = spawn(fun() ->
        _ = erlang:system_monitor(self(), [{long_schedule, 1}]),
        Listeners = [listener() || _ <- lists:seq(1, Count)],
        _ = [spawn(fun() -> accept(Listener) end) || AreServed, Listener <- Listeners, _ <- lists:seq(1, ?ACCEPTORS)],
        Self ! {self(), [element(2, {ok, _} = inet:port(Listener)) || Listener <- Listeners]},
        receive
            {close, Asks} ->
                lists:foreach(fun gen_tcp:close/1, Listeners),
                Asks ! {self(), longest(0)}
        end
    end),
    receive
        {Keeper, Ports} -> {Keeper, Ports}
    end.

accept(Listener) ->
    case gen_tcp:accept(Listener) of
        {ok, Socket} ->
            _ = gen_tcp:close(Socket),
            accept(Listener);
        {error, _} ->
            ok
    end.

%% For how long, at the most, anything has held a normal scheduler.
-spec close(pid()) -> non_neg_integer().
close(Keeper) ->
    Keeper ! {close, self()},
    receive
        {Keeper, Longest} -> Longest
    end.

%% The application finds them of its own accord.
-spec watch(pos_integer(), SettledMs :: pos_integer()) -> ok.
watch(Count, SettledMs) ->
    ok = logger:set_primary_config(level, none),
    ok = bench_application:start(#{}),
    ok = watched(Count, erlang:monotonic_time(millisecond) + ?FOUND_MS),
    timer:sleep(SettledMs).

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
    {Us, _} = timer:tc(fun() -> [_ = accept_queue:health() || _ <- lists:seq(1, ?HEALTH_CALLS)] end),
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

rounds(Vm, Happens) ->
    {Rounds, Ms} = rounds_and_ms(Happens),
    OsPid = peer:call(Vm, os, getpid, []),
    [used(OsPid, Ms) || _ <- lists:seq(1, Rounds)].

%% In a second.
-spec used(string(), pos_integer()) -> use().
used(OsPid, Ms) ->
    Before = account(OsPid),
    timer:sleep(Ms),
    maps:map(
        fun(Tid, {Ns, WakeUps}) ->
            {NsBefore, WakeUpsBefore} = maps:get(Tid, Before, {0, 0}),
            {1000 * (Ns - NsBefore) / Ms, 1000 * (WakeUps - WakeUpsBefore) / Ms}
        end,
        account(OsPid)
    ).

%% The kernel's, of every thread.
account(OsPid) ->
    maps:from_list([
        {filename:basename(Task), {binary_to_integer(hd(binary:split(Ns, <<" ">>))), number("voluntary_ctxt_switches", Status)}}
     || Task <- filelib:wildcard("/proc/" ++ OsPid ++ "/task/*"),
        {ok, Ns} <- [file:read_file(Task ++ "/schedstat")],
        {ok, Status} <- [file:read_file(Task ++ "/status")]
    ]).

number(Key, Text) ->
    {match, [Number]} = re:run(Text, "^" ++ Key ++ ":\\s*([0-9]+)", [multiline, {capture, all_but_first, list}]),
    list_to_integer(Number).

%% Of a core, of those threads.
percent(Which, Rounds) ->
    100 * median([lists:sum([Ns || {Ns, _} <- maps:values(Which(Use))]) || Use <- Rounds]) / 1.0e9.

wakeups(Which, Rounds) ->
    median([lists:sum([WakeUps || {_, WakeUps} <- maps:values(Which(Use))]) || Use <- Rounds]).

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
