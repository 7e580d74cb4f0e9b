%% What is told, to whom and how often; and handlers that crash, hang, come late or are not there.
-module(accept_queue_event_SUITE).

-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

-define(ADDRESS, {{127, 0, 0, 1}, 8080}).
-define(DETAILS, #{address => ?ADDRESS, server => shop, queued => 31, limit => 30, held_ms => 5200, acceptors => none_waiting}).
-define(ID, {accept_queue, stuck, ?ADDRESS}).

all() ->
    [
        a_condition_is_told_under_four_roofs_once_each,
        an_alarm_is_set_as_soon_as_there_is_somebody_to_set_it,
        without_telemetry_and_alarms_nothing_is_missed,
        a_handler_that_crashes_or_hangs_holds_nobody_up_for_long,
        a_subscriber_that_ends_is_forgotten,
        samples_are_made_only_where_somebody_asked_for_them,
        a_process_that_is_killed_loses_and_doubles_no_alarm,
        alarms_are_cleared_with_the_application_and_set_again_with_it
    ].

init_per_testcase(_, Config) ->
    ok = application:set_env(accept_queue, watch, none),
    {ok, _} = application:ensure_all_started(accept_queue),
    ok = accept_queue:subscribe(),
    Config.

end_per_testcase(_, _Config) ->
    _ = [application:stop(Application) || Application <- [accept_queue, sasl]],
    _ = logger:remove_handler(?MODULE),
    _ = code:purge(telemetry),
    _ = code:delete(telemetry),
    ok = application:unset_env(accept_queue, watch).

a_condition_is_told_under_four_roofs_once_each(_) ->
    ok = application:start(sasl),
    telemetry_is(fun(Event, Measurements, Metadata) -> send({telemetry, Event, Measurements, Metadata}) end),
    ok = logger:add_handler(?MODULE, ?MODULE, #{level => all, config => self()}),
    register(?MODULE, self()),

    ok = accept_queue_event:raised(stuck, ?DETAILS),
    ?assertMatch({accept_queue, raised, stuck, #{queued := 31}}, next()),
    {log, error, Text} = next(),
    ?assertMatch({match, _}, re:run(Text, "127\\.0\\.0\\.1:8080 \\(shop\\) is stuck: .* 5\\.2 s\\. 31 of 30 queued")),
    ?assertMatch(
        {telemetry, [accept_queue, condition, raised], #{queued := 31, limit := 30, held_ms := 5200}, #{
            condition := stuck, address := ?ADDRESS, server := shop, acceptors := none_waiting
        }},
        next()
    ),
    eventually:is([{?ID, ?DETAILS}], fun alarm_handler:get_alarms/0),

    ok = accept_queue_event:cleared(stuck, ?DETAILS#{duration_ms => 9000}),
    ?assertMatch({accept_queue, cleared, stuck, #{duration_ms := 9000}}, next()),
    ?assertMatch({log, notice, _}, next()),
    ?assertMatch({telemetry, [accept_queue, condition, cleared], #{duration_ms := 9000}, _}, next()),
    eventually:is([], fun alarm_handler:get_alarms/0),
    ?assertEqual({messages, []}, process_info(self(), messages)).

an_alarm_is_set_as_soon_as_there_is_somebody_to_set_it(_) ->
    ok = accept_queue_event:raised(stuck, ?DETAILS),
    {accept_queue, raised, stuck, _} = next(),
    ok = application:start(sasl),
    ok = accept_queue_event:raised(behind, ?DETAILS),
    Alarms = [{?ID, ?DETAILS}, {setelement(2, ?ID, behind), ?DETAILS}],
    eventually:is(lists:sort(Alarms), fun() -> lists:sort(alarm_handler:get_alarms()) end).

without_telemetry_and_alarms_nothing_is_missed(_) ->
    ?assertEqual(undefined, whereis(alarm_handler)),
    ?assertNot(erlang:function_exported(telemetry, execute, 3)),
    ok = accept_queue_event:raised(stuck, ?DETAILS),
    ok = accept_queue_event:cleared(stuck, ?DETAILS#{duration_ms => 1}),
    ?assertMatch([{accept_queue, raised, stuck, _}, {accept_queue, cleared, stuck, _}], [next(), next()]).

a_handler_that_crashes_or_hangs_holds_nobody_up_for_long(_) ->
    [
        begin
            telemetry_is(Handler),
            Event = whereis(accept_queue_event),
            Conditions = [behind, stuck, leaking],
            _ = [accept_queue_event:raised(Condition, ?DETAILS) || Condition <- Conditions],
            ?assertEqual(Conditions, [element(3, next()) || _ <- Conditions]),
            ?assertEqual(Event, whereis(accept_queue_event))
        end
     || Handler <- [fun(_, _, _) -> error(crash) end, fun(_, _, _) -> receive never -> ok end end]
    ].

a_subscriber_that_ends_is_forgotten(_) ->
    {Pid, Monitor} = spawn_monitor(fun() -> ok = accept_queue:subscribe() end),
    receive
        {'DOWN', Monitor, process, Pid, normal} -> ok
    end,
    eventually:is([{{subscriber, self()}}], fun() -> ets:lookup(accept_queue_event, {subscriber, self()}) end),
    eventually:is([], fun() -> ets:lookup(accept_queue_event, {subscriber, Pid}) end),
    ok = accept_queue:unsubscribe(),
    ok = accept_queue_event:raised(stuck, ?DETAILS),
    ok = accept_queue:subscribe(),
    ?assertEqual({messages, []}, process_info(self(), messages), "the call came after the event").

samples_are_made_only_where_somebody_asked_for_them(_) ->
    ?assertNot(accept_queue_event:wants_samples()),
    register(?MODULE, self()),
    telemetry_is(fun(Event, Measurements, _) -> send({telemetry, Event, Measurements}) end),
    ?assert(accept_queue_event:wants_samples()),
    L = sockets:listen(5),
    ok = accept_queue:watch(L, #{interval_ms => 10, for_ms => 10}),
    {accept_queue, listener, added, _} = next(),
    eventually:is(true, fun() ->
        case next() of
            {telemetry, [accept_queue, sample], #{queued := 0, limit := 5, drops := 0}} -> true;
            {telemetry, [accept_queue, listener, added], _} -> false
        end
    end).

a_process_that_is_killed_loses_and_doubles_no_alarm(_) ->
    ok = application:start(sasl),
    ok = accept_queue_event:raised(stuck, ?DETAILS),
    eventually:is([{?ID, ?DETAILS}], fun alarm_handler:get_alarms/0),
    {accept_queue, raised, stuck, _} = next(),
    [kill(accept_queue_event) || _ <- lists:seq(1, 50)],
    ok = accept_queue_event:raised(behind, ?DETAILS),
    ?assertMatch({accept_queue, raised, behind, _}, next(), "subscribers are not lost either"),
    eventually:is(2, fun() -> length(alarm_handler:get_alarms()) end),
    ok = accept_queue_event:cleared(stuck, ?DETAILS#{duration_ms => 1}),
    eventually:is([{setelement(2, ?ID, behind), ?DETAILS}], fun alarm_handler:get_alarms/0).

alarms_are_cleared_with_the_application_and_set_again_with_it(_) ->
    ok = application:start(sasl),
    L = sockets:listen(5),
    Address = sockets:address(L),
    Settings = #{interval_ms => 20, max_wait_ms => 20, for_ms => 100},
    Standing = fun() -> [Id || {Id, _} <- alarm_handler:get_alarms()] end,
    _ = sockets:client(Address),
    ok = accept_queue:watch(L, Settings),
    eventually:is([{accept_queue, behind, Address}], Standing),
    ok = application:stop(accept_queue),
    eventually:is([], Standing),
    ok = application:start(accept_queue),
    ok = accept_queue:watch(L, Settings),
    eventually:is([{accept_queue, behind, Address}], Standing).

kill(Name) ->
    Pid = whereis(Name),
    exit(Pid, kill),
    eventually:is(true, fun() -> is_pid(whereis(Name)) andalso whereis(Name) =/= Pid end).

next() ->
    receive
        Message -> Message
    after 10000 -> error(nothing_was_told)
    end.

%% To the test, from whatever process a handler runs in.
send(Message) ->
    ?MODULE ! Message.

%% A handler of the logger.
log(#{level := Level, msg := {report, Report}, meta := #{domain := [accept_queue], report_cb := Say}}, #{config := Test}) ->
    {Format, Arguments} = Say(Report),
    _ = [Test ! {log, Level, lists:flatten(io_lib:format(Format, Arguments))} || Level =/= debug],
    ok;
log(_, _) ->
    ok.

%% Debian has no telemetry to test with: a module with the two functions that are used, and one handler.
telemetry_is(Handler) ->
    ok = persistent_term:put(?MODULE, Handler),
    Forms = [
        {attribute, 1, module, telemetry},
        {attribute, 1, export, [{execute, 3}, {list_handlers, 1}]}
        | [
            form(Text)
         || Text <- [
                "execute(E, M, D) -> (persistent_term:get(accept_queue_event_SUITE))(E, M, D).",
                "list_handlers(_) -> [handler]."
            ]
        ]
    ],
    {ok, telemetry, Binary} = compile:forms(Forms),
    {module, telemetry} = code:load_binary(telemetry, "telemetry.erl", Binary),
    ok.

form(Text) ->
    {ok, Tokens, _} = erl_scan:string(Text),
    {ok, Form} = erl_parse:parse_form(Tokens),
    Form.
