%% The pictures of the README, each of a real run: see `scripts/pictures'.
-module(pictures).

-export([main/1]).

-define(WIDTH, 118).

main([Ours, Root, Painter, Folder]) ->
    ok = file:set_cwd(Root),
    put(folder, Ours),
    Shop = shop:open(#{}),
    #{port := Port, node := Node} = Shop,
    Table = erpc:call(Node, accept_queue_table, text, []),
    shows(Painter, Folder, "i", "accept_queue:i() in the shell of a node", ["1> accept_queue:i().\n", Table, "ok"]),
    {match, [Report]} = re:run(said(Port, []), "(=ERROR REPORT[^\n]*\n[^\n]* is stuck: [^\n]*)\n", [unicode, {capture, [1], list}]),
    shows(Painter, Folder, "log", "its log, five seconds after the pool has stopped", folded(Report)),
    paints(Painter, Folder, "top", "accept-queue top, beside it", 104, 6, 14000, "", ["accept-queue", "top", "--node", "shop"]),
    shop:close(Shop),
    halt(0).

said(Port, Said) ->
    receive
        {Port, {data, Data}} -> said(Port, [Said, Data])
    after 0 ->
        unicode:characters_to_binary(Said)
    end.

folded(Text) ->
    [[fold(string:lexemes(Line, " "), 0), "\n"] || Line <- string:lexemes(Text, "\n")].

fold([], _) ->
    [];
fold([Word | Words], Column) ->
    case string:length(Word) of
        Length when Column > 0, Column + 1 + Length > ?WIDTH -> ["\n", Word | fold(Words, Length)];
        Length when Column > 0 -> [" ", Word | fold(Words, Column + 1 + Length)];
        Length -> [Word | fold(Words, Length)]
    end.

shows(Painter, Folder, Name, Title, Text) ->
    File = filename:join(get(folder), Name),
    Flat = string:trim(unicode:characters_to_list(Text), trailing),
    ok = file:write_file(File, unicode:characters_to_binary(Flat)),
    Rows = length(string:split(Flat, "\n", all)),
    paints(Painter, Folder, Name, Title, ?WIDTH, Rows, 500, "", ["cat", File]).

paints(Painter, Folder, Name, Title, Columns, Rows, WaitMs, Keys, Command) ->
    File = filename:join(Folder, Name ++ ".svg"),
    Port = open_port({spawn_executable, Painter}, [
        {args, [File | [integer_to_list(N) || N <- [Columns, Rows, WaitMs]]] ++ [Keys, Title | Command]}, exit_status
    ]),
    receive
        {Port, {exit_status, 0}} -> io:format("~ts~n", [File])
    end.
