%% A case that cannot run here: the reason is printed, and Common Test counts it.
-module(skipped).

-export([because/2]).

-spec because(Case :: atom(), Why :: string()) -> {skip, string()}.
because(Case, Why) ->
    io:format(user, "~nskip ~s: ~ts~n", [Case, Why]),
    {skip, Why}.
