%% A subscriber of the application in a server's node, which hands on what it gets to a process elsewhere.
-module(forwarder).

-export([start/1]).

%% `{ok, pid()}' once it is subscribed.
start(To) ->
    Caller = self(),
    Forwarder = spawn(fun() ->
        ok = accept_queue:subscribe(),
        Caller ! {subscribed, self()},
        forward(To)
    end),
    receive
        {subscribed, Forwarder} -> {ok, Forwarder}
    after 5000 ->
        {error, timeout}
    end.

forward(To) ->
    receive
        Message -> To ! {forwarded, Message}
    end,
    forward(To).
