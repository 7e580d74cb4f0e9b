%% Events on their channels: real logger, real SASL, and handlers that crash, hang and die. The
%% test is the monitor here.
-module(accept_queue_event_SUITE).

-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

-define(CONDITION_EVENTS, [[accept_queue, condition, raised], [accept_queue, condition, cleared]]).
%% Longer than anything here takes, and than a handler that hangs is waited for.
-define(MESSAGE_MS, 60000).

all() ->
    [
        a_condition_is_published_once_on_each_channel,
        figures_are_measurements_and_the_rest_is_metadata,
        an_alarm_carries_the_pool_in_short,
        details_of_a_thousand_acceptors_are_below_two_thousand_words,
        details_of_owners_with_long_names_are_below_two_thousand_words,
        every_event_of_a_listener_has_tags,
        a_late_subscriber_gets_what_stands_once,
        levels_of_module_and_application_count,
        a_report_can_be_encoded_as_json,
        a_formatter_that_cuts_a_line_leaves_the_cause,
        a_listener_that_the_configuration_names_goes_with_a_warning,
        an_event_in_hand_when_its_process_is_killed_is_published_by_the_next,
        without_telemetry_and_sasl_the_other_channels_work,
        alarms_that_stand_are_set_when_sasl_starts_later,
        an_alarm_handler_that_has_no_handler_yet_gets_them_when_it_has,
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
            ?assertMatch(#{time := _}, Metadata),
            ?assertEqual(
                #{
                    address => address(1), listener => <<"127.0.0.1:1">>, server => web, name => <<"web">>, node => node(),
                    condition => stuck, acceptors => none_waiting
                },
                maps:remove(time, Metadata)
            )
    after ?MESSAGE_MS -> ct:fail(not_published)
    end.

an_alarm_carries_the_pool_in_short(_) ->
    ok = start_sasl(),
    {Acceptor, Details} = alarm_of_one_acceptor(8),
    ?assertMatch(
        #{
            waiting_count := 0, pool_count := 1, busy_count := 1, reasons := [{'receive', 1}],
            examples := [#{reason := 'receive', pid := Acceptor, current_function := {_, _, _}, text := <<"waits for a message", _/binary>>}]
        },
        maps:get(acceptors_summary, Details)
    ),
    ?assertMatch(#{acceptors := none_waiting}, Details).

%% What a very busy machine does not find out about the pool within 150 ms is left out of the event. So it is tried with other listeners.
alarm_of_one_acceptor(Tries) ->
    L = sockets:listen(5),
    Acceptor = spawn_link(fun() -> {ok, _} = gen_tcp:accept(L), receive stop -> ok end end),
    ok = looks:have_found(L, [Acceptor]),
    {_, Port} = Address = sockets:address(L),
    _Client = sockets:client(Address),
    eventually:is(0, fun() -> accept_queue_backend:waiting(L) end),
    eventually:is({status, waiting}, fun() -> process_info(Acceptor, status) end),
    ok = accept_queue_event:raised(stuck, (details(1))#{address := Address}),
    eventually:is(true, fun() -> lists:member({stuck, Port}, alarms()) end),
    [Details] = [Of || {{accept_queue, stuck, At}, Of} <- alarm_handler:get_alarms(), At =:= Address],
    eventually:ends(Acceptor, stop),
    gen_tcp:close(L),
    case Details of
        #{acceptors_summary := undefined} when Tries > 1 -> alarm_of_one_acceptor(Tries - 1);
        #{} -> {Acceptor, Details}
    end.

details_of_a_thousand_acceptors_are_below_two_thousand_words(_) ->
    ok = accept_queue:subscribe(),
    L = sockets:listen(5),
    Address = sockets:address(L),
    Acceptors = [spawn_link(fun() -> receive stop -> ok end end) || _ <- lists:seq(1, 1000)],
    %% As if they had been found in accept.
    ok = accept_queue_pool_cache:remember(looks:cookie(L), Acceptors),
    Summarised = fun() ->
        {ok, Pool} = accept_queue_acceptors:summary(Address),
        accept_queue_details:acceptors(Pool)
    end,
    %% Once all of them have got as far.
    eventually:is([{'receive', 1000}], fun() -> maps:get(reasons, Summarised()) end),
    Summary = Summarised(),
    ?assertMatch(#{waiting_count := 0, pool_count := 1000, busy_count := 1000, examples := [_]}, Summary),
    %% On a busy machine it may come without the summary.
    ok = accept_queue_event:raised(stuck, (details(1))#{address := Address}),
    Details = subscriber_got(raised, stuck),
    Words = erts_debug:flat_size(Details#{acceptors_summary => Summary}),
    ct:comment("~b words", [Words]),
    ?assert(Words < 2000, Words),
    [eventually:ends(Acceptor, stop) || Acceptor <- Acceptors],
    gen_tcp:close(L).

details_of_owners_with_long_names_are_below_two_thousand_words(_) ->
    ok = accept_queue:subscribe(),
    Long = lists:seq(1, 10000),
    ok = accept_queue_event:raised(behind, (details(1))#{server := {ranch, Long}}),
    #{name := Name, server := {label, Name}} = Details = subscriber_got(raised, behind),
    ?assertMatch(<<"{ranch,[1,2,", _/binary>>, Name),
    ?assert(string:length(Name) =< 100, Name),
    ?assert(erts_debug:flat_size(Details) < 2000),
    %% A large binary is few words, and each copy of the details would hold it.
    Label = binary:copy(<<"shop">>, 1000000),
    ok = accept_queue_event:cleared(behind, (details(1))#{server := {label, Label}, duration_ms => 1}),
    #{name := Short, server := {label, Short}} = Cleared = subscriber_got(cleared, behind),
    ?assert(byte_size(Short) =< 100, Short),
    ?assert(erlang:external_size(Cleared) < 4000).

every_event_of_a_listener_has_tags(_) ->
    Names = [[condition, raised], [condition, cleared], [listener, added], [listener, removed], [read, failed], [read, recovered], [sample]],
    ok = attach([[accept_queue | Name] || Name <- Names]),
    [every_event(N, web) || N <- [1]],
    [every_event(N, undefined) || N <- [2]],
    [
        receive
            {telemetry, [accept_queue | Name], _, #{address := {_, N}} = Metadata} ->
                Node = node(),
                Listener = <<"127.0.0.1:", (integer_to_binary(N))/binary>>,
                %% Where there is no owner, the address: a tag is always there.
                Called = maps:get(N, #{1 => <<"web">>, 2 => Listener}),
                ?assertMatch(#{listener := Listener, name := Called, node := Node}, Metadata)
        after ?MESSAGE_MS -> ct:fail(Name)
        end
     || Name <- Names, N <- [1, 2]
    ].

every_event(N, Server) ->
    Details = (details(N))#{server := Server},
    Metadata = maps:with([address, server], Details),
    ok = accept_queue_event:listener(added, Metadata),
    ok = accept_queue_event:raised(stuck, Details),
    ok = accept_queue_event:cleared(stuck, Details#{duration_ms => 9000, reason => recovered}),
    ok = accept_queue_event:read_failed(Metadata#{reason => {errno, emfile}}),
    ok = accept_queue_event:read_recovered(Metadata),
    ok = accept_queue_event:listener(removed, Metadata),
    ok = accept_queue_event:sample(#{queued => 1}, Metadata).

a_late_subscriber_gets_what_stands_once(_) ->
    Test = self(),
    ok = accept_queue:subscribe(),
    raised(stuck, 1),
    raised(behind, 2),
    raised(leaking, 3),
    cleared(leaking, 3),
    raised(overflowing, 4),
    [#{} = subscriber_got(raised, Condition) || Condition <- [stuck, behind, leaking, overflowing]],
    #{} = subscriber_got(cleared, leaking),
    Late = spawn_link(fun() ->
        ok = accept_queue:subscribe(),
        %% They are there when the call returns.
        Messages = received(),
        %% Twice is once.
        ok = accept_queue:subscribe(),
        Test ! {self(), Messages},
        receive {accept_queue, _, _, _} = Next -> Test ! {self(), Next} end,
        receive {accept_queue, _, _, _} = Cleared -> Test ! {self(), Cleared} end
    end),
    Standing = receive {Late, Messages} -> Messages after ?MESSAGE_MS -> ct:fail(not_published) end,
    ?assertEqual(
        [{behind, 2}, {overflowing, 4}, {stuck, 1}],
        lists:sort([{Condition, N} || {accept_queue, raised, Condition, #{standing := true, address := {_, N}}} <- Standing])
    ),
    raised(abandoned, 5),
    receive {Late, {accept_queue, raised, abandoned, New}} -> ?assertNot(is_map_key(standing, New)) after ?MESSAGE_MS -> ct:fail(late) end,
    cleared(stuck, 1),
    receive {Late, {accept_queue, cleared, stuck, _}} -> ok after ?MESSAGE_MS -> ct:fail(late) end,
    %% The one that was there has each once.
    #{} = subscriber_got(raised, abandoned),
    #{} = subscriber_got(cleared, stuck),
    receive {accept_queue, _, _, _} = Double -> ct:fail(Double) after 0 -> ok end.

received() ->
    receive Message -> [Message | received()] after 0 -> [] end.

levels_of_module_and_application_count(_) ->
    Levels = [
        {fun() -> logger:set_module_level(accept_queue_event, error) end, fun() -> logger:unset_module_level(accept_queue_event) end},
        {fun() -> logger:set_application_level(accept_queue, error) end, fun() -> logger:unset_application_level(accept_queue) end}
    ],
    [
        try
            ok = Set(),
            raised(behind, N),
            raised(stuck, N),
            {error, #{}} = logged({raised, stuck}),
            receive {logged, _, {raised, behind}, _, _} = Logged -> ct:fail(Logged) after 0 -> ok end
        after
            ok = Unset()
        end
     || {N, {Set, Unset}} <- lists:zip([1, 2], Levels)
    ],
    %% Below the primary level.
    ok = logger:set_primary_config(level, notice),
    ok = logger:set_application_level(accept_queue, debug),
    ok = accept_queue_event:listener(added, maps:with([address, server], details(1))),
    {debug, _} = logged({listener, added}),
    ok = logger:unset_application_level(accept_queue),
    raised(behind, 3),
    receive
        {logged, warning, {raised, behind}, _, Meta} ->
            ?assertMatch(#{mfa := {accept_queue_event, _, _}, application := accept_queue}, Meta)
    after ?MESSAGE_MS -> ct:fail(not_logged)
    end.

a_report_can_be_encoded_as_json(_) ->
    L = sockets:listen(5),
    Acceptor = spawn_link(fun() -> receive stop -> ok end end),
    ok = accept_queue_event:raised(overflowing, (details(1))#{
        address := sockets:address(L), server := {ranch, make_ref()}, socket => #{cookie => 7, fd => 21, queued => 0, limit => 30}
    }),
    {error, Overflowing} = logged({raised, overflowing}),
    ok = accept_queue_event:raised(leaking, (details(1))#{address := {local, <<255, 10, 0>>}, close_wait => 3}),
    {warning, Leaking} = logged({raised, leaking}),
    ok = accept_queue_event:read_failed(#{address => address(1), server => {shop, init, 1}, reason => {errno, emfile}}),
    {warning, Failed} = logged({read, failed}),
    ok = accept_queue_event:hung(#{duration_ms => 9, file => <<255>>, reason => undefined, finding => undefined, text => undefined}),
    {error, Hung} = logged({vm, hung}),
    Summary = accept_queue_details:acceptors(#{
        waiting_count => 0, pool => [Acceptor], busy => [#{pid => Acceptor, current_function => {'Elixir.Shop', pay, 1}, parked => {sleep, <<"sleeps">>}}], busy_count => 1
    }),
    Stuck = accept_queue_details:report({raised, stuck}, accept_queue_details:found((details(1))#{acceptors_summary => Summary})),
    ?assertMatch(#{event := <<"accept_queue.condition.raised">>, condition := stuck, listener := _, name := _}, Stuck),
    ?assertMatch(#{acceptors_summary := #{reasons := #{sleep := 1}, examples := [#{pid := <<"<", _/binary>>, current_function := <<"Shop.pay/1">>}]}}, Stuck),
    ?assertMatch(#{event := <<"accept_queue.read.failed">>, reason := <<"{errno,emfile}">>}, Failed),
    Reports = [Overflowing, Leaking, Failed, Hung, Stuck],
    [json(Report) || Report <- Reports],
    %% Since OTP 27.
    _ = [json:encode(Report) || {module, json} <- [code:ensure_loaded(json)], Report <- Reports],
    eventually:ends(Acceptor, stop),
    gen_tcp:close(L).

%% What JSON has; an error otherwise.
json(Value) when is_atom(Value); is_number(Value) -> ok;
json(Value) when is_binary(Value) -> [_ | _] = unicode:characters_to_list([Value, " "]), ok;
json(Value) when is_list(Value) -> lists:foreach(fun json/1, Value);
json(Value) when is_map(Value) -> maps:foreach(fun(Key, Of) when is_atom(Key) -> json(Of) end, Value).

a_formatter_that_cuts_a_line_leaves_the_cause(_) ->
    Busy = [#{pid => self(), current_function => {shop, pay, 2}, parked => {call, <<"waits for the answer to a call">>}}],
    Summary = accept_queue_details:acceptors(#{waiting_count => 0, pool => [self()], busy => Busy, busy_count => 1}),
    Report = accept_queue_details:report({raised, stuck}, accept_queue_details:found((details(1))#{acceptors_summary => Summary})),
    Event = #{level => error, msg => {report, Report}, meta => #{time => 0, report_cb => fun accept_queue_text:report/1}},
    Cut = unicode:characters_to_list(logger_formatter:format(Event, #{chars_limit => 230, depth => 5, single_line => true})),
    ?assertNotEqual(nomatch, string:find(Cut, "is stuck")),
    ?assertNotEqual(nomatch, string:find(Cut, "in shop:pay/2: waits for the answer to a call")),
    ?assertEqual(nomatch, string:find(Cut, "Try: ")).

a_listener_that_the_configuration_names_goes_with_a_warning(_) ->
    Metadata = #{address => address(1), server => web},
    ok = accept_queue_event:listener(removed, Metadata#{named => true}),
    {warning, #{named := true}} = logged({listener, removed}),
    ok = accept_queue_event:listener(removed, Metadata#{named => false}),
    {debug, _} = logged({listener, removed}),
    ok = accept_queue_event:listener(removed, Metadata),
    {debug, _} = logged({listener, removed}).

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
    Details = subscriber_got(raised, behind),
    ?assertEqual((details(1))#{acceptors_summary => undefined}, maps:with([acceptors_summary | maps:keys(details(1))], Details)),
    ?assertMatch({warning, #{event := <<"accept_queue.condition.raised">>, condition := behind}}, logged({raised, behind})),
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

%% SASL registers it, and then gives it its handler: what it is notified of in between it drops.
an_alarm_handler_that_has_no_handler_yet_gets_them_when_it_has(_) ->
    {ok, Manager} = gen_event:start({local, alarm_handler}),
    ok = accept_queue:subscribe(),
    raised(stuck, 1),
    #{} = subscriber_got(raised, stuck),
    ok = gen_event:add_handler(Manager, alarm_handler, []),
    eventually:is([{stuck, 1}], fun alarms/0),
    ok = gen_event:stop(Manager).

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
    raised(behind, 1),
    {ok, _} = supervisor:restart_child(accept_queue_sup, accept_queue_event),
    Events = events_until(behind),
    ?assertEqual([{subscriber, raised}, {subscriber, cleared}], [{R, W} || {subscriber = R, W, stuck} <- Events]),
    ?assertEqual([{telemetry, raised}, {telemetry, cleared}], [{R, W} || {telemetry = R, W, stuck} <- Events]),
    %% The alarm of what has ended by then is none.
    ?assertEqual([], [What || {alarm, What, stuck} <- Events]),
    ?assertEqual([{behind, 1}], alarms()).

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
            Published = receive {accept_queue, listener, So, Of} -> Of after ?MESSAGE_MS -> ct:fail(not_published) end,
            ?assertEqual(Metadata, maps:with([address, server], Published)),
            ?assertMatch({debug, #{listener := <<"127.0.0.1:1">>}}, logged({listener, So})),
            receive
                {telemetry, [accept_queue, listener, So], #{count := 1}, Published} -> ok
            after ?MESSAGE_MS -> ct:fail(not_published)
            end
        end
     || So <- [added, removed]
    ].

a_reading_that_fails_is_a_warning(_) ->
    ok = attach([[accept_queue, read, failed]]),
    ok = accept_queue_event:read_failed(#{address => address(1), server => web, reason => {errno, emfile}}),
    ?assertMatch({warning, #{reason := <<"{errno,emfile}">>}}, logged({read, failed})),
    receive
        {telemetry, [accept_queue, read, failed], #{count := 1}, #{reason := {errno, emfile}}} -> ok
    after ?MESSAGE_MS -> ct:fail(not_published)
    end.

a_telemetry_handler_that_crashes_is_detached_and_the_rest_goes_on(_) ->
    ok = attach(?CONDITION_EVENTS),
    ok = telemetry:attach(crash, [accept_queue, condition, raised], fun(_, _, _, _) -> error(crash) end, []),
    raised(stuck, 1),
    Before = events_until(stuck),
    raised(behind, 2),
    Events = Before ++ events_until(behind),
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

%% A handler of 3 ms, 600 events and a kill each 120 ms.
every_handler_has_every_event_once_while_the_process_that_runs_them_is_killed(_) ->
    ok = load_telemetry(),
    Test = self(),
    Handler = fun(Name) ->
        fun(_, #{late_ms := N}, _, _) ->
            receive after 3 -> ok end,
            Test ! {Name, N}
        end
    end,
    [ok = telemetry:attach(Name, [accept_queue, poll, late], Handler(Name), []) || Name <- [one, two]],
    Numbers = lists:seq(1, 600),
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
    ok = put_ranch(Silent),
    ok = accept_queue:subscribe(),
    %% On a busy machine one attempt of many is quick enough.
    ok = eventually:succeeds(fun() ->
        case beside_a_framework_that_does_not_answer(Silent) of
            #{subscribe_ms := Subscribe, raised_ms := Raised, cleared_ms := Cleared} when Subscribe < 100, Raised < 200, Cleared < 100 ->
                {ok, ok};
            Slow ->
                {error, Slow}
        end
    end),
    ok = forget_ranch(),
    eventually:ends(Silent, stop).

%% How long it takes until all of eight listeners that no process has asked for are published; and then, when they are not asked for again.
beside_a_framework_that_does_not_answer(Silent) ->
    Listeners = [sockets:listen(5) || _ <- lists:seq(1, 8)],
    Details = [(details(1))#{address := sockets:address(L)} || L <- Listeners],
    Owners = [owned_below(Silent, L) || L <- Listeners],
    BeganMs = erlang:monotonic_time(millisecond),
    [ok = accept_queue_event:raised(behind, Of) || Of <- Details],
    ok = accept_queue:subscribe(),
    SubscribedMs = erlang:monotonic_time(millisecond),
    Summaries = [maps:get(acceptors_summary, subscriber_got(raised, behind)) || _ <- Listeners],
    RaisedMs = erlang:monotonic_time(millisecond),
    ?assertEqual([undefined], lists:usort(Summaries)),
    [ok = accept_queue_event:cleared(behind, Of#{duration_ms => 9000}) || Of <- Details],
    [#{} = subscriber_got(cleared, behind) || _ <- Listeners],
    ClearedMs = erlang:monotonic_time(millisecond),
    [eventually:ends(Owner, stop) || Owner <- Owners],
    #{subscribe_ms => SubscribedMs - BeganMs, raised_ms => RaisedMs - BeganMs, cleared_ms => ClearedMs - RaisedMs}.

%% It is owned by a child of a supervisor of ranch's that does not answer.
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
        {logged, Level, {So, Condition}, _, _} when So =:= raised; So =:= cleared -> {logger, {Level, {So, Condition}}, Condition};
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
    receive {logged, Level, Event, Report, _Meta} -> {Level, Report} after ?MESSAGE_MS -> ct:fail({not_logged, Event}) end.

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
log(#{level := Level, msg := {report, #{event := <<"accept_queue.", Name/binary>>} = Report}, meta := Meta}, #{config := Config}) ->
    #{to := Test, hang_at := HangAt} = Config,
    #{report_cb := Text} = Meta,
    Event =
        case [binary_to_atom(Part) || Part <- binary:split(Name, <<".">>)] of
            [condition, So] -> {So, maps:get(condition, Report)};
            [Of, What] -> {Of, What}
        end,
    {Format, Arguments} = Text(Report),
    %% A line of text for each.
    [_ | _] = lists:flatten(io_lib:format(Format, Arguments)),
    _ = [hang(Test) || Event =:= HangAt],
    Test ! {logged, Level, Event, Report, Meta};
log(_, _) ->
    ok.

kill() ->
    eventually:is(true, fun() -> is_pid(whereis(accept_queue_event)) end),
    Pid = whereis(accept_queue_event),
    true = exit(Pid, kill),
    Pid.

is_running(Application) ->
    lists:keymember(Application, 1, application:which_applications()).
