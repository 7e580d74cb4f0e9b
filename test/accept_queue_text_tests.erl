%% The lines that a person on call reads, as a table: the event, and the whole of its line.
-module(accept_queue_text_tests).

-include_lib("eunit/include/eunit.hrl").

-define(HERE, #{address => {{0, 0, 0, 0}, 8080}, server => {ranch, http}}).

lines_test_() ->
    [{Line, ?_assertEqual(Line, said(Event, Details))} || {Event, Details, Line} <- lines()].

lines() ->
    [
        {
            {raised, stuck},
            ?HERE#{
                held_ms => 5249,
                queued => 31,
                limit => 30,
                drops => 207,
                oldest_wait_ms => 5300,
                queued_closed => 4,
                queued_reset => 2,
                acceptors => none_waiting,
                acceptors_summary => pool(0, [parked_in(ranch_conns_sup), parked_in(shop), parked_in(ranch_conns_sup)])
            },
            "accept queue of 0.0.0.0:8080 (ranch http) is stuck: connections wait, and none has been accepted for 5.2 s. "
            "0 of 3 in accept; 2 max_connections (<0.1.0> in ranch_conns_sup:wait/0: held up); 1 sleep (<0.1.0> in shop:wait/0: held up). "
            "31 queued (backlog 30), the oldest for 5300 ms, 6 have left, 207 dropped since it was opened. "
            "Try: accept_queue:acceptors(Listener) for what the pool does; free or restart its processes."
        },
        {
            {raised, overflowing},
            ?HERE#{held_ms => 0, queued => 5, limit => 4, drops => 3, dropped => 3, dropped_otherwise => 0, acceptors_summary => undefined},
            "accept queue of 0.0.0.0:8080 (ranch http) is overflowing: 3 packets of clients dropped. "
            "5 queued (backlog 4), 3 dropped since it was opened. "
            "Try: accept_queue:resize(Listener, 128) if it is bursts; more acceptors if it lasts."
        },
        {
            {raised, behind},
            ?HERE#{
                server => undefined,
                held_ms => 1000,
                queued => 7,
                limit => 128,
                drops => 9,
                dropped => 0,
                dropped_otherwise => 9,
                acceptors_summary => accept_queue_details:acceptors(#{waiting_count => 1, pool => undefined, busy => [], busy_count => 0})
            },
            "accept queue of 0.0.0.0:8080 is behind: the oldest connection has waited too long, for 1.0 s now. "
            "1 in accept; the rest of the pool is not known. "
            "7 queued (backlog 128), 9 dropped since it was opened, 9 dropped with room left: not for want of places. "
            "Try: more acceptors, or less work between accept and the next accept."
        },
        {
            {raised, stuck},
            ?HERE#{held_ms => 5000, queued => 2, limit => 30, drops => 0, queued_closed => undefined, queued_reset => undefined, acceptors => waiting, acceptors_summary => undefined},
            "accept queue of 0.0.0.0:8080 (ranch http) is stuck: connections wait, and none has been accepted for 5.0 s. "
            "2 queued (backlog 30), 0 dropped since it was opened. "
            "Processes are in accept and get nothing: a scheduler may be blocked in a native call, or no thread polls. "
            "Try: accept_queue:list(), and accept-queue diagnose from outside."
        },
        {
            {cleared, stuck},
            ?HERE#{duration_ms => 61200, queued => 0, limit => 30, drops => 207},
            "accept queue of 0.0.0.0:8080 (ranch http) is no longer stuck, after 61.2 s. "
            "0 queued (backlog 30), 207 dropped since it was opened."
        },
        {
            {cleared, stuck},
            ?HERE#{duration_ms => 61200, reason => closed},
            "accept queue of 0.0.0.0:8080 (ranch http) is no longer stuck, after 61.2 s: it was closed."
        },
        {
            {cleared, stuck},
            ?HERE#{
                duration_ms => 61200, reason => recovered, queued => 9, limit => 120, socket => #{cookie => 7, fd => 21, queued => 0, limit => 30}
            },
            "accept queue of 0.0.0.0:8080 (ranch http) is no longer stuck, after 61.2 s. "
            "9 queued (backlog 120), 0 (backlog 30) at the socket with descriptor 21."
        },
        {
            {listener, removed},
            ?HERE#{named => true},
            "accept queue of 0.0.0.0:8080 (ranch http) is watched no longer, and the configuration names it: nothing listens there now."
        },
        {
            {read, recovered},
            ?HERE,
            "accept queue of 0.0.0.0:8080 (ranch http) can be read again."
        },
        {
            {read, failed},
            ?HERE#{server => {shop, init, 1}, reason => eperm},
            "accept queue of 0.0.0.0:8080 (shop:init/1) cannot be read: eperm. It is tried again; this is logged once until it works."
        },
        {
            {listener, added},
            #{address => {local, <<"/run/a\n\e[2J">>}, server => shop},
            "accept queue of <<\"/run/a\\n\\e[2J\">> (shop) is watched."
        },
        {
            {poll, late},
            #{late_ms => 2500},
            "accept queues were read 2.5 s late: this VM was asleep, or its schedulers were busy."
        },
        {
            {vm, hung},
            #{duration_ms => 10234, file => <<"/e/a\n.json">>, reason => undefined, finding => no_heartbeat, text => <<"None.">>},
            "this VM hung for 10.2 s. Finding: None. (no_heartbeat) The evidence: /e/a?.json"
        },
        {
            {vm, hung},
            #{duration_ms => 6000, file => undefined, reason => <<"the disk is full">>, finding => undefined, text => undefined},
            "this VM hung for 6.0 s. There is no evidence: the disk is full"
        },
        {
            {handler, given_up},
            #{channel => telemetry, during => sample, waited_ms => 6000},
            "a handler of telemetry did not return from 'sample' of accept_queue within 6.0 s and was given up. "
            "Try: detach it, or let it hand its work to a process of its own. This is logged at most once an hour."
        }
    ].

advice_is_in_the_language_of_the_owner_test_() ->
    Owners = #{
        "AcceptQueue.acceptors(listener)" => [
            {'Elixir.Shop.Server', init, 1}, {label, {'Elixir.Shop.Server', 8080}}, {ranch, 'Elixir.Shop.Endpoint.HTTP'},
            {phoenix, 'Elixir.Shop.Endpoint.HTTP'}, {thousand_island, shop}, 'Elixir.Shop'
        ],
        "accept_queue:acceptors(Listener)" => [
            {shop, init, 1}, {label, <<"shop">>}, {label, "shop"}, {application, shop}, {ranch, http}, shop, undefined
        ]
    },
    [
        {Call, ?_assertNotEqual(nomatch, string:find(stuck(Owner), "in " ++ Function ++ ": held up). Try: " ++ Call))}
     || {Call, Servers} <- maps:to_list(Owners), Owner <- Servers, Function <- ["Shop.wait/0"]
    ].

names_are_tags_test_() ->
    Names = [
        {{label, <<"shop">>}, <<"shop">>}, {{label, "shop"}, <<"shop">>},
        {{label, {shop, 1}}, <<"{shop,1}">>}, {shop, <<"shop">>}, {{shop, init, 1}, <<"shop:init/1">>}
    ],
    [?_assertMatch(#{name := Name}, accept_queue_details:named(?HERE#{server => Server})) || {Server, Name} <- Names].

stuck(Owner) ->
    said({raised, stuck}, ?HERE#{server => Owner, held_ms => 5000, acceptors_summary => pool(0, [parked(call, 'Elixir.Shop')])}).

pool(Waiting, Busy) ->
    Pool = [a || _ <- Busy],
    accept_queue_details:acceptors(#{waiting_count => Waiting, pool => Pool, busy => Busy, busy_count => length(Busy)}).

parked_in(shop) -> parked(sleep, shop);
parked_in(Module) -> parked(max_connections, Module).

parked(Reason, Module) ->
    #{pid => list_to_pid("<0.1.0>"), current_function => {Module, wait, 0}, parked => {Reason, <<"held up">>}}.

said(Event, Details) ->
    #{text := Text} = Report = accept_queue_details:report(Event, accept_queue_details:found(Details)),
    {Format, Arguments} = accept_queue_text:report(Report),
    ?assertEqual(Text, unicode:characters_to_binary(io_lib:format(Format, Arguments))),
    unicode:characters_to_list(Text).
