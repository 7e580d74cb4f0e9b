-module(accept_queue_table_tests).

-include_lib("eunit/include/eunit.hrl").

a_line_shows_the_figures_under_their_headings_test() ->
    ?assertEqual(
        [
            "address         queued  limit  alive  closed  reset  oldest ms  drops  syn_recv  established  close_wait  "
            "accepting  server",
            "127.0.0.1:8080  6       30     3      2       1      1500       7      4         5            8           "
            "2          web"
        ],
        lines([{listed(#{}), {ok, counts(#{})}}])
    ).

what_is_absent_is_a_dash_and_not_a_zero_test() ->
    [_, Line] = lines([{listed(#{}), {ok, counts(#{oldest_wait_ms => undefined, drops => undefined})}}]),
    ?assertEqual(
        ["127.0.0.1:8080", "6", "30", "3", "2", "1", "-", "-", "4", "5", "8", "2", "web"], string:lexemes(Line, " ")
    ).

what_could_not_be_read_says_so_and_shows_no_figure_test() ->
    [_, Line] = lines([{listed(#{}), {error, closed}}]),
    ?assertEqual(
        ["127.0.0.1:8080", "closed", "?", "?", "?", "?", "?", "?", "?", "?", "?", "2", "web"], string:lexemes(Line, " ")
    ).

columns_are_as_wide_as_their_widest_cell_test() ->
    Lines = lines([
        {listed(#{}), {ok, counts(#{queued => 12345678})}},
        {listed(#{address => {{8193, 3512, 0, 0, 0, 0, 0, 1}, 443}}), {ok, counts(#{})}}
    ]),
    ?assertMatch(
        ["address            queued    limit" ++ _, "127.0.0.1:8080     12345678  30" ++ _, "[2001:db8::1]:443  6         30" ++ _],
        Lines
    ).

servers_are_called_what_a_person_would_call_them_test_() ->
    Pid = self(),
    Shown = pid_to_list(Pid),
    [
        {Expected, ?_assert(lists:suffix("  " ++ Expected, last_line(#{server => Server, owner => Owner})))}
     || {Expected, Server, Owner} <- [
            {"some_name", some_name, Pid},
            {"gen_server:init_it/6 " ++ Shown, {gen_server, init_it, 6}, Pid},
            {Shown, undefined, Pid},
            {"gone", undefined, undefined}
        ]
    ].

no_listener_is_a_sentence_test() ->
    ?assertEqual("No TCP listener in this VM.\n", lists:flatten(accept_queue_table:text({ok, []}))).

an_error_is_a_sentence_and_not_an_empty_table_test() ->
    ?assertEqual(
        "The listeners could not be read: {errno,emfile}\n",
        lists:flatten(accept_queue_table:text({error, {errno, emfile}}))
    ).

last_line(Listener) ->
    lists:last(lines([{listed(Listener), {ok, counts(#{})}}])).

lines(Readings) ->
    [string:trim(Line, trailing) || Line <- string:lexemes(lists:flatten(accept_queue_table:text({ok, Readings})), "\n")].

listed(Differing) ->
    maps:merge(
        #{address => {{127, 0, 0, 1}, 8080}, owner => self(), server => web, waiting_acceptors => 2}, Differing
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
