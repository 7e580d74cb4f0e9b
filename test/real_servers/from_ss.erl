%% What `ss' says of a listener of this network namespace: who holds it, and its queue.
-module(from_ss).

-export([listens/1, listener/1]).

listens(Port) ->
    lines(Port) =/= [].

%% Of the one that listens there.
listener(Port) ->
    [Line] = lines(Port),
    [_State, Queued, Limit | _] = string:lexemes(Line, " "),
    {match, [Pid]} = re:run(Line, "pid=(\\d+)", [{capture, all_but_first, list}]),
    {match, [Drops]} = re:run(Line, "skmem:\\([^)]*,d(\\d+)\\)", [{capture, all_but_first, list}]),
    #{
        pid => list_to_integer(Pid),
        queued => list_to_integer(Queued),
        limit => list_to_integer(Limit),
        drops => list_to_integer(Drops)
    }.

lines(Port) ->
    Command = ["ss -HOltnpm --ipv4 'sport = :", integer_to_list(Port), "'"],
    string:lexemes(os:cmd(lists:flatten(Command)), "\n").
