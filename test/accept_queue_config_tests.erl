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
                "close_wait_max, for_ms, interval_ms, max_wait_ms, stuck_ms"
            },
            {#{watchdog => #{}}, "watchdog is not supported by this release"},
            {[interval_ms], "interval_ms is no pair of an option and its value"},
            {#{for_ms => 50}, "for_ms is 50; allowed is interval_ms, 100, or more: one look sees nothing stand"},
            {often, "the options are often; allowed is a map or a list of pairs"},
            {
                #{interval_ms => 1000, for_ms => 100},
                "for_ms is 100; allowed is interval_ms, 1000, or more: one look sees nothing stand"
            }
        ]
    ].

what_is_right_is_taken_test() ->
    ?assertEqual({ok, #{}}, accept_queue_config:watch_options([])),
    ?assertEqual({ok, #{abandoned_ratio => 1.0}}, accept_queue_config:watch_options(#{abandoned_ratio => 1})),
    ?assertEqual({ok, #{stuck_ms => 2000}}, accept_queue_config:watch_options([{stuck_ms, 2000}])).

the_environment_is_completed_by_the_defaults_of_core_test_() ->
    Defaults = accept_queue_nif:default_settings(),
    Wrong = "watch is sometimes; allowed is all, none or a list of listeners",
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
