%% What a readiness probe is answered: `ok' only where all is watched and read, and nothing is wrong.
-module(accept_queue_health_SUITE).

-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

%% The port program is stopped for so long: two requests time out.
-define(STOPPED_MS, 12000).

all() ->
    [
        a_listener_that_is_named_and_not_there_degrades,
        health_of_some_is_about_these_alone,
        all_but_some_are_watched,
        a_program_that_is_stopped_is_not_ok_until_it_goes_on,
        a_program_that_is_killed_leaves_nothing_unreadable,
        the_stuck_second_of_two_addresses_is_not_hidden
    ].

init_per_testcase(_, Config) ->
    _ = application:stop(accept_queue),
    _ = application:load(accept_queue),
    [{source, application:get_env(accept_queue, source)} | Config].

end_per_testcase(_, Config) ->
    _ = application:stop(accept_queue),
    ok = application:unset_env(accept_queue, watch),
    case proplists:get_value(source, Config) of
        {ok, Source} -> application:set_env(accept_queue, source, Source, [{persistent, true}]);
        undefined -> application:unset_env(accept_queue, source)
    end.

started(Environment) ->
    ok = application:set_env([{accept_queue, Environment}]),
    {ok, _} = application:ensure_all_started(accept_queue),
    ok.

a_listener_that_is_named_and_not_there_degrades(_) ->
    L = sockets:listen(5, [{port, sockets:lasting_port()}]),
    {Ip, Port} = Address = sockets:address(L),
    ok = started([{watch, [{port, Port}, {ranch, nowhere}]}]),
    ok = accept_queue:subscribe(),
    Nowhere = {not_listening, {ranch, nowhere}},
    Gone = {not_listening, {port, Port}},
    eventually:is({degraded, [Nowhere]}, fun accept_queue:health/0),
    eventually:is(ok, fun() -> accept_queue:health({port, Port}) end),
    ?assertEqual({degraded, [Nowhere]}, accept_queue:health({ranch, nowhere})),
    gen_tcp:close(L),
    eventually:is({degraded, [Gone, Nowhere]}, fun accept_queue:health/0),
    eventually:is({degraded, [Gone]}, fun() -> accept_queue:health({port, Port}) end),
    receive
        {accept_queue, listener, removed, #{address := Address} = Metadata} -> ?assertMatch(#{named := true}, Metadata)
    after 20000 -> ct:fail(not_removed)
    end,
    Again = sockets:listen(5, [{ip, Ip}, {port, Port}, {reuseaddr, true}]),
    eventually:is({degraded, [Nowhere]}, fun accept_queue:health/0),
    eventually:is(ok, fun() -> accept_queue:health([{Ip, Port}]) end),
    gen_tcp:close(Again).

health_of_some_is_about_these_alone(_) ->
    ok = started([]),
    Stuck = sockets:listen(5),
    Well = sockets:listen(5),
    {_, Port} = Address = sockets:address(Stuck),
    ok = accept_queue:watch(Stuck, #{stuck_ms => 300, for_ms => 200}),
    ok = accept_queue:watch(Well),
    _ = sockets:clients(2, Address),
    {ok, Handle} = accept_queue:open(Stuck),
    [
        eventually:is({failing, [{behind, Address}, {stuck, Address}]}, fun() -> accept_queue:health(Of) end)
     || Of <- [Stuck, {port, Port}, Address, Handle, [Well, Stuck]]
    ],
    [?assertEqual(ok, accept_queue:health(Of)) || Of <- [Well, sockets:address(Well), [Well, Well], []]],
    ok = accept_queue:unwatch(Well),
    [?assertEqual({degraded, [{not_watched, Of}]}, accept_queue:health(Of)) || Of <- [Well, sockets:address(Well)]],
    ?assertEqual({degraded, [{not_listening, {port, 1}}]}, accept_queue:health({port, 1})),
    gen_tcp:close(Well),
    ?assertEqual({degraded, [{not_listening, Well}]}, accept_queue:health(Well)),
    [?assertError(badarg, accept_queue:health(Wrong)) || Wrong <- [{port, 0}, nothing, [{port, Port}, nothing], {{1, 2, 3}, 80}]],
    ok = application:stop(accept_queue),
    ?assertEqual({degraded, [monitor_not_running]}, accept_queue:health({port, Port})),
    gen_tcp:close(Stuck).

all_but_some_are_watched(_) ->
    {_, Port} = Left = sockets:address(sockets:listen(5)),
    Watched = sockets:address(sockets:listen(5)),
    ok = started([{watch, {all_but, [{port, Port}]}}]),
    eventually:is(true, fun() -> lists:member(Watched, accept_queue:watched()) end),
    Later = sockets:address(sockets:listen(5)),
    eventually:is(true, fun() -> lists:member(Later, accept_queue:watched()) end),
    ?assertNot(lists:member(Left, accept_queue:watched())),
    ?assertEqual({degraded, [{not_watched, Left}]}, accept_queue:health(Left)),
    ?assertEqual(ok, accept_queue:health()),
    ok = accept_queue:watch(Left),
    ?assert(lists:member(Left, accept_queue:watched())),
    %% The next search leaves it where its caller wants it.
    Last = sockets:address(sockets:listen(5)),
    eventually:is(true, fun() -> lists:member(Last, accept_queue:watched()) end),
    ?assert(lists:member(Left, accept_queue:watched())).

a_program_that_is_stopped_is_not_ok_until_it_goes_on(_) ->
    L = sockets:listen(5),
    Address = sockets:address(L),
    ok = started([{source, port}]),
    ok = eventually:is(ok, fun() -> accept_queue:health(Address) end),
    Program = accept_queue_port:os_pid(),
    signal("STOP", Program),
    is_unreadable(Address),
    UntilMs = erlang:monotonic_time(millisecond) + ?STOPPED_MS,
    Answers = answers(UntilMs, Address, #{}),
    signal("CONT", Program),
    ?assertNot(is_map_key(ok, Answers), Answers),
    ok = eventually:is(ok, fun() -> accept_queue:health(Address) end),
    gen_tcp:close(L).

answers(UntilMs, Address, So) ->
    case erlang:monotonic_time(millisecond) of
        NowMs when NowMs < UntilMs ->
            timer:sleep(20),
            answers(UntilMs, Address, maps:update_with(accept_queue:health(Address), fun(N) -> N + 1 end, 1, So));
        _ ->
            So
    end.

a_program_that_is_killed_leaves_nothing_unreadable(_) ->
    L = sockets:listen(5),
    Address = sockets:address(L),
    ok = started([{source, port}]),
    ok = eventually:is(ok, fun() -> accept_queue:health(Address) end),
    signal("KILL", accept_queue_port:os_pid()),
    is_unreadable(Address),
    ok = eventually:is(ok, fun() -> accept_queue:health(Address) end),
    gen_tcp:close(L).

is_unreadable(Address) ->
    eventually:is(true, fun() ->
        case accept_queue:health(Address) of
            {degraded, Reasons} -> lists:keymember(Address, 2, [Reason || {unreadable, _, _} = Reason <- Reasons]);
            _ -> false
        end
    end).

signal(Name, Pid) ->
    "" = os:cmd("kill -" ++ Name ++ " " ++ integer_to_list(Pid)).

the_stuck_second_of_two_addresses_is_not_hidden(_) ->
    ok = started([]),
    One = sockets:listen(5),
    {_, Port} = sockets:address(One),
    Other = sockets:listen(5, [{ip, {127, 0, 0, 2}}, {port, Port}]),
    ok = accept_queue:watch({port, Port}, #{stuck_ms => 300, for_ms => 200}),
    _ = sockets:clients(2, {{127, 0, 0, 2}, Port}),
    eventually:is([behind, stuck], fun() -> {ok, #{conditions := Held}} = accept_queue:status({port, Port}), Held end),
    ?assertMatch({ok, #{depth := #{queued := 2, limit := 10}}}, accept_queue:status({port, Port})),
    ?assertMatch({failing, _}, accept_queue:health({port, Port})),
    [gen_tcp:close(L) || L <- [One, Other]].
