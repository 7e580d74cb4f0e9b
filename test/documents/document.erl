%% A document in Markdown: its blocks of code with what is said of each, and its links. Pure.
-module(document).

-export([read/1, anchors/1]).

-export_type([block/0, mark/0]).

-type mark() ::
    {run | run_as_root, exit_status() | {for_s, pos_integer()}}
    | {run_by, Path :: string(), Word :: string()}
    | {not_run, Reason :: string()}
    | none.
-type exit_status() :: 0..255.
-type block() :: #{line := pos_integer(), kind := string(), mark := mark(), text := string()}.

-define(MARKS,
    "a block of code has a mark in front of it: <!-- run -->, <!-- run: exit 3 -->, <!-- run: for 2s -->, "
    "<!-- run by: FILE: WORD IN IT -->, or <!-- not run: WHY -->"
).

%% Where it cannot be understood, sentences with their lines.
-spec read(string()) ->
    {ok, #{blocks := [block()], links := [{pos_integer(), string()}]}} | {error, [{pos_integer(), string()}]}.
read(Text) ->
    Lines = lists:enumerate(string:split(Text, "\n", all)),
    Found = outside(Lines, none, true, []),
    case [Wrong || {wrong, Line, Sentence} <- Found, Wrong <- [{Line, Sentence}]] of
        [] -> {ok, #{blocks => [Block || {block, Block} <- Found], links => [Link || {link, Link} <- Found]}};
        Wrongs -> {error, Wrongs}
    end.

%% `Mark': of a comment, with nothing but empty lines behind it.
outside([], _Mark, _AfterEmpty, Found) ->
    lists:reverse(Found);
outside([{Number, Line} | Lines], Mark, AfterEmpty, Found) ->
    case {string:trim(Line), Line} of
        {"", _} ->
            outside(Lines, Mark, true, Found);
        {"```" ++ Kind, _} ->
            {Text, Rest} = inside(Lines, indentation(Line), []),
            outside(Rest, none, false, lists:reverse(block(Number, string:trim(Kind), Mark, Text)) ++ Found);
        {"<!--" ++ Comment, _} ->
            outside(Lines, mark(string:trim(Comment)), false, Found);
        {_, "    " ++ _} when AfterEmpty ->
            outside(Lines, none, true, [{wrong, Number, "code is between ``` and ```, not indented"} | Found]);
        _ ->
            outside(Lines, none, false, links(Number, Line) ++ Found)
    end.

inside([], _Indentation, Text) ->
    {lists:reverse(Text), []};
inside([{_, Line} | Lines], Indentation, Text) ->
    case string:trim(Line) of
        "```" -> {lists:reverse(Text), Lines};
        _ -> inside(Lines, Indentation, [string:slice(Line, min(Indentation, indentation(Line))) | Text])
    end.

indentation(Line) ->
    string:length(Line) - string:length(string:trim(Line, leading, " ")).

block(Number, "", _Mark, _Text) ->
    [{wrong, Number, "``` says what it is: sh, console, erlang, elixir, yaml ..., or text for what is only to be looked at"}];
block(Number, "text", _Mark, Text) ->
    case [Line || "$ " ++ _ = Line <- Text] of
        [] -> [];
        [Command | _] -> [{wrong, Number, ["a command in a block of text: ", Command, "; console is for those"]}]
    end;
block(Number, _Kind, none, _Text) ->
    [{wrong, Number, ?MARKS}];
block(Number, _Kind, unknown, _Text) ->
    [{wrong, Number, ["the mark is not understood; ", ?MARKS]}];
block(Number, Kind, {As, _} = Mark, Text) when As =:= run; As =:= run_as_root ->
    case lists:member(Kind, ["sh", "console", "erlang", "elixir"]) of
        true -> [{block, #{line => Number, kind => Kind, mark => Mark, text => lists:flatten(lists:join("\n", Text))}}];
        false -> [{wrong, Number, ["sh, console, erlang and elixir can be run, ", Kind, " can not"]}]
    end;
block(Number, Kind, Mark, Text) ->
    [{block, #{line => Number, kind => Kind, mark => Mark, text => lists:flatten(lists:join("\n", Text))}}].

mark(Comment) ->
    case re:run(Comment, "^(run by|run as root|run|not run)(: *(.*?))? *-->$", [unicode, {capture, [1, 3], list}]) of
        {match, ["run", How]} -> run(run, string:lexemes(How, " "));
        {match, ["run as root", How]} -> run(run_as_root, string:lexemes(How, " "));
        {match, ["not run", Reason]} when Reason =/= "" -> {not_run, Reason};
        {match, ["run by", By]} when By =/= "" -> run_by(string:split(By, ":"));
        {match, _} -> unknown;
        nomatch -> none
    end.

run(As, []) -> {As, 0};
run(As, ["exit", Status]) -> number(Status, "", fun(N) -> {As, N} end);
run(As, ["for", Time]) -> number(Time, "s", fun(N) -> {As, {for_s, N}} end);
run(_, _) -> unknown.

number(Text, Unit, Mark) ->
    case string:to_integer(Text) of
        {N, Unit} when is_integer(N), N > 0 -> Mark(N);
        _ -> unknown
    end.

run_by([Path]) -> {run_by, string:trim(Path), ""};
run_by([Path, Word]) -> {run_by, string:trim(Path), string:trim(Word)}.

links(Number, Line) ->
    case re:run(Line, "\\]\\(([^) ]+)\\)", [global, unicode, {capture, [1], list}]) of
        {match, Links} -> [{link, {Number, Link}} || [Link] <- Links];
        nomatch -> []
    end.

%% What a link may name behind `#': a heading in small letters, a hyphen for each space, without signs.
-spec anchors(string()) -> [string()].
anchors(Text) ->
    {Headings, _} = lists:foldl(
        fun
            ("```" ++ _, {Found, IsCode}) -> {Found, not IsCode};
            ("#" ++ _ = Line, {Found, false}) -> {[Line | Found], false};
            (_, Unchanged) -> Unchanged
        end,
        {[], false},
        string:split(Text, "\n", all)
    ),
    [anchor(string:trim(string:trim(Heading, leading, "#"))) || Heading <- Headings].

anchor(Heading) ->
    Kept = re:replace(string:lowercase(Heading), "[^\\p{L}\\p{N} _-]", "", [global, unicode, ucp, {return, list}]),
    lists:flatten(string:replace(Kept, " ", "-", all)).
