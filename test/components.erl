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

ebin(Application) ->
    Plugins = "_build/components/usr/lib/rabbitmq/lib/rabbitmq_server-*/plugins/",
    Ebins = filename:join(other_vm:repository(), Plugins ++ atom_to_list(Application) ++ "-*/ebin"),
    filelib:wildcard(Ebins).
