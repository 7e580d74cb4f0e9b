%% Events on their channels: real logger, real SASL, and handlers that crash, hang and die. The
%% test is the monitor here.
-module(accept_queue_event_SUITE).

-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

-define(CONDITION_EVENTS, [[accept_queue, condition, raised], [accept_queue, condition, cleared]]).
%% Longer than anything here takes, and than a handler that hangs is waited for.
-define(MESSAGE_MS, 15000).

all() ->
    [
        a_condition_is_published_once_on_each_channel,
        figures_are_measurements_and_the_rest_is_metadata,
        an_alarm_carries_who_should_accept_but_not_their_stacks,
        an_event_in_hand_when_its_process_is_killed_is_published_by_the_next,
        without_telemetry_and_sasl_the_other_channels_work,
        alarms_that_stand_are_set_when_sasl_starts_later,
        an_alarm_handler_that_was_replaced_gets_the_raised_conditions,
        alarms_are_cleared_when_the_application_stops,
        what_the_monitor_found_is_an_alarm_until_the_application_stops_and_again_when_it_starts,
        alarms_are_cleared_and_set_again_when_the_process_is_restarted_in_order,
        an_alarm_that_may_or_may_not_have_been_set_is_there_once,
        killed_fifty_times_no_alarm_is_lost_or_doubled,
        what_was_found_while_no_process_published_is_published_afterwards,
        subscribers_survive_the_process,
        a_subscriber_that_has_died_is_forgotten,
        a_process_that_has_unsubscribed_gets_no_more_messages,
        listeners_are_published_to_subscribers_and_at_debug,
        a_reading_that_fails_is_a_warning,
        a_telemetry_handler_that_crashes_is_detached_and_the_rest_goes_on,
        a_telemetry_handler_that_hangs_holds_up_nothing_else,
        a_logger_handler_that_hangs_holds_up_nothing_else,
        every_handler_has_every_event_once_while_the_process_that_runs_them_is_killed,
        a_handler_that_is_killed_with_each_event_is_given_up_and_counted,
        what_a_framework_that_does_not_answer_knows_is_absent_and_nothing_waits_for_it,
        events_of_one_listener_keep_their_order,
        publishing_costs_the_same_beside_eight_hundred_raised_conditions,
        samples_wait_for_a_monitor_that_is_suspended_and_are_counted,
        samples_come_at_their_own_pace,
        samples_are_wanted_while_a_handler_is_attached,
        samples_that_find_no_place_are_counted_and_conditions_are_published_all_the_same
    ].

init_per_suite(Config) ->
    HadSasl = is_running(sasl),
    _ = application:stop(sasl),
    %% Only the events of the tests.
    ok = application:set_env(accept_queue, watch, none),
    [{had_sasl, HadSasl} | Config].

end_per_suite(Config) ->
    ok = application:unset_env(accept_queue, watch),
    _ = [ok = application:start(sasl) || proplists:get_value(had_sasl, Config)].

init_per_testcase(_, Config) ->
    {ok, _} = application:ensure_all_started(accept_queue),
    ok = logger:add_handler(?MODULE, ?MODULE, #{
        level => debug, filter_default => stop, filters => logged:filters(), config => #{to => self(), hang_at => none}
    }),
    #{level := Level} = logger:get_primary_config(),
    ok = logger:set_primary_config(level, debug),
    [{level, Level} | Config].

end_per_testcase(_, Config) ->
    ok = logger:set_primary_config(level, proplists:get_value(level, Config)),
    ok = logger:remove_handler(?MODULE),
    _ = application:stop(accept_queue),
    _ = application:stop(sasl),
    forget_telemetry().

a_condition_is_published_once_on_each_channel(_) ->
    ok = attach(?CONDITION_EVENTS),
    ok = start_sasl(),
    ok = accept_queue:subscribe(),
    [raised(stuck, 1) || _ <- [1, 2, 3]],
    eventually:is([{stuck, 1}], fun alarms/0),
    [cleared(stuck, 1) || _ <- [1, 2, 3]],
    %% An alarm that was cleared while it was being set is cleared by the next round, two seconds later.
    eventually:is([], fun alarms/0),
    %% Events of one listener keep their order: once each channel has this one, there is nothing more of the other to come.
    raised(behind, 1),
    Events = events_until(behind),
    Stuck = [{Channel, What} || {Channel, What, stuck} <- Events],
    ?assertEqual(
        [
            {alarm, clear_alarm}, {alarm, set_alarm},
            {logger, {error, {raised, stuck}}}, {logger, {notice, {cleared, stuck}}},
            {subscriber, cleared}, {subscriber, raised},
            {telemetry, cleared}, {telemetry, raised}
        ],
        lists:sort(Stuck)
    ).

figures_are_measurements_and_the_rest_is_metadata(_) ->
    ok = attach(?CONDITION_EVENTS),
    Details = (details(1))#{oldest_wait_ms => undefined, acceptors => none_waiting},
    ok = accept_queue_event:raised(stuck, Details),
    receive
        {telemetry, [accept_queue, condition, raised], Measurements, Metadata} ->
            ?assertEqual(#{queued => 6, limit => 5, drops => 7, held_ms => 5000, dropped => 3}, Measurements),
            ?assertEqual(
                #{address => address(1), server => web, condition => stuck, acceptors => none_waiting}, Metadata
            )
    after ?MESSAGE_MS -> ct:fail(not_published)
    end.

an_alarm_carries_who_should_accept_but_not_their_stacks(_) ->
    ok = accept_queue:subscribe(),
    L = sockets:listen(5),
    Acceptor = spawn_link(fun() -> {ok, _} = gen_tcp:accept(L), receive after infinity -> ok end end),
    eventually:is({ok, [Acceptor]}, fun() -> waiting(L) end),
    _Client = sockets:client(sockets:address(L)),
    eventually:is({ok, []}, fun() -> waiting(L) end),
    ok = accept_queue_event:raised(stuck, (details(1))#{address := sockets:address(L)}),
    #{acceptors_summary := Who, acceptors := none_waiting} = subscriber_got(raised, stuck),
    ?assertMatch(#{waiting_count := 0, pool := [Acceptor], busy := [#{pid := Acceptor, parked := _}]}, Who),
    ?assertNot(is_map_key(current_stacktrace, hd(maps:get(busy, Who)))),
    unlink(Acceptor),
    exit(Acceptor, kill).

waiting(L) ->
    {ok, #{waiting := Waiting}} = accept_queue:acceptors(L),
    {ok, Waiting}.

an_event_in_hand_when_its_process_is_killed_is_published_by_the_next(_) ->
    ok = accept_queue:subscribe(),
    Event = whereis(accept_queue_event),
    ok = sys:suspend(Event),
    raised(stuck, 1),
    exit(Event, kill),
    ?assertMatch(#{address := _}, subscriber_got(raised, stuck)),
    ?assertEqual(none, accept_queue_event_store:next_found(none)).

without_telemetry_and_sasl_the_other_channels_work(_) ->
    ?assertNot(erlang:function_exported(telemetry, execute, 3)),
    ok = accept_queue:subscribe(),
    raised(behind, 1),
    ?assertEqual((details(1))#{acceptors_summary => undefined}, subscriber_got(raised, behind)),
    ?assertMatch({warning, #{event := {raised, behind}}}, logged({raised, behind})),
    ?assertNot(accept_queue_event:wants_samples()).

alarms_that_stand_are_set_when_sasl_starts_later(_) ->
    raised(stuck, 1),
    raised(behind, 2),
    raised(leaking, 3),
    cleared(leaking, 3),
    ok = start_sasl(),
    eventually:is([{behind, 2}, {stuck, 1}], fun alarms/0),
    cleared(stuck, 1),
    eventually:is([{behind, 2}], fun alarms/0).

an_alarm_handler_that_was_replaced_gets_the_raised_conditions(_) ->
    ok = start_sasl(),
    raised(stuck, 1),
    eventually:is([{stuck, 1}], fun alarms/0),
    Killed = whereis(alarm_handler),
    exit(Killed, kill),
    eventually:is(true, fun() -> is_another_than(Killed, alarm_handler) end),
    eventually:is([{stuck, 1}], fun alarms/0).

alarms_are_cleared_when_the_application_stops(_) ->
    ok = start_sasl(),
    raised(stuck, 1),
    eventually:is([{stuck, 1}], fun alarms/0),
    ok = application:stop(accept_queue),
    ?assertEqual([], alarms()).

what_the_monitor_found_is_an_alarm_until_the_application_stops_and_again_when_it_starts(_) ->
    ok = start_sasl(),
    L = sockets:listen(5),
    {_, Port} = Address = sockets:address(L),
    Client = sockets:client(Address),
    [
        begin
            {ok, _} = application:ensure_all_started(accept_queue),
            ok = accept_queue:watch(L, #{interval_ms => 20, max_wait_ms => 20, for_ms => 100}),
            eventually:is([{behind, Port}], fun alarms/0),
            ok = application:stop(accept_queue),
            ?assertEqual([], alarms())
        end
     || _ <- [1, 2]
    ],
    sockets:close(Client),
    gen_tcp:close(L).

alarms_are_cleared_and_set_again_when_the_process_is_restarted_in_order(_) ->
    ok = start_sasl(),
    raised(stuck, 1),
    eventually:is([{stuck, 1}], fun alarms/0),
    ok = supervisor:terminate_child(accept_queue_sup, accept_queue_event),
    ?assertEqual([], alarms()),
    {ok, _} = supervisor:restart_child(accept_queue_sup, accept_queue_event),
    eventually:is([{stuck, 1}], fun alarms/0).

%% Killed after it has noted that it sets an alarm: before it set it, or after.
an_alarm_that_may_or_may_not_have_been_set_is_there_once(_) ->
    ok = start_sasl(),
    Handler = whereis(alarm_handler),
    raised(stuck, 1),
    raised(behind, 2),
    eventually:is([{behind, 2}, {stuck, 1}], fun alarms/0),
    ok = supervisor:terminate_child(accept_queue_sup, accept_queue_event),
    ok = accept_queue_event_store:alarm({stuck, address(1)}, Handler, setting),
    ok = accept_queue_event_store:alarm({behind, address(2)}, Handler, setting),
    ok = alarm_handler:set_alarm({{accept_queue, behind, address(2)}, details(2)}),
    {ok, _} = supervisor:restart_child(accept_queue_sup, accept_queue_event),
    eventually:is([{behind, 2}, {stuck, 1}], fun alarms/0).

killed_fifty_times_no_alarm_is_lost_or_doubled(_) ->
    ok = start_sasl(),
    ok = accept_queue:subscribe(),
    %% Of each three, one goes on.
    [
        begin
            raised(stuck, N),
            Killed = kill(),
            raised(stuck, N),
            raised(behind, N),
            cleared(behind, N),
            eventually:is(true, fun() -> is_another_than(Killed, accept_queue_event) end),
            N rem 3 > 0 andalso cleared(stuck, N)
        end
     || N <- lists:seq(1, 50)
    ],
    eventually:is([{stuck, N} || N <- lists:seq(3, 50, 3)], fun alarms/0),
    %% Whatever was said was said once.
    raised(leaking, 51),
    Messages = subscriber_messages_until(leaking),
    ?assertEqual([], Messages -- lists:usort(Messages)).

is_another_than(Killed, Name) ->
    Now = whereis(Name),
    is_pid(Now) andalso Now =/= Killed.

what_was_found_while_no_process_published_is_published_afterwards(_) ->
    ok = attach(?CONDITION_EVENTS),
    ok = start_sasl(),
    ok = accept_queue:subscribe(),
    ok = supervisor:terminate_child(accept_queue_sup, accept_queue_event),
    raised(stuck, 1),
    cleared(stuck, 1),
    raised(behind, 2),
    {ok, _} = supervisor:restart_child(accept_queue_sup, accept_queue_event),
    Events = events_until(behind),
    ?assertEqual([{subscriber, raised}, {subscriber, cleared}], [{R, W} || {subscriber = R, W, stuck} <- Events]),
    ?assertEqual([{telemetry, raised}, {telemetry, cleared}], [{R, W} || {telemetry = R, W, stuck} <- Events]),
    %% The alarm of what has ended by then is none.
    ?assertEqual([], [What || {alarm, What, stuck} <- Events]),
    ?assertEqual([{behind, 2}], alarms()).

subscribers_survive_the_process(_) ->
    ok = accept_queue:subscribe(),
    Killed = kill(),
    eventually:is(true, fun() -> is_another_than(Killed, accept_queue_event) end),
    raised(behind, 1),
    ?assertMatch(#{queued := 6}, subscriber_got(raised, behind)).

a_subscriber_that_has_died_is_forgotten(_) ->
    {Pid, Monitor} = spawn_monitor(fun accept_queue:subscribe/0),
    receive {'DOWN', Monitor, _, _, _} -> ok end,
    eventually:is([], fun accept_queue_event_store:subscribers/0),
    %% Also one that died while no process monitored it.
    ok = supervisor:terminate_child(accept_queue_sup, accept_queue_event),
    ok = accept_queue_event_store:subscribe(Pid),
    {ok, _} = supervisor:restart_child(accept_queue_sup, accept_queue_event),
    eventually:is([], fun accept_queue_event_store:subscribers/0).

a_process_that_has_unsubscribed_gets_no_more_messages(_) ->
    %% Twice is once.
    [ok = accept_queue:subscribe() || _ <- [1, 2]],
    raised(behind, 1),
    #{} = subscriber_got(raised, behind),
    ok = accept_queue:unsubscribe(),
    raised(stuck, 1),
    {error, _} = logged({raised, stuck}),
    Synchronised = sys:get_state(accept_queue_event),
    ?assert(is_tuple(Synchronised)),
    receive {accept_queue, _, _, _} = Message -> ct:fail(Message) after 0 -> ok end.

listeners_are_published_to_subscribers_and_at_debug(_) ->
    ok = attach([[accept_queue, listener, added], [accept_queue, listener, removed]]),
    ok = accept_queue:subscribe(),
    Metadata = #{address => address(1), server => web},
    [
        begin
            ok = accept_queue_event:listener(So, Metadata),
            receive {accept_queue, listener, So, Metadata} -> ok after ?MESSAGE_MS -> ct:fail(not_published) end,
            ?assertMatch({debug, #{address := _}}, logged({listener, So})),
            receive
                {telemetry, [accept_queue, listener, So], #{count := 1}, Metadata} -> ok
            after ?MESSAGE_MS -> ct:fail(not_published)
            end
        end
     || So <- [added, removed]
    ].

a_reading_that_fails_is_a_warning(_) ->
    ok = attach([[accept_queue, read, failed]]),
    ok = accept_queue_event:read_failed(#{address => address(1), server => web, reason => {errno, emfile}}),
    ?assertMatch({warning, #{reason := {errno, emfile}}}, logged({read, failed})),
    receive
        {telemetry, [accept_queue, read, failed], #{count := 1}, #{reason := {errno, emfile}}} -> ok
    after ?MESSAGE_MS -> ct:fail(not_published)
    end.

a_telemetry_handler_that_crashes_is_detached_and_the_rest_goes_on(_) ->
    ok = attach(?CONDITION_EVENTS),
    ok = telemetry:attach(crash, [accept_queue, condition, raised], fun(_, _, _, _) -> error(crash) end, []),
    raised(stuck, 1),
    raised(behind, 2),
    Events = events_until(behind),
    ?assertEqual([stuck, behind], [Condition || {telemetry, raised, Condition} <- Events]),
    ?assertNot(lists:any(fun(#{id := Id}) -> Id =:= crash end, telemetry:list_handlers([accept_queue]))).

a_telemetry_handler_that_hangs_holds_up_nothing_else(_) ->
    ok = attach(?CONDITION_EVENTS),
    ok = telemetry:attach(hang, [accept_queue, condition, raised], hanging_at(stuck), self()),
    ok = start_sasl(),
    ok = accept_queue:subscribe(),
    raised(stuck, 1),
    Hanging = receive {hangs, Pid} -> Pid after ?MESSAGE_MS -> ct:fail(not_published) end,
    raised(behind, 2),
    %% The other channels get it while it hangs.
    #{} = subscriber_got(raised, behind),
    {warning, _} = logged({raised, behind}),
    eventually:is([{behind, 2}, {stuck, 1}], fun alarms/0),
    ?assert(is_process_alive(Hanging)),
    %% Then it is given up, for that event alone, and that is said.
    ?assertMatch(#{condition := behind}, telemetry_got([accept_queue, condition, raised], behind)),
    ?assertMatch({warning, #{channel := telemetry, during := raised}}, logged({handler, given_up})),
    ?assertNot(is_process_alive(Hanging)).

a_logger_handler_that_hangs_holds_up_nothing_else(_) ->
    ok = attach(?CONDITION_EVENTS),
    ok = logger:update_handler_config(?MODULE, config, #{to => self(), hang_at => {raised, stuck}}),
    ok = accept_queue:subscribe(),
    raised(stuck, 1),
    Hanging = receive {hangs, Pid} -> Pid after ?MESSAGE_MS -> ct:fail(not_published) end,
    raised(behind, 2),
    #{} = subscriber_got(raised, behind),
    ?assertMatch(#{condition := behind}, telemetry_got([accept_queue, condition, raised], behind)),
    ?assert(is_process_alive(Hanging)),
    ?assertMatch({warning, _}, logged({raised, behind})),
    ?assertMatch({warning, #{channel := logger, during := raised}}, logged({handler, given_up})),
    ?assertNot(is_process_alive(Hanging)).

%% A handler of 10 ms, 200 events and a kill each 120 ms.
every_handler_has_every_event_once_while_the_process_that_runs_them_is_killed(_) ->
    ok = load_telemetry(),
    Test = self(),
    Handler = fun(Name) ->
        fun(_, #{late_ms := N}, _, _) ->
            receive after 10 -> ok end,
            Test ! {Name, N}
        end
    end,
    [ok = telemetry:attach(Name, [accept_queue, poll, late], Handler(Name), []) || Name <- [one, two]],
    Numbers = lists:seq(1, 200),
    [ok = accept_queue_event:late(#{late_ms => N}) || N <- Numbers],
    Killer = spawn_link(fun() -> kill_dispatchers(120) end),
    %% What was running when it was killed runs again, and so may come twice.
    [[receive {Name, N} -> ok after ?MESSAGE_MS -> ct:fail({Name, N}) end || N <- Numbers] || Name <- [one, two]],
    eventually:ends(Killer, stop),
    ?assertMatch(#{telemetry := 0}, accept_queue_event:lost_events()).

kill_dispatchers(PauseMs) ->
    receive
        stop -> ok
    after PauseMs ->
        _ = [exit(Pid, kill) || Pid <- dispatchers()],
        kill_dispatchers(PauseMs)
    end.

dispatchers() ->
    {links, Links} = process_info(whereis(accept_queue_event), links),
    [Pid || Pid <- Links, is_pid(Pid), {accept_queue_dispatcher, init, 1} =:= proc_lib:translate_initial_call(Pid)].

a_handler_that_is_killed_with_each_event_is_given_up_and_counted(_) ->
    ok = load_telemetry(),
    ok = telemetry:attach(kill, [accept_queue, condition, raised], fun(_, _, _, _) -> exit(self(), kill) end, []),
    ok = attach(?CONDITION_EVENTS),
    raised(behind, 1),
    ?assertMatch(#{condition := behind}, telemetry_got([accept_queue, condition, raised], behind)),
    eventually:is(1, fun() -> maps:get(telemetry, accept_queue_event:lost_events()) end).

%% The acceptors of a socket are asked for in a process of their own: here of a listener of ranch's whose supervisor does not answer.
what_a_framework_that_does_not_answer_knows_is_absent_and_nothing_waits_for_it(_) ->
    Silent = spawn_link(fun() -> receive stop -> ok end end),
    Listeners = [sockets:listen(5) || _ <- lists:seq(1, 8)],
    ok = stand_in_for_ranch(Silent, Listeners),
    ok = accept_queue:subscribe(),
    BeganMs = erlang:monotonic_time(millisecond),
    [ok = accept_queue_event:raised(behind, (details(1))#{address := sockets:address(L), sockets => [L]}) || L <- Listeners],
    ok = accept_queue:subscribe(),
    ?assert(erlang:monotonic_time(millisecond) - BeganMs < 100, "subscribe does not wait"),
    Published = [
        begin
            #{acceptors_summary := Summary} = subscriber_got(raised, behind),
            {Summary, erlang:monotonic_time(millisecond) - BeganMs}
        end
     || _ <- Listeners
    ],
    ?assertEqual([undefined], lists:usort([Summary || {Summary, _} <- Published])),
    ?assert(lists:max([Ms || {_, Ms} <- Published]) < 400, Published),
    %% Not asked again.
    AgainMs = erlang:monotonic_time(millisecond),
    [
        ok = accept_queue_event:cleared(behind, (details(1))#{address := sockets:address(L), sockets => [L], duration_ms => 9000})
     || L <- Listeners
    ],
    [#{} = subscriber_got(cleared, behind) || _ <- Listeners],
    ?assert(erlang:monotonic_time(millisecond) - AgainMs < 140),
    ok = forget_ranch(),
    eventually:ends(Silent, stop).

%% Each listener is owned by a child of a supervisor of ranch's that does not answer.
stand_in_for_ranch(Silent, Listeners) ->
    Owners = [owned_below(Silent, L) || L <- Listeners],
    true = length(Owners) =:= length(Listeners),
    put_ranch(Silent).

owned_below(Silent, L) ->
    Test = self(),
    Owner = spawn_link(fun() ->
        put('$ancestors', [Silent]),
        Test ! {self(), ready},
        receive stop -> ok end
    end),
    receive {Owner, ready} -> ok end,
    ok = gen_tcp:controlling_process(L, Owner),
    Owner.

put_ranch(Silent) ->
    persistent_term:put(?MODULE, [{silent, Silent}]),
    Call = {call, 1, {remote, 1, {atom, 1, persistent_term}, {atom, 1, get}}, [{atom, 1, ?MODULE}]},
    Function = {function, 1, get_listener_sups, 0, [{clause, 1, [], [], [Call]}]},
    {ok, ranch_server, Binary} = compile:forms([
        {attribute, 1, module, ranch_server}, {attribute, 1, export, [{get_listener_sups, 0}]}, Function
    ]),
    {module, ranch_server} = code:load_binary(ranch_server, "ranch_server.beam", Binary),
    ok.

forget_ranch() ->
    _ = persistent_term:erase(?MODULE),
    %% The real one may be the old code: it is deleted first, or the stand-in stays.
    _ = code:purge(ranch_server),
    true = code:delete(ranch_server),
    _ = code:purge(ranch_server),
    ok.

events_of_one_listener_keep_their_order(_) ->
    ok = accept_queue:subscribe(),
    [
        begin
            raised(behind, N),
            cleared(behind, N),
            ok = accept_queue_event:listener(removed, #{address => address(N), server => web})
        end
     || N <- lists:seq(1, 50)
    ],
    [
        ?assertEqual([raised, cleared, removed], [next_of(address(N)) || _ <- [1, 2, 3]])
     || N <- lists:seq(1, 50)
    ].

next_of(Address) ->
    receive
        {accept_queue, listener, So, #{address := Address}} -> So;
        {accept_queue, So, behind, #{address := Address}} -> So
    after ?MESSAGE_MS -> ct:fail({not_published, Address})
    end.

publishing_costs_the_same_beside_eight_hundred_raised_conditions(_) ->
    ok = start_sasl(),
    Alone = publishing_us(1),
    [raised(stuck, N) || N <- lists:seq(1001, 1800)],
    eventually:is(800, fun() -> length([stuck || {stuck, _} <- alarms()]) end),
    Beside = publishing_us(101),
    ct:comment("~b us alone, ~b us beside 800", [Alone, Beside]),
    ct:pal("publishing: ~b us alone, ~b us beside 800 conditions", [Alone, Beside]),
    ?assert(Beside < 3 * Alone + 300, {Alone, Beside}).

%% The median of the time until an event is with a subscriber and the event process is done with it.
publishing_us(From) ->
    ok = accept_queue:subscribe(),
    Times = [
        begin
            {Us, _} = timer:tc(fun() ->
                raised(behind, N),
                _ = subscriber_got(raised, behind),
                sys:get_state(accept_queue_event)
            end),
            Us
        end
     || N <- lists:seq(From, From + 40)
    ],
    ok = accept_queue:unsubscribe(),
    lists:nth(20, lists:sort(Times)).

samples_wait_for_a_monitor_that_is_suspended_and_are_counted(_) ->
    ok = attach([[accept_queue, sample]]),
    eventually:is(true, fun accept_queue_event:wants_samples/0),
    L = sockets:listen(5),
    ok = accept_queue:watch(L, #{interval_ms => 10, sample_ms => 10}),
    receive {telemetry, [accept_queue, sample], _, _} -> ok after ?MESSAGE_MS -> ct:fail(not_published) end,
    Before = accept_queue_event:dropped_samples(),
    Monitor = whereis(accept_queue_monitor),
    ok = sys:suspend(Monitor),
    eventually:passes(erlang:monotonic_time(millisecond) + 2000),
    {messages, Messages} = process_info(Monitor, messages),
    ?assertMatch([_], [Samples || {accept_queue_poller, {samples, Samples}} <- Messages]),
    ok = sys:resume(Monitor),
    eventually:is(true, fun() -> accept_queue_event:dropped_samples() - Before > 50 end),
    gen_tcp:close(L).

%% A reading is a sample once in `sample_ms', however often the queue is read.
samples_come_at_their_own_pace(_) ->
    ok = attach([[accept_queue, sample]]),
    eventually:is(true, fun accept_queue_event:wants_samples/0),
    L = sockets:listen(5),
    Address = sockets:address(L),
    ok = accept_queue:watch(L, #{interval_ms => 10, sample_ms => 1000, census_ms => 3600000}),
    [AtMs | _] = Times = [sampled(Address) || _ <- lists:seq(1, 4)],
    %% A sample may wait for its publisher, so only the whole time is bounded, and only from below.
    ?assert(lists:last(Times) - AtMs > 1500, Times),
    gen_tcp:close(L).

sampled(Address) ->
    receive
        {telemetry, [accept_queue, sample], #{queued := _}, #{address := Address}} -> erlang:monotonic_time(millisecond)
    after ?MESSAGE_MS -> ct:fail(not_published)
    end.

samples_are_wanted_while_a_handler_is_attached(_) ->
    ok = load_telemetry(),
    ?assertNot(accept_queue_event:wants_samples()),
    ok = attach([[accept_queue, sample]]),
    eventually:is(true, fun accept_queue_event:wants_samples/0),
    [ok = accept_queue_event:sample(#{queued => N, drops => undefined}, #{address => address(1)}) || N <- [1, 2, 3]],
    Samples = [
        receive {telemetry, [accept_queue, sample], Figures, #{address := _}} -> Figures after ?MESSAGE_MS -> ct:fail(N) end
     || N <- [1, 2, 3]
    ],
    %% What is not known is no figure.
    ?assertEqual([#{queued => 1}, #{queued => 2}, #{queued => 3}], Samples),
    ok = telemetry:detach([accept_queue, sample]),
    eventually:is(false, fun accept_queue_event:wants_samples/0).

samples_that_find_no_place_are_counted_and_conditions_are_published_all_the_same(_) ->
    ok = attach(?CONDITION_EVENTS),
    ok = telemetry:attach(hang, [accept_queue, sample], hanging_at(undefined), self()),
    Sample = fun() -> accept_queue_event:sample(#{queued => 1}, #{address => address(1)}) end,
    ok = Sample(),
    receive {hangs, _} -> ok after ?MESSAGE_MS -> ct:fail(not_published) end,
    Before = accept_queue_event:dropped_samples(),
    [ok = Sample() || _ <- lists:seq(1, 1500)],
    ?assertEqual(500, accept_queue_event:dropped_samples() - Before),
    raised(stuck, 1),
    %% It comes before the thousand samples that wait, once the first is given up.
    ?assertMatch(#{condition := stuck}, telemetry_got([accept_queue, condition, raised], stuck)).

%% As the monitor.

raised(Condition, N) ->
    ok = accept_queue_event:raised(Condition, details(N)).

cleared(Condition, N) ->
    ok = accept_queue_event:cleared(Condition, (details(N))#{duration_ms => 9000}).

details(N) ->
    #{address => address(N), server => web, queued => 6, limit => 5, drops => 7, held_ms => 5000, dropped => 3}.

address(N) -> {{127, 0, 0, 1}, N}.

%% Every event, as {Channel, What, Condition} in the order in which it came, until each channel that there is has published that
%% this condition is raised.

events_until(Condition) ->
    Channels = [subscriber || accept_queue_event_store:subscribers() =/= []] ++ [logger, telemetry] ++ [alarm || is_running(sasl)],
    events_until(Condition, Channels, []).

events_until(_Condition, [], Events) ->
    lists:reverse(Events);
events_until(Condition, Channels, Events) ->
    {Channel, What, Of} = next_event(),
    Left =
        case Of of
            Condition -> lists:delete(Channel, Channels);
            _ -> Channels
        end,
    events_until(Condition, Left, [{Channel, What, Of} | Events]).

next_event() ->
    receive
        {accept_queue, So, Condition, #{}} -> {subscriber, So, Condition};
        {telemetry, [accept_queue, condition, So], _, #{condition := Condition}} -> {telemetry, So, Condition};
        {logged, Level, #{event := {So, Condition}}} when So =:= raised; So =:= cleared ->
            {logger, {Level, {So, Condition}}, Condition};
        {alarm, So, {accept_queue, Condition, _}} -> {alarm, So, Condition}
    after ?MESSAGE_MS -> ct:fail(not_published)
    end.

subscriber_got(So, Condition) ->
    receive {accept_queue, So, Condition, Details} -> Details after ?MESSAGE_MS -> ct:fail({not_published, So, Condition}) end.

subscriber_messages_until(Condition) ->
    receive
        {accept_queue, raised, Condition, _} -> [];
        {accept_queue, _, _, _} = Message -> [Message | subscriber_messages_until(Condition)]
    after ?MESSAGE_MS -> ct:fail(not_published)
    end.

telemetry_got(Name, Condition) ->
    receive
        {telemetry, Name, _, #{condition := Condition} = Metadata} -> Metadata
    after ?MESSAGE_MS -> ct:fail({not_published, Name, Condition})
    end.

logged(Event) ->
    receive {logged, Level, #{event := Event} = Report} -> {Level, Report} after ?MESSAGE_MS -> ct:fail({not_logged, Event}) end.

%% The processes that get it.

attach(Names) ->
    ok = load_telemetry(),
    Test = self(),
    Handler = fun(Name, Measurements, Metadata, _) -> Test ! {telemetry, Name, Measurements, Metadata} end,
    lists:foreach(fun(Name) -> ok = telemetry:attach(Name, Name, Handler, []) end, Names).

hanging_at(Condition) ->
    fun(_, _, Metadata, Test) ->
        case maps:get(condition, Metadata, undefined) of
            Condition -> hang(Test);
            _ -> ok
        end
    end.

hang(Test) ->
    Test ! {hangs, self()},
    receive never -> ok end.

load_telemetry() ->
    File = repository:path("test/stand_ins/telemetry.erl"),
    {ok, telemetry, Binary} = compile:file(File, [binary]),
    {module, telemetry} = code:load_binary(telemetry, File, Binary),
    ok.

forget_telemetry() ->
    _ = persistent_term:erase({telemetry, handlers}),
    _ = code:delete(telemetry),
    _ = code:purge(telemetry),
    ok.

start_sasl() ->
    ok = application:start(sasl),
    gen_event:add_handler(alarm_handler, ?MODULE, self()).

%% As a handler of alarm_handler.
init(Test) -> {ok, Test}.
handle_event({set_alarm, {Name, _}}, Test) -> Test ! {alarm, set_alarm, Name}, {ok, Test};
handle_event({clear_alarm, Name}, Test) -> Test ! {alarm, clear_alarm, Name}, {ok, Test}.
handle_call(_, Test) -> {ok, ok, Test}.

alarms() ->
    lists:sort([{Condition, N} || {{accept_queue, Condition, {_, N}}, #{}} <- alarm_handler:get_alarms()]).

%% As a handler of logger.
log(#{level := Level, msg := {report, #{event := Event} = Report}, meta := #{report_cb := Text}}, #{config := Config}) ->
    #{to := Test, hang_at := HangAt} = Config,
    {Format, Arguments} = Text(Report),
    %% A line of text for each.
    [_ | _] = lists:flatten(io_lib:format(Format, Arguments)),
    _ = [hang(Test) || Event =:= HangAt],
    Test ! {logged, Level, Report};
log(_, _) ->
    ok.

kill() ->
    eventually:is(true, fun() -> is_pid(whereis(accept_queue_event)) end),
    Pid = whereis(accept_queue_event),
    true = exit(Pid, kill),
    Pid.

is_running(Application) ->
    lists:keymember(Application, 1, application:which_applications()).
