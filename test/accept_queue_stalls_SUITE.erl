%% Pools that stall under load, over and over: each condition is published once when it is brought about and once when it is
%% ended, and no other is.
%%
%% The short form is one minute at most. `make load MINUTES=10' is the long one, with the default settings and a
%% hundred listeners; it leaves its figures in _build/load.
-module(accept_queue_stalls_SUITE).

-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

-define(POOL, 4).
-define(BACKLOG, 64).
-define(SLOWLY_SERVED, 40).
%% Accepted sockets inherit it: thousands of them would slow down the dumps of whatever is tested in the next minute.
-define(LEAVE_NO_TIME_WAIT, {linger, {true, 0}}).
%% What is held in CLOSE_WAIT would take a thousand descriptors of each listener otherwise.
-define(CLOSE_WAIT_MAX, 20).
%% Longer than any client of a stalled listener has to wait, also if its SYN was dropped and comes again.
-define(PATIENCE_MS, 120_000).
-define(LEAVES_AFTER_MS, 300).

all() ->
    [
        every_stall_is_reported_once_and_nothing_else_is,
        {group, killed_at_random}
    ].

groups() ->
    [
        {killed_at_random, [parallel], [
            every_stall_is_reported_once_while_its_reporters_are_killed,
            a_program_that_is_killed_leaves_nothing_raised_and_nothing_doubled
        ]}
    ].

%% `stalls' stall at a time. The first part of the time warms up: allocators find their sizes, every pool has stalled. `late_ms'
%% is granted to each event: stalls last for so much longer.
form() ->
    case os:getenv("ACCEPT_QUEUE_STALLS_MINUTES") of
        false ->
            %% The last minute, of which the monitor keeps the figures, is not over yet.
            (quick())#{seconds => {10, 25}, late_ms => 1500, may_grow => 2 * 1024 * 1024};
        Minutes ->
            Seconds = 60 * list_to_integer(Minutes),
            #{
                seconds => {Seconds div 5, Seconds * 4 div 5},
                listeners => 100,
                stalls => 20,
                per_second => 90,
                late_ms => 3000,
                %% Less than three words for each connection.
                may_grow => 1024 * 1024,
                settings => #{}
            }
    end.

quick() ->
    #{
        listeners => 20,
        stalls => 10,
        per_second => 40,
        %% Beside another suite on two cores a VM stands still for half a second now and then, and is `behind' if it may not.
        settings => #{interval_ms => 50, for_ms => 1000, stuck_ms => 2000, clear_ms => 700, census_ms => 500}
    }.

%% Of some readings: heaps shrink one after the other when all is over.
least_usage(Server) ->
    Readings = [begin timer:sleep(200), other_vm:call(Server, ?MODULE, usage, []) end || _ <- lists:seq(1, 15)],
    lists:foldl(fun(One, Other) -> maps:map(fun(Key, Figure) -> min(Figure, maps:get(Key, Other)) end, One) end, hd(Readings), tl(Readings)).

every_stall_is_reported_once_and_nothing_else_is(_) ->
    #{seconds := {First, Second}, may_grow := MayGrow} = Form = form(),
    #{server := Server} = World = world(Form),
    Warm = run(First, World),
    Before = least_usage(Server),
    Run = run(Second, World),
    After = least_usage(Server),
    Report = report(Form, [Warm, Run], Before, After),
    ct:pal("~ts", [Report]),
    keep(Report),
    lists:foreach(fun nothing_is_wrong/1, [Warm, Run]),
    ?assertEqual(lists:sort(kinds()), lists:usort([Kind || #{kind := Kind} <- maps:get(stalls, Run)])),
    %% The monitor opens one for each search.
    eventually:is(maps:get(descriptors, Before), fun() -> maps:get(descriptors, other_vm:call(Server, ?MODULE, usage, [])) end),
    ?assert(maps:get(allocated, After) - maps:get(allocated, Before) < MayGrow),
    %% The carriers of the allocators come and go.
    ?assert(maps:get(resident, After) - maps:get(resident, Before) < 16 * MayGrow),
    stop(World).

%% What was to be raised when one of them was killed starts again: stalls last for so much longer, and there is time enough
%% between two kills.
every_stall_is_reported_once_while_its_reporters_are_killed(_) ->
    World = world((quick())#{late_ms => 4500}),
    Killed = [accept_queue_monitor, accept_queue_event, subscriber],
    Run = run(15, World#{kills => {2500, 1500, Killed}}),
    ct:comment("killed: ~p", [maps:get(killed, Run)]),
    nothing_is_wrong(Run),
    ?assertEqual(lists:sort(Killed), lists:usort(maps:get(killed, Run))),
    stop(World).

%% Its detectors end with it, so each of its stalls starts again.
a_program_that_is_killed_leaves_nothing_raised_and_nothing_doubled(_) ->
    World = world((quick())#{late_ms => 3000, args => ["-accept_queue", "source", "port"]}),
    #{stalls := Stalls, killed := Killed} = Run = run(12, World#{kills => {1000, 2000, [program]}}),
    ?assertMatch(#{failed := 0}, maps:get(connections, Run)),
    ct:comment("the program was killed ~b times", [length(Killed)]),
    ?assert(length(Killed) > 3),
    Published = lists:append([Of || #{published := Of} <- Stalls]),
    ?assert(length([C || {raised, C} <- Published]) > 10),
    ?assertEqual([], [{N, Condition, All} || {N, All} <- of_each_listener(Stalls), Condition <- conditions(), not alternates(Condition, All)]),
    stop(World).

conditions() ->
    [behind, overflowing, stuck, abandoned, leaking].

of_each_listener(Stalls) ->
    [{N, lists:append([Published || #{listener := L, published := Published} <- Stalls, L =:= N])} || N <- lists:usort([L || #{listener := L} <- Stalls])].

%% Raised and cleared in turn, and cleared at the end.
alternates(Condition, Published) ->
    Of = [Event || {Event, C} <- Published, C =:= Condition],
    Of =:= lists:append(lists:duplicate(length(Of) div 2, [raised, cleared])).

world(#{listeners := Count, settings := Changed} = Form) ->
    Server = other_vm:start(#{under => other_vm:with_open_files(4096), args => maps:get(args, Form, [])}),
    Settings = other_vm:call(Server, ?MODULE, serve, [Count, Changed#{close_wait_max => ?CLOSE_WAIT_MAX}]),
    Addresses = other_vm:call(Server, ?MODULE, addresses, []),
    Clients = [other_vm:start(#{under => other_vm:with_open_files(4096)}) || _ <- [1, 2]],
    Form#{server => Server, clients => Clients, settings := Settings, addresses => list_to_tuple(Addresses)}.

stop(#{server := Server, clients := Clients}) ->
    lists:foreach(fun other_vm:stop/1, [Server | Clients]).

nothing_is_wrong(#{stalls := Stalls, connections := Connections}) ->
    ?assertEqual([], lists:append([Wrong || #{wrong := Wrong} <- Stalls])),
    ?assertMatch(#{failed := 0}, Connections).

%% Load and stalls for so long; then all is well again, and what was published is compared with what was done.
run(Seconds, #{server := Server, clients := Clients, stalls := Stalls, addresses := Addresses, per_second := PerSecond} = World) ->
    [other_vm:call(Client, ?MODULE, come, [tuple_to_list(Addresses), PerSecond / length(Clients)]) || Client <- Clients],
    Until = erlang:monotonic_time(millisecond) + 1000 * Seconds,
    Stallers = [
        spawn_monitor(fun() -> stall_again_and_again(Nth, Until, World) end)
     || Nth <- lists:seq(1, Stalls)
    ],
    Killer = spawn_link(fun() -> kill_again_and_again(maps:get(kills, World, none), Server, []) end),
    [receive {'DOWN', Monitor, process, Pid, Reason} -> normal = Reason end || {Pid, Monitor} <- Stallers],
    Killer ! {stop, self()},
    Killed = receive {killed, All} -> All end,
    Connections = [other_vm:call(Client, ?MODULE, leave, []) || Client <- Clients],
    eventually:is([], fun() -> other_vm:call(Server, ?MODULE, raised, []) end),
    %% The program may be away still.
    eventually:is(ok, fun() -> other_vm:call(Server, accept_queue, health, []) end),
    Log = other_vm:call(Server, ?MODULE, log, []),
    #{
        seconds => Seconds,
        killed => Killed,
        stalls => lists:append([judged(N, of_listener(N, Log)) || N <- lists:seq(1, tuple_size(Addresses))]),
        connections => lists:foldl(fun(One, Sum) -> maps:map(fun(Key, So) -> So + maps:get(Key, One) end, Sum) end, hd(Connections), tl(Connections))
    }.

%% At random, after a pause of so many milliseconds and up to so many more.
kill_again_and_again(Kills, Server, Killed) ->
    Pause =
        case Kills of
            none -> infinity;
            {AtLeast, More, _} -> AtLeast + rand:uniform(More)
        end,
    receive
        {stop, Who} -> Who ! {killed, Killed}
    after Pause ->
        {_, _, Targets} = Kills,
        %% Each in turn, in a random order.
        Target = hd([T || {_, T} <- lists:sort([{rand:uniform(), T} || T <- Targets -- lists:sublist(Killed, length(Targets) - 1)])]),
        ok = other_vm:call(Server, ?MODULE, kill, [Target]),
        kill_again_and_again(Kills, Server, [Target | Killed])
    end.

%% Each has listeners of its own and begins at another point between two readings.
stall_again_and_again(Nth, Until, #{stalls := Stalls, listeners := Count} = World) ->
    Own = lists:seq(Nth, Count, Stalls),
    timer:sleep(rand:uniform(1000)),
    Shuffled = fun(List) -> [Item || {_, Item} <- lists:sort([{rand:uniform(), Item} || Item <- List])] end,
    Plan = fun Plan() -> Shuffled([{N, Kind} || N <- Own, Kind <- kinds()]) ++ Plan end,
    stall_each(Plan(), Until, World).

stall_each([{N, Kind} | Others], Until, World) ->
    stall(N, Kind, World),
    case erlang:monotonic_time(millisecond) < Until of
        true -> stall_each(Others, Until, World);
        false -> ok
    end;
stall_each(Plan, Until, World) ->
    stall_each(Plan(), Until, World).

stall(N, Kind, #{server := Server, clients := Clients, addresses := Addresses, settings := Settings, late_ms := LateMs}) ->
    #{clear_ms := ClearMs, census_ms := CensusMs} = Settings,
    {Mode, Coming, DurationMs} = kind(Kind, Settings, LateMs),
    %% So slow that they are not all taken before it ends.
    SlowMs = DurationMs * ?POOL div (?SLOWLY_SERVED - ?POOL),
    ok = other_vm:call(Server, ?MODULE, begins, [N, Kind, Mode, SlowMs]),
    Client = lists:nth(1 + N rem length(Clients), Clients),
    Come = fun(Count, Then) -> ok = other_vm:call(Client, ?MODULE, come_at_once, [element(N, Addresses), Count, Then]) end,
    %% No client is turned away for want of an acceptor that was on its way to block.
    Mode =:= blocked andalso Come(?POOL, stay),
    Mode =:= blocked andalso eventually:is(?POOL, fun() -> other_vm:call(Server, ?MODULE, blocked, [N]) end),
    [Come(Count, Then) || {Count, Then} <- Coming],
    timer:sleep(DurationMs),
    ok = other_vm:call(Server, ?MODULE, ends, [N]),
    %% That they are held no longer shows in the next census, and nothing else asks for one.
    timer:sleep(ClearMs + LateMs + case Kind of leaking -> CensusMs; _ -> 0 end).

kinds() ->
    [stuck, overflowing, abandoned, behind, leaking, brief].

%% What the pool does, who comes, and for how long it lasts.
kind(stuck, #{stuck_ms := Ms}, LateMs) -> {blocked, [{3, stay}], Ms + LateMs};
kind(overflowing, #{stuck_ms := Ms}, LateMs) -> {blocked, [{?BACKLOG + 8, stay}], Ms + LateMs};
kind(abandoned, #{stuck_ms := Ms}, LateMs) -> {blocked, [{24, leave}], Ms + LateMs};
kind(behind, #{for_ms := Ms, max_wait_ms := MaxMs}, LateMs) -> {slow, [{?SLOWLY_SERVED, stay}], Ms + MaxMs + LateMs};
kind(leaking, #{census_ms := Ms}, LateMs) -> {holding, [{?CLOSE_WAIT_MAX + 10, leave}], ?LEAVES_AFTER_MS + Ms + LateMs};
%% Shorter than any condition.
kind(brief, #{for_ms := Ms}, _) -> {blocked, [{3, stay}], Ms div 6}.

expected_of(stuck) -> [behind, stuck];
expected_of(overflowing) -> [behind, overflowing, stuck];
expected_of(abandoned) -> [abandoned, behind, stuck];
expected_of(behind) -> [behind];
expected_of(leaking) -> [leaking];
expected_of(brief) -> [].

%% What was done to a listener and what was published of it, in the order in which it happened -> each stall with what is wrong.
of_listener(N, Log) ->
    [{Ms, What} || {Ms, Of, What} <- Log, Of =:= N].

judged(_, []) ->
    [];
judged(N, [{Begun, {begins, Kind}} | Log]) ->
    {During, Rest} = lists:splitwith(fun({_, What}) -> What =/= ends end, Log),
    {[{_, ends} | After], Others} = lists:splitwith(fun({_, What}) -> not is_tuple(What) orelse element(1, What) =/= begins end, Rest),
    Wrong = differences(raised, Kind, During) ++ differences(cleared, Kind, After),
    Raised = [{Condition, Ms - Begun} || {Ms, {raised, Condition}} <- During],
    Published = [What || {_, What} <- During ++ After],
    [#{listener => N, kind => Kind, raised => Raised, published => Published, wrong => [{N, Kind, One} || One <- Wrong]} | judged(N, Others)];
judged(N, [{_, Published} | Log]) ->
    [#{listener => N, kind => none, raised => [], published => [Published], wrong => [{N, none, {false, Published}}]} | judged(N, Log)].

differences(Event, Kind, Log) ->
    Due = [{Event, Condition} || Condition <- expected_of(Kind)],
    Published = [What || {_, What} <- Log],
    [{missed, What} || What <- Due -- Published] ++
        [{case lists:member(What, Due) of true -> doubled; false -> false end, What} || What <- Published -- Due].

report(#{listeners := Count}, Parts, Before, After) ->
    Stalls = lists:append([Of || #{stalls := Of} <- Parts]),
    Sum = fun(Key) -> lists:sum([maps:get(Key, Of) || #{connections := Of} <- Parts]) end,
    Wrong = [One || #{wrong := All} <- Stalls, {_, _, One} <- All],
    [Missed, False, Doubled] = [length([What || {How, What} <- Wrong, How =:= Which]) || Which <- [missed, false, doubled]],
    Due = lists:sum([length(expected_of(Kind)) || #{kind := Kind} <- Stalls, Kind =/= none]),
    [
        io_lib:format("~b listeners, ~b s: ~b connections opened, ~b served, ~b left unserved, ~b failed~n~n", [
            Count, lists:sum([S || #{seconds := S} <- Parts]), Sum(opened), Sum(served), Sum(left), Sum(failed)
        ]),
        "| stalls | how many | published |\n|---|---|---|\n",
        [io_lib:format("| `~s` | ~b | ~ts |~n", [Kind, length([K || #{kind := K} <- Stalls, K =:= Kind]), latencies(Kind, Stalls)]) || Kind <- kinds()],
        io_lib:format("~nraised and cleared: ~b of each due; ~b missed, ~b false, ~b doubled~n", [Due, Missed, False, Doubled]),
        [io_lib:format("wrong: ~p~n", [All]) || #{wrong := [_ | _] = All} <- Stalls],
        io_lib:format("server, before and after the second part: ~b and ~b descriptors; ~.1f and ~.1f MiB allocated; ~.1f and ~.1f MiB resident~n", [
            Figure || Key <- [descriptors, allocated, resident], Of <- [Before, After], Figure <- [figure(Key, maps:get(Key, Of))]
        ])
    ].

figure(descriptors, Count) -> Count;
figure(_, Bytes) -> Bytes / 1024 / 1024.

%% After the stall has begun: the soonest and the latest.
latencies(Kind, Stalls) ->
    Raised = lists:append([Of || #{kind := K, raised := Of} <- Stalls, K =:= Kind]),
    Each = [{Condition, [Ms || {C, Ms} <- Raised, C =:= Condition]} || Condition <- expected_of(Kind)],
    case [io_lib:format("`~s` after ~b to ~b ms", [Condition, lists:min(Ms), lists:max(Ms)]) || {Condition, [_ | _] = Ms} <- Each] of
        [] -> "nothing";
        Texts -> lists:join(", ", Texts)
    end.

keep(Report) ->
    File = repository:path("_build/load/stalls.md"),
    ok = filelib:ensure_dir(File),
    ok = file:write_file(File, unicode:characters_to_binary(Report)).

%% In the server's VM.

serve(Count, Changed) ->
    {ok, _} = application:ensure_all_started(sasl),
    ok = logger:set_primary_config(level, none),
    ok = application:load(accept_queue),
    ok = application:set_env(accept_queue, watch, none),
    {ok, _} = application:ensure_all_started(accept_queue),
    ?MODULE = ets:new(?MODULE, [named_table, public, {read_concurrency, true}]),
    Listeners = [sockets:listen(?BACKLOG, [?LEAVE_NO_TIME_WAIT]) || _ <- lists:seq(1, Count)],
    Addresses = lists:map(fun sockets:address/1, Listeners),
    put(addresses, Addresses),
    Self = self(),
    Recorder = spawn_link(fun() ->
        ok = accept_queue:subscribe(),
        Self ! subscribed,
        record(maps:from_list(lists:zip(Addresses, lists:seq(1, Count))), [])
    end),
    receive subscribed -> ok end,
    put(recorder, Recorder),
    [
        begin
            ets:insert(?MODULE, {N, go}),
            ok = accept_queue:watch(L, Changed),
            put({pool, N}, [spawn_link(fun() -> accept(N, L) end) || _ <- lists:seq(1, ?POOL)])
        end
     || {N, L} <- lists:zip(lists:seq(1, Count), Listeners)
    ],
    maps:merge(accept_queue_nif:default_settings(), Changed).

addresses() ->
    get(addresses).

accept(N, L) ->
    receive {ends, _} -> ok after 0 -> ok end,
    {ok, Socket} = gen_tcp:accept(L),
    [{N, Mode}] = ets:lookup(?MODULE, N),
    accepted(Mode, Socket),
    accept(N, L).

accepted(go, Socket) ->
    gen_tcp:close(Socket);
accepted({blocked, Stall}, Socket) ->
    _ = ets:update_counter(?MODULE, Stall, 1, {Stall, 0}),
    receive {ends, Stall} -> gen_tcp:close(Socket) end;
accepted({slow, Stall, Ms}, Socket) ->
    receive {ends, Stall} -> ok after Ms -> ok end,
    gen_tcp:close(Socket);
accepted({holding, Holder}, Socket) ->
    case gen_tcp:controlling_process(Socket, Holder) of
        ok -> ok;
        %% It has ended meanwhile.
        {error, badarg} -> gen_tcp:close(Socket)
    end.

begins(N, Kind, Mode, SlowMs) ->
    mark(N, {begins, Kind}),
    Stall = make_ref(),
    put({stall, N}, Stall),
    Now =
        case Mode of
            blocked -> {blocked, Stall};
            slow -> {slow, Stall, SlowMs};
            holding -> {holding, spawn(fun() -> receive {ends, Stall} -> ok end end)}
        end,
    ets:insert(?MODULE, {N, Now}),
    ok.

blocked(N) ->
    proplists:get_value(get({stall, N}), ets:tab2list(?MODULE), 0).

ends(N) ->
    mark(N, ends),
    [{N, Mode}] = ets:lookup(?MODULE, N),
    ets:insert(?MODULE, {N, go}),
    Stall = erase({stall, N}),
    true = ets:delete(?MODULE, Stall),
    [Pid ! {ends, Stall} || Pid <- [Holder || {holding, Holder} <- [Mode]] ++ get({pool, N})],
    ok.

mark(N, What) ->
    ask_recorder({mark, N, What}).

kill(subscriber) ->
    %% A subscriber that comes and goes, with its messages.
    {Pid, Monitor} = spawn_monitor(fun() -> ok = accept_queue:subscribe(), timer:sleep(infinity) end),
    case put(subscriber, Pid) of
        undefined -> ok;
        Before -> exit(Before, kill)
    end,
    true = erlang:demonitor(Monitor),
    ok;
kill(program) ->
    Pid = accept_queue_port:os_pid(),
    [] = [Said || is_integer(Pid), Said <- [os:cmd("kill -KILL " ++ integer_to_list(Pid))], Said =/= ""],
    ok;
kill(Name) ->
    Pid = whereis(Name),
    exit(Pid, kill),
    _ = eventually:is(true, fun() -> not lists:member(whereis(Name), [Pid, undefined]) end),
    ok.

log() ->
    ask_recorder(log).

ask_recorder(Question) ->
    get(recorder) ! {self(), Question},
    receive {recorder, Answer} -> Answer end.

%% Events come from the application, marks from the process that stalls, which waits until its mark is noted.
record(Numbers, Log) ->
    receive
        {accept_queue, Event, Condition, #{address := Address}} when Event =:= raised; Event =:= cleared ->
            record(Numbers, [{erlang:monotonic_time(millisecond), maps:get(Address, Numbers), {Event, Condition}} | Log]);
        {accept_queue, listener, _, _} ->
            record(Numbers, Log);
        {From, {mark, N, What}} ->
            From ! {recorder, ok},
            record(Numbers, [{erlang:monotonic_time(millisecond), N, What} | Log]);
        {From, log} ->
            From ! {recorder, lists:reverse(Log)},
            record(Numbers, [])
    end.

%% The raised conditions of all listeners.
raised() ->
    [{Address, Condition} || Address <- get(addresses), {ok, #{conditions := All}} <- [accept_queue:status(Address)], Condition <- All].

usage() ->
    #{
        allocated => vm_usage:allocated_bytes(),
        resident => vm_usage:resident_bytes(),
        descriptors => length(vm_usage:descriptors())
    }.

%% In a VM of clients: opened, served by the server, left before that, failed.

-define(COUNTED, [opened, served, left, failed]).

come(Addresses, PerSecond) ->
    put(counters, counters:new(length(?COUNTED), [])),
    Counters = get(counters),
    Self = self(),
    put(driver, spawn_link(fun() -> keep_coming(list_to_tuple(Addresses), 1000 / PerSecond, erlang:monotonic_time(millisecond), 1, Counters, Self) end)),
    ok.

%% Does it so often, on the average: a late one makes up for it.
keep_coming(Addresses, EveryMs, Begun, Nth, Counters, Starter) ->
    Pause = max(0, round(Begun + Nth * EveryMs - erlang:monotonic_time(millisecond))),
    receive
        stop -> Starter ! {self(), stopped}
    after Pause ->
        start_client(element(rand:uniform(tuple_size(Addresses)), Addresses), stay, Counters),
        keep_coming(Addresses, EveryMs, Begun, Nth + 1, Counters, Starter)
    end.

come_at_once(Address, Count, Then) ->
    lists:foreach(fun(_) -> start_client(Address, Then, get(counters)) end, lists:seq(1, Count)).

%% All have been served or have left.
leave() ->
    get(driver) ! stop,
    receive {_, stopped} -> ok end,
    Counters = get(counters),
    Count = fun(What) -> counters:get(Counters, place(What)) end,
    eventually:is(0, fun() -> Count(opened) - lists:sum(lists:map(Count, [served, left, failed])) end),
    maps:from_list([{What, Count(What)} || What <- ?COUNTED]).

start_client({Ip, Port}, Then, Counters) ->
    counters:add(Counters, place(opened), 1),
    spawn(fun() -> counters:add(Counters, place(client(gen_tcp:connect(Ip, Port, [{active, false}], ?PATIENCE_MS), Then)), 1) end).

client({ok, Socket}, stay) ->
    Answer = gen_tcp:recv(Socket, 0, ?PATIENCE_MS),
    gen_tcp:close(Socket),
    case Answer of
        {error, timeout} -> failed;
        {error, _} -> served
    end;
client({ok, Socket}, leave) ->
    timer:sleep(?LEAVES_AFTER_MS),
    gen_tcp:close(Socket),
    left;
%% Accepted and closed before the VM knew that it was connected.
client({error, econnreset}, _) ->
    served;
client({error, _}, _) ->
    failed.

place(What) ->
    length(lists:takewhile(fun(Other) -> Other =/= What end, ?COUNTED)) + 1.
