%% The sessions that the documentation of accept_queue shows, run again.
-module(accept_queue_examples_SUITE).

-export([all/0]).
-export([every_function_has_an_example/1, what_they_show_comes_again/1]).

all() ->
    [every_function_has_an_example, what_they_show_comes_again].

every_function_has_an_example(_Config) ->
    Documented = documented(),
    Exported = [Function || {Function, _} <- accept_queue:module_info(exports), Function =/= module_info],
    [] = [Function || Function <- lists:usort(Exported), not lists:keymember(Function, 1, Documented)].

what_they_show_comes_again(_Config) ->
    [] = [{Function, unicode:characters_to_list(Why)} || {Function, Session} <- documented(), {error, Why} <- [run(Session)]].

run(Text) ->
    %% Nothing of the one before is watched.
    {ok, _} = application:ensure_all_started(accept_queue),
    Session = shell_session:start(),
    try
        shell_session:run(Session, Text)
    after
        shell_session:stop(Session),
        ok = application:stop(accept_queue)
    end.

%% Each session, with the function before whose spec it stands; that of the module with `module'.
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
