%% What befalls a VM from outside while its listeners are watched: it is suspended, its clock is set, its descriptors run out.
%% What did not happen is not published, and what did is published once.
-module(accept_queue_disturbed_SUITE).

-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

-define(QUICK, #{interval_ms => 50, for_ms => 500, stuck_ms => 1500, clear_ms => 700, census_ms => 500}).
%% Longer than any condition takes to be raised and cleared by these.
-define(LONG_ENOUGH_MS, 3000).
-define(SUSPENDED_MS, 10_000).
-define(POOL, 4).
%% Sockets, pipes and files of a VM that does nothing are some forty.
-define(FEW_DESCRIPTORS, 256).

%% Each in a VM of its own, and waiting most of the time.
all() ->
    [{group, at_the_same_time}].

groups() ->
    [{at_the_same_time, [parallel], [
        suspended_for_ten_seconds_reports_nothing_and_serves_the_clients_that_came,
        a_clock_that_is_set_raises_and_clears_nothing,
        a_full_table_of_descriptors_is_an_error_and_not_a_figure
    ]}].

%% One pool works, another has stood still since before.
suspended_for_ten_seconds_reports_nothing_and_serves_the_clients_that_came(_) ->
    Vm = other_vm:start(),
    {Working, Stuck} = served(Vm),
    Waiting = stall(Vm, Stuck),
    Pid = other_vm:call(Vm, os, getpid, []),
    signal("STOP", Pid),
    eventually:is(true, fun() -> is_stopped(Pid) end),
    Wakes = erlang:monotonic_time(millisecond) + ?SUSPENDED_MS,
    Clients = sockets:clients(10, Working),
    More = sockets:clients(2, Stuck),
    eventually:passes(Wakes),
    signal("CONT", Pid),
    [served_and_closed(Client) || Client <- Clients],
    quiet(Vm),
    ends(Vm, [behind, stuck]),
    [served_and_closed(Client) || Client <- Waiting ++ More],
    other_vm:stop(Vm).

%% The wall clock goes an hour ahead, and then two days back; no wait may be taken from it.
a_clock_that_is_set_raises_and_clears_nothing(Config) ->
    case filelib:wildcard("/usr/lib/*/faketime/libfaketime.so.1") of
        [] ->
            {skip, "libfaketime is not here; `make setup' brings it"};
        [Library | _] ->
            Clock = filename:join(proplists:get_value(priv_dir, Config), "clock"),
            set(Clock, "+0"),
            Variables = [
                "LD_PRELOAD=" ++ Library, "FAKETIME_TIMESTAMP_FILE=" ++ Clock, "FAKETIME_NO_CACHE=1",
                "FAKETIME_DONT_FAKE_MONOTONIC=1", "DONT_FAKE_MONOTONIC=1"
            ],
            with_clock(other_vm:start(#{under => ["env" | Variables]}), Clock)
    end.

with_clock(Vm, Clock) ->
    {Working, Stuck} = served(Vm),
    Waiting = stall(Vm, Stuck),
    [
        begin
            set(Clock, Offset),
            eventually:is(true, fun() -> abs(other_vm:call(Vm, os, system_time, [second]) - os:system_time(second) - Seconds) < 5 end),
            [served_at_once(Working) || _ <- lists:seq(1, 10)],
            quiet(Vm)
        end
     || {Offset, Seconds} <- [{"+3600", 3600}, {"-172800", -172800}]
    ],
    {ok, #{window := #{peak_at := PeakAt}, since := Since}} = other_vm:call(Vm, accept_queue, status, [Stuck]),
    ?assert(Since =< PeakAt),
    %% By the VM's clock of the wall some hours and days have passed.
    [?assert(Ms < 60_000) || Ms <- ends(Vm, [behind, stuck])],
    %% What begins now takes as long as ever.
    More = stall(Vm, Stuck),
    _ = ends(Vm, [behind, stuck]),
    [served_and_closed(Client) || Client <- Waiting ++ More],
    other_vm:stop(Vm).

set(Clock, Offset) ->
    %% At once: a reader in between finds the old one.
    ok = file:write_file(Clock ++ ".new", Offset ++ "\n"),
    ok = file:rename(Clock ++ ".new", Clock).

a_full_table_of_descriptors_is_an_error_and_not_a_figure(_) ->
    Vm = other_vm:start(#{under => other_vm:with_open_files(?FEW_DESCRIPTORS)}),
    Address = other_vm:call(Vm, ?MODULE, listens, []),
    Before = other_vm:call(Vm, ?MODULE, readings, []),
    ?assertMatch(#{depth := {ok, #{queued := 0}}, counts := {ok, #{queued := 0}}, list := {ok, [_]}, kernel := {ok, _}}, Before),
    emfile = other_vm:call(Vm, ?MODULE, fill, []),
    Waiting = sockets:clients(3, Address),
    await(Vm, [{raised, behind}, {raised, stuck}]),
    #{depth := Depth, counts := Counts, list := List, kernel := Kernel} = other_vm:call(Vm, ?MODULE, readings, []),
    %% These need no descriptor of their own.
    ?assertMatch({ok, #{queued := 3}}, Depth),
    %% The monitor may be reading through the socket that is kept.
    case Counts of
        {ok, _} -> ?assertMatch({ok, #{queued := 3, queued_alive := 3}}, Counts);
        {error, _} -> ?assertEqual({error, {errno, emfile}}, Counts)
    end,
    [?assertEqual({error, {errno, emfile}}, Answer) || Answer <- [List, Kernel]],
    ?assertMatch({failing, _}, other_vm:call(Vm, accept_queue, health, [])),
    ok = other_vm:call(Vm, ?MODULE, empty, []),
    ?assertMatch(#{list := {ok, [#{queued := 3}]}, kernel := {ok, _}}, other_vm:call(Vm, ?MODULE, readings, [])),
    ok = other_vm:call(Vm, ?MODULE, accept, [3]),
    await(Vm, [{cleared, behind}, {cleared, stuck}]),
    quiet(Vm),
    lists:foreach(fun sockets:close/1, Waiting),
    other_vm:stop(Vm).

%% In the other VM.

listens() ->
    {ok, _} = application:ensure_all_started(sasl),
    ok = logger:set_primary_config(level, none),
    {ok, _} = application:ensure_all_started(accept_queue),
    L = sockets:listen(8),
    {ok, Handle} = accept_queue:open(L),
    ok = accept_queue:subscribe(),
    ok = accept_queue:watch(L, ?QUICK),
    put(listener, L),
    put(handle, Handle),
    sockets:address(L).

readings() ->
    #{
        depth => accept_queue:depth(get(listener)),
        counts => accept_queue:counts(get(handle)),
        list => accept_queue:list(),
        kernel => accept_queue:kernel()
    }.

fill() ->
    case file:open("/dev/null", [raw, read]) of
        {ok, File} ->
            put(files, [File | case get(files) of undefined -> []; Files -> Files end]),
            fill();
        {error, Reason} ->
            Reason
    end.

empty() ->
    lists:foreach(fun file:close/1, erase(files)).

accept(Count) ->
    [{ok, _} = gen_tcp:accept(get(listener), 60000) || _ <- lists:seq(1, Count)],
    ok.

%% The messages to the subscriber there, since this was last asked.
events() ->
    receive
        {accept_queue, Event, Condition, _} when Event =:= raised; Event =:= cleared -> [{Event, Condition} | events()]
    after 0 -> []
    end.

%% Helpers.

%% Two pools that work, of accept_queue_stalls_SUITE.
served(Vm) ->
    _ = other_vm:call(Vm, accept_queue_stalls_SUITE, serve, [2, ?QUICK]),
    ok = other_vm:call(Vm, accept_queue, subscribe, []),
    [Working, Stuck] = other_vm:call(Vm, accept_queue_stalls_SUITE, addresses, []),
    {Working, Stuck}.

%% The second of them blocks, and two more come.
stall(Vm, Stuck) ->
    ok = other_vm:call(Vm, accept_queue_stalls_SUITE, begins, [2, stuck, blocked, 0]),
    Blocking = sockets:clients(?POOL, Stuck),
    eventually:is(?POOL, fun() -> other_vm:call(Vm, accept_queue_stalls_SUITE, blocked, [2]) end),
    Waiting = sockets:clients(2, Stuck),
    await(Vm, [{raised, behind}, {raised, stuck}]),
    Blocking ++ Waiting.

%% How long it says that each had held.
ends(Vm, Conditions) ->
    Standing = [Ms || {_, Ms} <- other_vm:call(Vm, ?MODULE, held, [])],
    ok = other_vm:call(Vm, accept_queue_stalls_SUITE, ends, [2]),
    await(Vm, [{cleared, Condition} || Condition <- Conditions]),
    quiet(Vm),
    Standing.

held() ->
    [{Condition, Ms} || {{accept_queue, Condition, _}, #{held_ms := Ms}} <- alarm_handler:get_alarms()].

%% These, in whatever order, and nothing else.
await(Vm, Expected) ->
    put(events, []),
    eventually:is(lists:sort(Expected), fun() ->
        put(events, get(events) ++ other_vm:call(Vm, ?MODULE, events, [])),
        lists:sort(get(events))
    end).

%% Time enough for an event, and none comes.
quiet(Vm) ->
    eventually:passes(erlang:monotonic_time(millisecond) + ?LONG_ENOUGH_MS),
    ?assertEqual([], other_vm:call(Vm, ?MODULE, events, [])).

served_and_closed(Client) ->
    ?assertMatch({error, Why} when Why =:= closed; Why =:= econnreset, socket:recv(Client, 0, 10_000)),
    sockets:close(Client).

%% By a pool that works, maybe before this VM knows that it is connected.
served_at_once({Ip, Port}) ->
    {ok, Client} = socket:open(inet, stream, tcp),
    case socket:connect(Client, #{family => inet, addr => Ip, port => Port}, 10_000) of
        ok -> served_and_closed(Client);
        {error, econnreset} -> sockets:close(Client)
    end.

signal(Name, Pid) ->
    "" = os:cmd("kill -" ++ Name ++ " " ++ Pid).

is_stopped(Pid) ->
    {ok, Stat} = file:read_file("/proc/" ++ Pid ++ "/stat"),
    [_, <<State, _/binary>>] = binary:split(Stat, <<") ">>),
    State =:= $T.
