%% What the documents show, run again: see `test/docs'.
-module(documents).

-export([main/1]).

%% A block that runs longer than this does not end.
-define(BLOCK_S, 30).
%% Shorter than the defaults, so that no document waits long for `stuck'.
-define(SHOP, #{for_ms => 200, stuck_ms => 400}).

main([Folder, Root | Given]) ->
    ok = file:set_cwd(Root),
    put(folder, Folder),
    ok = io:setopts([{encoding, unicode}]),
    Paths = case Given of
        [] -> ["README.md" | filelib:wildcard("docs/*.md") ++ filelib:wildcard("docs/proof/*.md")];
        _ -> Given
    end,
    Wrong = [Path || Path <- Paths, not is_right(Path)],
    Unlinked = [Path || Given =:= [], Path <- unlinked(Paths)],
    [io:format("~ts: no other document has a link to it~n", [Path]) || Path <- Unlinked],
    Ungrouped = [Path || Given =:= [], Path <- ungrouped(Paths -- ["README.md"])],
    [io:format("mix.exs: ~ts is in no group, or in several~n", [Path]) || Path <- Ungrouped],
    case {Wrong, Unlinked, Ungrouped} of
        {[], [], []} ->
            io:format("All ~b tests of what the documents show have passed.~n", [get_count(run)]),
            halt(0);
        _ ->
            halt(1)
    end.

is_right(Path) ->
    {ok, Bytes} = file:read_file(Path),
    case document:read(unicode:characters_to_list(Bytes)) of
        {ok, #{blocks := Blocks, links := Links}} ->
            Broken = [Link || {_, To} = Link <- Links, not reaches(Path, To)],
            [wrong(Path, Line, ["there is no ", To]) || {Line, To} <- Broken],
            Unproved = [wrong(Path, Line, Sentence) || #{line := Line, mark := {run_by, By, Word}} <- Blocks, Sentence <- unproved(By, Word)],
            {Us, Ran} = timer:tc(fun() -> run(Path, lists:append([allowed(Path, Block) || Block <- Blocks])) end),
            Others = length([by || #{mark := {run_by, _, _}} <- Blocks]),
            Not = length([no || #{mark := {not_run, _}} <- Blocks]),
            Right = Broken =:= [] andalso Unproved =:= [] andalso Ran =/= wrong,
            Right andalso io:format("~ts: ~b run (~.1f s), ~b run by other tests, ~b not run~n", [Path, Ran, Us / 1.0e6, Others, Not]),
            Right;
        {error, Sentences} ->
            [wrong(Path, Line, Sentence) || {Line, Sentence} <- Sentences],
            false
    end.

allowed(_Path, #{mark := {run, _}} = Block) ->
    [Block];
allowed(Path, #{mark := {run_as_root, How}, line := Line} = Block) ->
    %% user_namespaces(7): of the first one, which is root's, all numbers are mapped.
    {ok, Map} = file:read_file("/proc/self/uid_map"),
    case string:lexemes(Map, " \n") of
        [_, _, <<"4294967295">>] -> [Block#{mark := {run, How}}];
        _ -> io:format("skip ~ts:~b: only root is more than one user~n", [Path, Line]), []
    end;
allowed(_Path, _Block) ->
    [].

wrong(Path, Line, Sentence) ->
    io:format("~ts:~b: ~ts~n", [Path, Line, Sentence]).

reaches(Path, To) ->
    lists:any(fun(Scheme) -> string:prefix(To, Scheme) =/= nomatch end, ["https://", "http://", "mailto:"]) orelse
        case string:split(To, "#") of
            ["", Anchor] -> has(Path, Anchor);
            [File] -> filelib:is_file(filename:join(filename:dirname(Path), File));
            [File, Anchor] -> has(filename:join(filename:dirname(Path), File), Anchor)
        end.

has(Path, Anchor) ->
    case file:read_file(Path) of
        {ok, Bytes} -> lists:member(Anchor, document:anchors(unicode:characters_to_list(Bytes)));
        {error, _} -> false
    end.

unlinked(Paths) ->
    Linked = lists:append([linked(Path) || Path <- Paths]),
    [Path || Path <- Paths, Path =/= "README.md", not lists:member(filename:basename(Path), Linked)].

linked(Path) ->
    {ok, Bytes} = file:read_file(Path),
    case document:read(unicode:characters_to_list(Bytes)) of
        {ok, #{links := Links}} -> [File || {_, To} <- Links, File <- [filename:basename(hd(string:split(To, "#")))], File =/= filename:basename(Path)];
        {error, _} -> []
    end.

%% For ExDoc, which is not needed to build: each page is in one group of mix.exs.
ungrouped(Paths) ->
    {ok, Mix} = file:read_file("mix.exs"),
    {match, Found} = re:run(Mix, "docs/[a-z0-9/-]+\\.md", [global, {capture, first, list}]),
    Grouped = [Path || [Path] <- Found],
    (Paths -- Grouped) ++ (Grouped -- lists:usort(Grouped)).

unproved(By, Word) ->
    case file:read_file(By) of
        {ok, Bytes} ->
            case binary:match(Bytes, unicode:characters_to_binary(Word)) of
                nomatch when Word =/= "" -> [["there is no `", Word, "' in ", By]];
                _ -> []
            end;
        {error, Reason} ->
            [[By, ": ", file:format_error(Reason)]]
    end.

%% In the order of the document, in a folder of its own, beside a shop of its own.
run(_Path, []) ->
    0;
run(Path, Blocks) ->
    Folder = filename:join([get(folder), "run", filename:basename(Path, ".md")]),
    ok = filelib:ensure_path(Folder),
    Shop = shop:open(?SHOP),
    Session = erpc:call(maps:get(node, Shop), shell_session, start, []),
    try [Block || Block <- Blocks, not ran(Path, Block, Folder, Shop, Session)] of
        [] -> put(run, get_count(run) + length(Blocks)), length(Blocks);
        _ -> wrong
    after
        shop:close(Shop),
        file:del_dir_r(Folder)
    end.

get_count(Key) ->
    case get(Key) of
        undefined -> 0;
        Count -> Count
    end.

ran(Path, #{line := Line, kind := Kind, mark := {run, How}, text := Text}, Folder, Shop, Session) ->
    Answer = case Kind of
        "erlang" -> erpc:call(maps:get(node, Shop), shell_session, run, [Session, Text]);
        "elixir" -> erpc:call(maps:get(node, Shop), shell_session, run_elixir, [Session, Text]);
        "sh" -> shell(Text, How, Folder, Shop);
        "console" -> shell(commands(Text), How, Folder, Shop)
    end,
    case Answer of
        ok -> true;
        {error, Said} -> wrong(Path, Line, Said), false
    end.

commands(Text) ->
    lists:flatten(lists:join("\n", [Command || "$ " ++ Command <- string:split(Text, "\n", all)])).

shell(Text, {for_s, Seconds}, Folder, Shop) ->
    Ended = io_lib:format("timeout --preserve-status --kill-after=10 --signal=TERM ~b ", [Seconds]),
    Commands = [
        %% 128 + SIGTERM: it leaves that to the system.
        ["{ ", Ended, Line, "\n} || [ $? = 143 ]\n"]
     || Line <- string:split(Text, "\n", all), string:trim(Line) =/= "", hd(Line) =/= $#
    ],
    shell(Commands, 0, Folder, Shop);
shell(Text, Status, Folder, #{pid := Pid}) ->
    Script = ["set -eu -o pipefail\nexec 2>&1 </dev/null\n", Text, "\n"],
    Port = open_port({spawn_executable, os:find_executable("timeout")}, [
        {args, ["--kill-after=5", integer_to_list(?BLOCK_S), "bash", "-c", unicode:characters_to_binary(Script)]},
        {cd, Folder},
        {env, [{"PID", integer_to_list(Pid)}]},
        exit_status,
        binary
    ]),
    case said(Port, []) of
        {Status, _} -> ok;
        {Other, Said} -> {error, [io_lib:format("status ~b and not ~b of~n~ts~nwhich says~n", [Other, Status, unicode:characters_to_list(Text)]), Said]}
    end.

said(Port, Said) ->
    receive
        {Port, {data, Bytes}} -> said(Port, [Said, Bytes]);
        {Port, {exit_status, Status}} -> {Status, Said}
    end.
