%% What a server showed, in sentences: into the file `showed' of its folder, and onto the output, which is read where a check
%% fails.
-module(showed).

-export([in/1, that/2]).

in(Folder) ->
    true = os:putenv("SHOWED", filename:join(Folder, "showed")),
    ok.

that(Format, Arguments) ->
    Line = io_lib:format(Format ++ "~n", Arguments),
    ok = file:write_file(os:getenv("SHOWED"), unicode:characters_to_binary(Line), [append]),
    io:format("~ts", [Line]).
