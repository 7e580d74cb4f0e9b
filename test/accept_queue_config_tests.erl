-module(accept_queue_config_tests).

-include_lib("eunit/include/eunit.hrl").

what_is_wrong_is_said_in_a_sentence_test_() ->
    [
        {Sentence, ?_assertEqual({error, Sentence}, accept_queue_config:watch_options(Options))}
     || {Options, Sentence} <- [
            {#{interval_ms => 0}, "interval_ms is 0; allowed is an integer from 10 to 3600000"},
            {#{stuck_ms => soon}, "stuck_ms is soon; allowed is an integer from 1 to 3600000"},
            {[{abandoned_ratio, 2}], "abandoned_ratio is 2; allowed is a number above 0 and at most 1"},
            {
                #{intervall_ms => 100},
                "intervall_ms is no option; there are abandoned_min, abandoned_ratio, census_ms, clear_ms, "
                "close_wait_max, for_ms, interval_ms, max_wait_ms, sample_ms, stuck_ms"
            },
            {
                #{watchdog => #{}},
                "watchdog is no option; there are abandoned_min, abandoned_ratio, census_ms, clear_ms, "
                "close_wait_max, for_ms, interval_ms, max_wait_ms, sample_ms, stuck_ms"
            },
            {[interval_ms], "interval_ms is no pair of an option and its value"},
            {#{for_ms => 50}, "for_ms is 50; allowed is interval_ms, 100, or more: a condition needs two readings"},
            {often, "the options are often; allowed is a map or a list of pairs"},
            {
                #{interval_ms => 1000, for_ms => 100},
                "for_ms is 100; allowed is interval_ms, 1000, or more: a condition needs two readings"
            }
        ]
    ].

a_watcher_is_given_listeners_test_() ->
    Allowed = "allowed is a listen socket, a handle, {port, 8080}, {Ip, Port}, {local, Path} or {ranch, Ref}",
    {ok, Socket} = gen_tcp:listen(0, [{ip, {127, 0, 0, 1}}]),
    Listeners = [Socket, make_ref(), {sslsocket, Socket, x}, {port, 80}, {{0, 0, 0, 0}, 80}, {local, "/x"}, {ranch, shop}],
    [
        ?_assertEqual(ok, accept_queue_config:listeners(Listeners)),
        ?_assertEqual(ok, accept_queue_config:listeners([])),
        ?_assertEqual({error, "listeners is {port,80}; allowed is a list of listeners"}, accept_queue_config:listeners({port, 80})),
        ?_assertEqual({error, "listeners is [{port,80}|x]; allowed is a list of listeners"}, accept_queue_config:listeners([{port, 80} | x]))
        | [
            ?_assertEqual({error, lists:flatten(io_lib:format("listeners names ~tp; ", [Wrong])) ++ Allowed}, accept_queue_config:listeners([Socket, Wrong]))
         || Wrong <- [80, {port, 0}, {"localhost", 80}, shop, {}]
        ]
    ].

what_is_right_is_taken_test() ->
    ?assertEqual({ok, #{}}, accept_queue_config:watch_options([])),
    ?assertEqual({ok, #{abandoned_ratio => 1.0}}, accept_queue_config:watch_options(#{abandoned_ratio => 1})),
    ?assertEqual({ok, #{stuck_ms => 2000}}, accept_queue_config:watch_options([{stuck_ms, 2000}])).

the_environment_is_completed_by_the_defaults_of_core_test_() ->
    Defaults = accept_queue_nif:default_settings(),
    Wrong = "watch is sometimes; allowed is all, none, a list of listeners or {all_but, a list of listeners}",
    {foreach, fun() -> application:load(accept_queue) end,
        fun(_) -> [application:unset_env(accept_queue, Key) || Key <- [watch, source, stuck_ms, interval_ms]] end, [
            ?_assertEqual({ok, #{watch => all, options => Defaults}}, accept_queue_config:environment()),
            ?_test(begin
                application:set_env(accept_queue, watch, [{port, 8080}]),
                application:set_env(accept_queue, stuck_ms, 2000),
                ?assertEqual(
                    {ok, #{watch => [{port, 8080}], options => Defaults#{stuck_ms := 2000}}},
                    accept_queue_config:environment()
                )
            end),
            ?_test(begin
                application:set_env(accept_queue, watch, [{port, 8080}, {port, 0}]),
                Sentence = "watch names {port,0}; allowed is {port, 8080}, {Ip, Port}, {local, Path} or {ranch, Ref}",
                ?assertEqual({error, Sentence}, accept_queue_config:environment())
            end),
            ?_test(begin
                application:set_env(accept_queue, watch, {all_but, [{port, 0}]}),
                Sentence = "watch names {port,0}; allowed is {port, 8080}, {Ip, Port}, {local, Path} or {ranch, Ref}",
                ?assertEqual({error, Sentence}, accept_queue_config:environment()),
                application:set_env(accept_queue, watch, {all_but, [{ranch, shop}]}),
                ?assertEqual({ok, #{watch => {all_but, [{ranch, shop}]}, options => Defaults}}, accept_queue_config:environment())
            end),
            ?_test(begin
                application:set_env(accept_queue, source, ftp),
                Sentence = "source is ftp; allowed is nif or port",
                ?assertEqual({error, Sentence}, accept_queue_config:environment())
            end),
            ?_test(begin
                application:set_env(accept_queue, source, port),
                ?assertEqual({ok, #{watch => all, options => Defaults}}, accept_queue_config:environment())
            end),
            ?_test(begin
                application:set_env(accept_queue, interval_ms, 20),
                ?assertEqual({ok, #{for_ms => 50}}, accept_queue_config:watch_options(#{for_ms => 50}))
            end),
            ?_test(begin
                application:set_env(accept_queue, watch, sometimes),
                ?assertEqual({error, Wrong}, accept_queue_config:environment())
            end)
        ]}.

a_watchdog_is_completed_or_refused_in_a_sentence_test_() ->
    Missing = "watchdog: directory is missing; it names the folder in which evidence is kept",
    Folder = "watchdog: directory is ~s; allowed is the path of a folder",
    {foreach, fun() -> application:load(accept_queue) end, fun(_) -> application:unset_env(accept_queue, watchdog) end, [
        {Sentence, ?_test(begin
            application:set_env(accept_queue, watchdog, Watchdog),
            ?assertEqual({error, Sentence}, accept_queue_config:watchdog()),
            %% It stops the start as anything else that is wrong.
            ?assertEqual({error, Sentence}, accept_queue_config:environment())
        end)}
     || {Watchdog, Sentence} <- [
            {#{}, Missing},
            {on, "watchdog is on; allowed is a map or a list of pairs"},
            {[directory], "watchdog: directory is no pair of an option and its value"},
            {#{directory => ""}, io(Folder, ["[]"])},
            {#{directory => <<>>}, io(Folder, ["<<>>"])},
            {#{directory => "/var\0"}, io(Folder, ["[47,118,97,114,0]"])},
            {#{directory => 7}, io(Folder, ["7"])},
            {#{directory => "/x", heartbeat_ms => 9}, "watchdog: heartbeat_ms is 9; allowed is an integer from 10 to 3600000"},
            {#{directory => "/x", hang_after_ms => 500}, "watchdog: hang_after_ms is 500; allowed is an integer from 1000 to 3600000"},
            {#{directory => "/x", keep => 0}, "watchdog: keep is 0; allowed is an integer from 1 to 1000"},
            {#{directory => "/x", allow_ptrace => yes}, "watchdog: allow_ptrace is yes; allowed is true or false"},
            {
                #{directory => "/x", every_ms => 1000},
                "watchdog: every_ms is no option; there are directory, allow_ptrace, hang_after_ms, heartbeat_ms, keep"
            },
            {
                #{directory => "/x", heartbeat_ms => 2000},
                "watchdog: hang_after_ms is 5000; allowed is 3 times heartbeat_ms, 6000, or more: one that is late is no hang"
            }
        ]
    ] ++ [
        ?_test(begin
            application:set_env(accept_queue, watchdog, Watchdog),
            Usual = #{heartbeat_ms => 1000, hang_after_ms => 5000, keep => 10, allow_ptrace => false},
            ?assertEqual({ok, maps:merge(Usual, Expected)}, accept_queue_config:watchdog())
        end)
     || {Watchdog, Expected} <- [
            {#{directory => "/var/lib/shop"}, #{directory => "/var/lib/shop"}},
            {[{directory, <<"/x">>}, {keep, 1}, {allow_ptrace, true}], #{directory => <<"/x">>, keep => 1, allow_ptrace => true}},
            {#{directory => "here", hang_after_ms => 3000}, #{directory => filename:absname("here"), hang_after_ms => 3000}}
        ]
    ] ++ [?_assertEqual({ok, undefined}, accept_queue_config:watchdog())]}.

io(Format, Arguments) ->
    lists:flatten(io_lib:format(Format, Arguments)).
