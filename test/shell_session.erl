%% Erlang as documentation shows it, run again: a session with prompts, where what was printed and answered has to come again,
%% or expressions without.
%%
%%     1> lists:seq(1, 3).
%%     [1,2,3]
%%
%% What is shown is compared without regard to white space; `...' means anything. Keys of maps are in their order.
-module(shell_session).

-export([start/0, stop/1, run/2, run_elixir/2]).

-define(PATIENCE_MS, 120000).

%% A process that remembers its variables, and owns what the expressions open.
start() ->
    spawn(fun() -> remembers([], []) end).

stop(Session) ->
    exit(Session, kill).

-spec run(pid(), string()) -> ok | {error, iolist()}.
run(Session, Text) ->
    ask(Session, {erlang, Text}).

-spec run_elixir(pid(), string()) -> ok | {error, iolist()}.
run_elixir(Session, Text) ->
    ask(Session, {elixir, Text}).

ask(Session, What) ->
    Monitor = monitor(process, Session),
    Session ! {self(), Monitor, What},
    receive
        {Monitor, Answer} ->
            demonitor(Monitor, [flush]),
            Answer;
        {'DOWN', Monitor, _, _, Reason} ->
            {error, io_lib:format("the session has ended: ~tp", [Reason])}
    after ?PATIENCE_MS ->
        demonitor(Monitor, [flush]),
        {error, io_lib:format("no answer within ~b ms", [?PATIENCE_MS])}
    end.

remembers(Erlang, Elixir) ->
    receive
        {From, Ref, {erlang, Text}} ->
            {Answer, Variables} = steps(expressions(Text), Erlang),
            From ! {Ref, Answer},
            remembers(Variables, Elixir);
        {From, Ref, {elixir, Text}} ->
            {Answer, Variables} =
                try 'Elixir.Code':eval_string(unicode:characters_to_binary(Text), Elixir) of
                    {_, After} -> {ok, After}
                catch
                    Class:Reason:Stack -> {{error, io_lib:format("~tp: ~tp~n~tp", [Class, Reason, Stack])}, Elixir}
                end,
            From ! {Ref, Answer},
            remembers(Erlang, Variables);
        %% Of the expressions; it is theirs to receive it.
        {'EXIT', _, _} ->
            remembers(Erlang, Elixir)
    end.

steps([], Variables) ->
    {ok, Variables};
steps([{Expression, Shown} | Rest], Variables) ->
    try
        {ok, Tokens, _} = erl_scan:string(Expression),
        {ok, Parsed} = erl_parse:parse_exprs(Tokens),
        {{value, Value, After}, Printed} = printed(fun() -> erl_eval:exprs(Parsed, Variables) end),
        {as_shown([Printed, shown(Value)], Shown), After}
    of
        {true, New} -> steps(Rest, New);
        {{false, Said}, _} -> {{error, ["> ", Expression, "\nsays\n", Said, "\nand not\n", Shown]}, Variables}
    catch
        Class:Reason:Stack ->
            {{error, io_lib:format("> ~ts~n~tp: ~tp~n~tp", [Expression, Class, Reason, Stack])}, Variables}
    end.

%% From OTP 26 on the keys of a small map have no order but on demand.
shown(Value) ->
    Format = case list_to_integer(erlang:system_info(otp_release)) >= 26 of
        true -> "~kp";
        false -> "~p"
    end,
    io_lib:format(Format, [Value]).

as_shown(_Said, none) ->
    true;
as_shown(Said, Shown) ->
    [First | Parts] = string:split(dense(Shown), "...", all),
    case string:prefix(dense(Said), First) of
        nomatch -> {false, Said};
        Rest -> follow(Rest, Parts) orelse {false, Said}
    end.

follow(Rest, []) -> Rest =:= [];
follow(Rest, [Last]) -> string:prefix(lists:reverse(Rest), lists:reverse(Last)) =/= nomatch;
follow(Rest, [[] | Parts]) -> follow(Rest, Parts);
follow(Rest, [Part | Parts]) ->
    case string:split(Rest, Part) of
        [_, Behind] -> follow(Behind, Parts);
        [_] -> false
    end.

dense(Text) ->
    [Char || Char <- unicode:characters_to_list(Text), not lists:member(Char, " \t\n")].

%% Each with what is shown below it, `none' where there are no prompts.
expressions(Text) ->
    Lines = string:split(Text, "\n", all),
    case lists:any(fun(Line) -> prompted(Line) =/= nomatch end, Lines) of
        true -> behind_prompts(Lines);
        false -> [{Expression, none} || Expression <- apart(Text ++ "\n")]
    end.

prompted(Line) ->
    case re:run(Line, "^ *(\\([^)]*\\))?[0-9]+> (.*)$", [unicode, {capture, [2], list}]) of
        {match, [Expression]} -> Expression;
        nomatch -> nomatch
    end.

behind_prompts([]) ->
    [];
behind_prompts([Line | Lines]) ->
    case prompted(Line) of
        nomatch ->
            behind_prompts(Lines);
        Begin ->
            {Answered, Rest} = lists:splitwith(fun(Other) -> prompted(Other) =:= nomatch end, Lines),
            {Expression, Shown} = whole(Begin, Answered),
            [{Expression, none_where_empty(Shown)} | behind_prompts(Rest)]
    end.

whole(Begin, Lines) ->
    case {erl_scan:tokens([], Begin ++ "\n", 1), Lines} of
        {{more, _}, [Line | Rest]} -> whole(Begin ++ "\n" ++ Line, Rest);
        {_, _} -> {Begin, lists:flatten(lists:join("\n", Lines))}
    end.

none_where_empty(Shown) ->
    case dense(Shown) of
        [] -> none;
        _ -> Shown
    end.

apart(Text) ->
    case erl_scan:tokens([], Text, 1) of
        {done, {ok, _, _}, Rest} ->
            Length = string:length(Text) - string:length(Rest),
            [string:slice(Text, 0, Length) | apart(Rest)];
        {done, {eof, _}, _} ->
            [];
        {more, _} ->
            case string:trim(strip_comments(Text)) of
                "" -> [];
                Unfinished -> error({no_full_stop_behind, Unfinished})
            end
    end.

strip_comments(Text) ->
    re:replace(Text, "%.*", "", [global, unicode, {return, list}]).

%% What is printed meanwhile, by this process and those that it starts.
printed(Do) ->
    Leader = group_leader(),
    Printer = spawn_link(fun() -> prints(Leader, []) end),
    group_leader(Printer, self()),
    try Do() of
        Answer ->
            Printer ! {self(), printed},
            receive
                {Printer, Printed} -> {Answer, Printed}
            end
    after
        group_leader(Leader, self())
    end.

prints(Leader, Printed) ->
    receive
        {io_request, From, Ref, {put_chars, _, Chars}} ->
            From ! {io_reply, Ref, ok},
            prints(Leader, [Printed, Chars]);
        {io_request, From, Ref, {put_chars, _, Module, Function, Arguments}} ->
            From ! {io_reply, Ref, ok},
            prints(Leader, [Printed, apply(Module, Function, Arguments)]);
        {io_request, _, _, _} = Request ->
            Leader ! Request,
            prints(Leader, Printed);
        {From, printed} ->
            From ! {self(), unicode:characters_to_list(Printed)},
            prints(Leader, [])
    end.
