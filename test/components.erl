%% Real applications that are not of this repository, where `test/components' has unpacked them.
-module(components).

-export([load/1]).

%% Makes these applications known to the code server.
load(Applications) ->
    Where = [{Application, ebin(Application)} || Application <- Applications],
    case [Application || {Application, []} <- Where] of
        [] ->
            [true = code:add_pathz(Ebin) || {_, [Ebin | _]} <- Where],
            ok;
        Missing ->
            {skip, io_lib:format("~p not found below _build/components; `test/components' fetches them", [Missing])}
    end.

%% In a package of its own, or among the plugins of rabbitmq-server.
ebin(Application) ->
    [
        Ebin
     || Libraries <- ["erlang/lib/", "rabbitmq/lib/rabbitmq_server-*/plugins/"],
        Ebin <- filelib:wildcard(
            repository:path("_build/components/usr/lib/" ++ Libraries ++ atom_to_list(Application) ++ "-*/ebin")
        )
    ].
