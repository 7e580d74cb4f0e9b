%% Errors that help: what a person reads when an argument, or the environment, is wrong.
-module(accept_queue_errors_SUITE).

-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

-define(EVENT_MS, 60000).

all() ->
    [
        badarg_says_which_argument_and_what_is_allowed,
        the_shell_shows_the_call_and_the_argument,
        a_term_that_is_no_stack_of_ours_gets_no_text,
        a_live_listener_that_is_not_watched_says_so,
        an_error_of_the_environment_names_the_key,
        a_changed_environment_takes_effect,
        a_wrong_change_of_the_environment_changes_nothing,
        what_was_asked_for_outlives_a_change_and_ends_with_its_listener,
        another_source_reads_after_a_change,
        a_watchdog_comes_and_goes_with_its_key
    ].

init_per_suite(Config) ->
    {ok, Started} = application:ensure_all_started(accept_queue),
    [{started, Started} | Config].

end_per_suite(Config) ->
    [ok = application:stop(App) || App <- lists:reverse(proplists:get_value(started, Config))],
    ok.

end_per_testcase(_, _) ->
    change(fun() -> [application:unset_env(accept_queue, Key) || {Key, _} <- application:get_all_env(accept_queue)] end).

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
        {{holders, [L, #{limt => 1}]}, holders, 2, "limt is no option; there is limit"},
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

an_error_of_the_environment_names_the_key(_) ->
    [
        begin
            ok = application:set_env(accept_queue, Key, Value),
            {error, Sentence} = accept_queue_config:environment(),
            ?assertMatch({0, _}, {string:str(Sentence, atom_to_list(Key)) - 1, Sentence}),
            ok = application:unset_env(accept_queue, Key)
        end
     || {Key, Value} <- [
            {interval_ms, 0}, {stuck_ms, "5"}, {abandoned_ratio, 2}, {for_ms, 10}, {watch, often}, {watch, [{port, 0}]}, {source, ftp},
            {watchdog, true}, {watchdog, #{}}, {watchdog, #{keep => 0}}, {wacth, all}
        ]
    ],
    ok = application:set_env(accept_queue, wacth, all),
    {error, Sentence} = accept_queue_config:environment(),
    ?assertNotEqual(nomatch, string:find(Sentence, "source, stuck_ms, watch, watchdog")).

%% As a release upgrade does it: the process of all applications compares, and calls.
change(Change) ->
    Before = application_controller:prep_config_change(),
    _ = Change(),
    ok = application_controller:config_change(Before).

set(Pairs) ->
    change(fun() -> [ok = application:set_env(accept_queue, Key, Value) || {Key, Value} <- Pairs] end).

a_changed_environment_takes_effect(_) ->
    L = sockets:listen(5),
    Address = sockets:address(L),
    Watched = fun() -> lists:member(Address, accept_queue:watched()) end,
    eventually:is(true, Watched),
    set([{watch, none}]),
    ?assertNot(Watched()),
    %% An hour, so that only the next change can raise it in time.
    set([{watch, [Address]}, {for_ms, 3600000}, {stuck_ms, 3600000}, {interval_ms, 50}, {max_wait_ms, 20}]),
    eventually:is(true, Watched),
    ok = accept_queue:subscribe(),
    _Client = sockets:client(Address),
    set([{for_ms, 200}]),
    receive {accept_queue, raised, behind, #{address := Address}} -> ok after ?EVENT_MS -> ct:fail(not_raised) end,
    %% The condition ends with the watch, and begins again with the next one.
    set([{stuck_ms, 300}]),
    receive {accept_queue, cleared, behind, #{address := Address}} -> ok after ?EVENT_MS -> ct:fail(not_cleared) end,
    receive {accept_queue, raised, stuck, #{address := Address}} -> ok after ?EVENT_MS -> ct:fail(not_stuck) end,
    ok = accept_queue:unsubscribe(),
    ok = gen_tcp:close(L).

a_wrong_change_of_the_environment_changes_nothing(_) ->
    Before = children(),
    set([{interval_ms, 0}]),
    ?assertEqual(Before, children()),
    ?assertMatch({ok, _}, accept_queue:list()).

children() ->
    lists:sort([{Id, Pid} || {Id, Pid, _, _} <- supervisor:which_children(accept_queue_sup)]).

what_was_asked_for_outlives_a_change_and_ends_with_its_listener(_) ->
    [Asked, Never, Other] = Listeners = [sockets:listen(5) || _ <- [1, 2, 3]],
    [AskedAt, NeverAt, OtherAt] = lists:map(fun sockets:address/1, Listeners),
    set([{watch, none}]),
    ok = accept_queue:watch(Asked, #{stuck_ms => 2000}),
    ok = accept_queue:watch(Never),
    ok = accept_queue:unwatch(Never),
    set([{clear_ms, 1000}]),
    eventually:is([AskedAt], fun accept_queue:watched/0),
    set([{watch, all}]),
    eventually:is(true, fun() -> lists:member(OtherAt, accept_queue:watched()) end),
    ?assert(lists:member(AskedAt, accept_queue:watched())),
    ?assertNot(lists:member(NeverAt, accept_queue:watched())),
    ok = gen_tcp:close(Never),
    {_, Port} = NeverAt,
    eventually:is([], fun() -> ets:lookup(accept_queue_monitor, {asked, NeverAt}) end),
    Again = sockets:listen(5, [{port, Port}]),
    eventually:is(true, fun() -> lists:member(NeverAt, accept_queue:watched()) end),
    lists:foreach(fun gen_tcp:close/1, [Asked, Other, Again]).

another_source_reads_after_a_change(_) ->
    case {accept_queue_source:source(), accept_queue_port:program()} of
        {nif, Program} when Program =/= undefined ->
            L = sockets:listen(5),
            {ok, Client} = gen_tcp:connect({127, 0, 0, 1}, element(2, sockets:address(L)), []),
            {ok, Connection} = gen_tcp:accept(L),
            [
                begin
                    set([{source, Source}]),
                    ?assertEqual(Source, accept_queue_source:source()),
                    eventually:is({ok, 0}, fun() -> queued(accept_queue:depth(L)) end),
                    eventually:is(true, fun() -> lists:member(sockets:address(L), accept_queue:watched()) end),
                    ?assertMatch({ok, [_ | _]}, accept_queue:list()),
                    ?assertMatch({ok, #{peer_closed := false}}, accept_queue:accepted(L, Connection)),
                    ?assertMatch({ok, #{depth := #{queued := 0}}}, read_status(L)),
                    ?assertEqual(Source =:= port, is_pid(whereis(accept_queue_port)))
                end
             || Source <- [port, nif]
            ],
            lists:foreach(fun gen_tcp:close/1, [Client, L]);
        _ ->
            {skip, "it changes from the NIF to the program and back: one of them is not there, or is not the source"}
    end.

queued({ok, #{queued := Queued}}) -> {ok, Queued};
queued(Error) -> Error.

read_status(L) ->
    eventually:is(true, fun() -> element(1, accept_queue:status(L)) =:= ok end),
    accept_queue:status(L).

a_watchdog_comes_and_goes_with_its_key(Config) ->
    ?assertEqual(undefined, whereis(accept_queue_watchdog)),
    set([{watchdog, #{directory => proplists:get_value(priv_dir, Config)}}]),
    eventually:is(true, fun() -> is_pid(whereis(accept_queue_watchdog)) end),
    eventually:is(true, fun() -> has_option(<<"--keep", 0, "10">>) end),
    set([{watchdog, #{directory => proplists:get_value(priv_dir, Config), keep => 3}}]),
    %% Its command line has the new number.
    eventually:is(true, fun() -> has_option(<<"--keep", 0, "3">>) end),
    change(fun() -> application:unset_env(accept_queue, watchdog) end),
    ?assertEqual(undefined, whereis(accept_queue_watchdog)).

%% The program that runs now; it is started at most once a second.
has_option(Option) ->
    case accept_queue_port:os_pid() of
        undefined ->
            false;
        Pid ->
            %% It may have ended since.
            case file:read_file("/proc/" ++ integer_to_list(Pid) ++ "/cmdline") of
                {ok, CommandLine} -> binary:match(CommandLine, Option) =/= nomatch;
                {error, _} -> false
            end
    end.
