-module(accept_queue_table_tests).

-include_lib("eunit/include/eunit.hrl").

a_line_shows_the_figures_under_their_headings_test() ->
    ?assertEqual(
        [
            "address         queue  oldest ms  drops  accepting  server  verdict",
            "127.0.0.1:8080  6/30   1500       7      2          web     behind"
        ],
        lines([{listed(#{}), {ok, counts(#{})}}])
    ).

what_is_absent_is_a_dash_and_not_a_zero_test() ->
    [_, Line] = lines([{listed(#{drops => undefined, waiting_acceptors => undefined}), {ok, counts(#{oldest_wait_ms => undefined})}}]),
    ?assertEqual(["127.0.0.1:8080", "6/30", "-", "-", "-", "web", "ok"], string:lexemes(Line, " ")).

what_could_not_be_read_says_why_and_shows_no_figure_test_() ->
    [
        ?_assertEqual(["address         queue  oldest ms  drops  accepting  server  verdict", Line], lines([{listed(#{}), {error, Reason}}]))
     || {Reason, Line} <- [
            {closed, "127.0.0.1:8080  6/30   ?          7      2          web     unreadable: closed"},
            {eperm,
                "127.0.0.1:8080  6/30   ?          7      2          web     "
                "unreadable: no right to enter its network namespace (CAP_SYS_ADMIN)"}
        ]
    ].

%% When something is wrong is core's to decide (native/core/src/rules/verdict.rs).
the_verdict_is_in_words_test_() ->
    [
        {Verdict, ?_assert(lists:suffix("  " ++ Verdict, last_line(Listed, Counts)))}
     || {Verdict, Listed, Counts} <- [
            {"ok", #{}, #{oldest_wait_ms => 5}},
            {"full", #{queued => 31}, #{oldest_wait_ms => 5}},
            {"behind", #{}, #{}},
            {"nobody accepts", #{waiting_acceptors => 0}, #{}},
            {"full, nobody accepts, 31 of 31 have left", #{queued => 31, waiting_acceptors => 0}, #{queued_closed => 20, queued_reset => 11}},
            {"1001 held in CLOSE_WAIT", #{}, #{oldest_wait_ms => 5, close_wait => 1001}}
        ]
    ].

%% Depth and acceptors are each one's own; the rest is the group's.
of_a_group_the_member_in_trouble_stands_out_test() ->
    Group = counts(#{queued => 6, limit => 60, queued_closed => 6, sockets => 2}),
    ?assertMatch(
        [_, "127.0.0.1:8080  0/30 " ++ Well, "127.0.0.1:8080  6/30 " ++ Dead] when Well =/= Dead,
        lines([{listed(#{queued => 0}), {ok, Group}}, {listed(#{waiting_acceptors => 0}), {ok, Group}}])
    ),
    ?assert(lists:suffix("  ok", last_line(#{queued => 0}, Group))),
    ?assert(lists:suffix("  nobody accepts", last_line(#{waiting_acceptors => 0}, Group))).

columns_are_as_wide_as_their_widest_cell_test() ->
    Lines = lines([
        {listed(#{queued => 12345678}), {ok, counts(#{})}},
        {listed(#{address => {{8193, 3512, 0, 0, 0, 0, 0, 1}, 443}}), {ok, counts(#{})}}
    ]),
    ?assertMatch(
        ["address            queue        oldest" ++ _, "127.0.0.1:8080     12345678/30  1500" ++ _, "[2001:db8::1]:443  6/30         1500" ++ _],
        Lines
    ).

a_unix_name_stays_on_its_line_test_() ->
    [
        {Expected, ?_assert(lists:prefix(Expected ++ "  6/30", last_line(#{address => {local, Name}}, #{})))}
     || {Expected, Name} <- [
            {"/run/web socket", <<"/run/web socket">>},
            {"@web socket", <<0, "web socket">>},
            {"<<\"a\\nb\">>", <<"a\nb">>},
            {"<<\"a\377\">>", <<"a", 255>>}
        ]
    ].

servers_are_called_what_a_person_would_call_them_test_() ->
    Pid = self(),
    [
        {Expected, ?_assertEqual(Expected, lists:nth(6, string:lexemes(last_line(#{server => Server, owner => Owner}, #{}), " ")))}
     || {Expected, Server, Owner} <- [
            {"some_name", some_name, Pid},
            {"MyAppWeb.Endpoint.HTTP", {phoenix, 'Elixir.MyAppWeb.Endpoint.HTTP'}, Pid},
            {"some_label", {label, some_label}, Pid},
            {"some_application", {application, some_application}, Pid},
            {"MyApp.Listener:init/1", {'Elixir.MyApp.Listener', init, 1}, Pid},
            {"gen_server:init_it/6", {gen_server, init_it, 6}, Pid},
            %% No wider, so that the verdict stays in sight.
            {"supervisor:some_listener", {supervisor, some_listener_sup, 1}, Pid},
            {pid_to_list(Pid), undefined, Pid},
            {"-", undefined, undefined}
        ]
    ].

no_listener_is_a_sentence_test() ->
    ?assertEqual("No listener in this VM.\n", lists:flatten(accept_queue_table:text({ok, []}))).

an_error_is_a_sentence_and_not_an_empty_table_test() ->
    ?assertEqual(
        "The listeners could not be read: {errno,emfile}\n",
        lists:flatten(accept_queue_table:text({error, {errno, emfile}}))
    ).

last_line(Listener, Counts) ->
    lists:last(lines([{listed(Listener), {ok, counts(Counts)}}])).

lines(Readings) ->
    [string:trim(Line, trailing) || Line <- string:lexemes(lists:flatten(accept_queue_table:text({ok, Readings})), "\n")].

listed(Differing) ->
    maps:merge(
        #{
            address => {{127, 0, 0, 1}, 8080},
            owner => self(),
            server => web,
            queued => 6,
            limit => 30,
            drops => 7,
            waiting_acceptors => 2
        },
        Differing
    ).

counts(Differing) ->
    maps:merge(
        #{
            queued => 6,
            limit => 30,
            drops => 7,
            syn_recv => 4,
            queued_alive => 3,
            queued_closed => 2,
            queued_reset => 1,
            queued_bytes => 9,
            oldest_wait_ms => 1500,
            established => 5,
            close_wait => 8,
            sockets => 1
        },
        Differing
    ).
