%% The sessions that the documentation of accept_queue shows, run again.
-module(accept_queue_examples_SUITE).

-export([all/0]).
-export([every_function_has_an_example/1, what_they_show_comes_again/1, what_does_not_come_again_is_reported/1]).

all() ->
    [every_function_has_an_example, what_they_show_comes_again, what_does_not_come_again_is_reported].

every_function_has_an_example(_Config) ->
    Documented = documented(),
    Exported = [Function || {Function, _} <- accept_queue:module_info(exports), Function =/= module_info],
    [] = [Function || Function <- lists:usort(Exported), not lists:keymember(Function, 1, Documented)].

what_they_show_comes_again(_Config) ->
    [] = [{Function, unicode:characters_to_list(Why)} || {Function, Session} <- documented(), {error, Why} <- [run(Session)]].

what_does_not_come_again_is_reported(_Config) ->
    [ok = run(Text) || Text <- [
        "1> A = 1.\n2> A + 1.\n2",
        "1> io:format(\"a b~n\").\na b\nok",
        "1> #{b => 2, a => [1, 2, 3]}.\n#{a => [1,...],b => 2}",
        "1> lists:seq(1,\n  3).\n[...2...]",
        "A = 1.\n%% And then:\nA = 1."
    ]],
    [{error, _} = run(Text) || Text <- [
        "1> 1 + 1.\n3",
        "1> io:format(\"a~n\").\nok",
        "1> lists:seq(1, 3).\n[...4...]",
        "1> {ok, _} = error.",
        "1> 1 +.",
        "A = 1.\nA = 2.",
        "A = 1"
    ]],
    ok.

run(Text) ->
    %% Nothing of the one before is watched.
    {ok, _} = application:ensure_all_started(accept_queue),
    eventually:is(ok, fun accept_queue:health/0),
    Session = shell_session:start(),
    try
        shell_session:run(Session, Text)
    after
        shell_session:stop(Session),
        ok = application:stop(accept_queue)
    end.

%% Each session, with the function that it documents; that of the module with `module'.
documented() ->
    Source = proplists:get_value(source, accept_queue:module_info(compile)),
    {ok, Bytes} = file:read_file(Source),
    Lines = string:split(unicode:characters_to_list(Bytes), "\n", all),
    sessions(Lines, []).

sessions([], _Found) ->
    [];
sessions(["%% ```" | Lines], Found) ->
    {Session, ["%% '''" | Rest]} = lists:splitwith(fun(Line) -> Line =/= "%% '''" end, Lines),
    Text = lists:flatten(lists:join("\n", [string:slice(Line, 3) || Line <- Session])),
    sessions(Rest, case re:run(Text, "^[0-9]+> ", [{capture, none}]) of
        match -> [Text | Found];
        nomatch -> Found
    end);
sessions(["-module" ++ _ | Lines], Found) ->
    [{module, Text} || Text <- Found] ++ sessions(Lines, []);
sessions(["-spec " ++ Spec | Lines], Found) ->
    {match, [Name]} = re:run(Spec, "^[a-z_]+", [{capture, first, list}]),
    [{list_to_existing_atom(Name), Text} || Text <- Found] ++ sessions(Lines, []);
sessions([_ | Lines], Found) ->
    sessions(Lines, Found).
