%% Errors that help: what a person reads when an argument, or the environment, is wrong.
-module(accept_queue_errors_SUITE).

-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

all() ->
    [
        badarg_says_which_argument_and_what_is_allowed,
        the_shell_shows_the_call_and_the_argument,
        a_term_that_is_no_stack_of_ours_gets_no_text,
        a_live_listener_that_is_not_watched_says_so
    ].

init_per_suite(Config) ->
    {ok, Started} = application:ensure_all_started(accept_queue),
    [{started, Started} | Config].

end_per_suite(Config) ->
    [ok = application:stop(App) || App <- lists:reverse(proplists:get_value(started, Config))],
    ok.

badarg_says_which_argument_and_what_is_allowed(_) ->
    L = sockets:listen(5),
    Cat = open_port({spawn, "cat"}, []),
    Listener = [
        {Name, [Bad | More]}
     || Bad <- [listener, make_ref(), self(), Cat, {}, {local, 1}, {{1, 2, 3}, 80}],
        {Name, More} <- [
            {open, []}, {depth, []}, {counts, []}, {acceptors, []}, {holders, []}, {waits, []}, {advice, []}, {status, []},
            {watch, []}, {watch, [#{}]}, {unwatch, []}, {resize, [5]}, {holders, [#{limit => 1}]}
        ]
    ],
    [?assertMatch({_, #{1 := "no listener; allowed is " ++ _}}, said(Call), Call) || Call <- Listener],
    Said = [
        {{depth, [{port, 65536}]}, depth, 1, "the port number is not from 1 to 65535"},
        {{depth, [{{127, 0, 0, 1}, 0}]}, depth, 1, "the port number is not from 1 to 65535"},
        {{resize, [L, -1]}, resize, 2, "allowed is an integer from 0 to 2147483647"},
        {{holders, [L, #{limit => 0}]}, holders, 2, "allowed is #{limit => Count}"},
        {{wait_ms, [listener]}, wait_ms, 1, "allowed is an accepted socket"},
        {{peer_closed, [Cat]}, peer_closed, 1, "allowed is an accepted socket"},
        {{accepted, [L, connection]}, accepted, 2, "allowed is an accepted socket"},
        {{accepted, [listener, L]}, accepted, 1, "no listener"},
        {{accepted, [listener, connection]}, accepted, 2, "allowed is an accepted socket"},
        {{cluster, [halt]}, cluster, 1, "the name of a function that reads"},
        {{cluster, [list, infinity]}, cluster, 2, "in milliseconds"},
        {{watch, [L, #{stuck_ms => soon}]}, watch, 2, "stuck_ms is soon; allowed is an integer from 1 to 3600000"},
        {{watch, [L, [{stuck, 1}]]}, watch, 2, "stuck is no option; there are "}
    ],
    [
        begin
            {Name, Texts} = said(Call),
            ?assertMatch(#{Place := _}, Texts, Call),
            ?assertNotEqual(nomatch, string:find(maps:get(Place, Texts), Words), {Call, Texts})
        end
     || {Call, Name, Place, Words} <- Said
    ],
    true = port_close(Cat),
    ok = gen_tcp:close(L).

%% The function in the stack, and what its error_info says.
said({Function, Arguments}) ->
    try apply(accept_queue, Function, Arguments) of
        Answer -> ct:fail({no_badarg, Function, Arguments, Answer})
    catch
        error:badarg:Stack ->
            [{accept_queue, Name, _, Info} | _] = Stack,
            #{module := Module} = proplists:get_value(error_info, Info),
            Texts = Module:format_error(badarg, Stack),
            {Name, maps:map(fun(_, Text) -> unicode:characters_to_list(Text) end, Texts)}
    end.

the_shell_shows_the_call_and_the_argument(_) ->
    Text =
        try accept_queue:depth({port, 0}) of
            _ -> ""
        catch
            Class:Reason:Stack -> unicode:characters_to_list(erl_error:format_exception(Class, Reason, Stack))
        end,
    [
        ?assertNotEqual(nomatch, string:find(Text, Words), Text)
     || Words <- ["accept_queue:depth({port,0})", "argument 1: no listener: the port number is not from 1 to 65535"]
    ].

a_term_that_is_no_stack_of_ours_gets_no_text(_) ->
    [
        ?assertEqual(#{}, accept_queue_errors:format_error(Reason, Stack))
     || {Reason, Stack} <- [{badarg, []}, {badarg, [{lists, map, [1], []}]}, {badarg, [{accept_queue, depth, 1, []}]}, {function_clause, []}]
    ].

a_live_listener_that_is_not_watched_says_so(_) ->
    L = sockets:listen(5),
    {_, Port} = Address = sockets:address(L),
    ok = accept_queue:watch(L),
    Spellings = [L, Address, {port, Port}],
    [?assertMatch({ok, #{conditions := []}}, accept_queue:status(Spelling)) || Spelling <- Spellings],
    ok = accept_queue:unwatch(L),
    [?assertEqual({error, not_watched}, accept_queue:status(Spelling)) || Spelling <- Spellings],
    ok = gen_tcp:close(L),
    [?assertEqual({error, not_found}, accept_queue:status(Spelling)) || Spelling <- Spellings -- [L]].
