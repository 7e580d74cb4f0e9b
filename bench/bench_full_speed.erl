%% A gen_tcp server at full speed, whose clients stay until they have been accepted and come again at once: how often `queued_reset' counts a
%% reset that never was, for connections come and go during each walk over the kernel's table; and whether it accepts as many a
%% second while it is watched as while it is not.
-module(bench_full_speed).

-export([measure/0]).

-export_type([figures/0]).

-type figures() :: #{
    per_second := non_neg_integer(),
    counts := pos_integer(),
    false := non_neg_integer(),
    most := non_neg_integer(),
    %% Round by round: what is accepted while it is watched, of what is accepted while it is not.
    watched := [float(), ...]
}.

-define(ACCEPTORS, 8).
-define(CALLERS, 12).
-define(MS, 10_000).
-define(ROUNDS, 40).
-define(ROUND_MS, 500).
%% After a change, until the monitor has taken it up.
-define(SETTLED_MS, 100).

-spec measure() -> figures().
measure() ->
    %% Accepted sockets inherit it: nothing is left in TIME_WAIT.
    {ok, Listener} = gen_tcp:listen(0, [{ip, loopback}, {backlog, 1024}, {active, false}, {linger, {true, 0}}]),
    {ok, Port} = inet:port(Listener),
    Accepted = counters:new(1, [write_concurrency]),
    Pool = [spawn_link(fun() -> accept(Listener, Accepted) end) || _ <- lists:seq(1, ?ACCEPTORS)],
    Callers = bench_program:start(filename:join(filename:dirname(code:which(?MODULE)), "callers"), [integer_to_list(Port), integer_to_list(?CALLERS)]),
    "ready" = bench_program:answer(Callers),
    Watched = [round_of(Listener, Accepted) || _ <- lists:seq(1, ?ROUNDS)],
    Begun = erlang:monotonic_time(millisecond),
    Before = counters:get(Accepted, 1),
    Resets = counted(Listener, Begun + ?MS),
    Ms = erlang:monotonic_time(millisecond) - Begun,
    Served = counters:get(Accepted, 1) - Before,
    ok = bench_program:stop(Callers),
    _ = [unlink(Pid) andalso exit(Pid, kill) || Pid <- Pool],
    ok = gen_tcp:close(Listener),
    #{
        per_second => Served * 1000 div Ms,
        counts => length(Resets),
        false => length([Reset || Reset <- Resets, Reset > 0]),
        most => lists:max(Resets),
        watched => Watched
    }.

%% In an order that is drawn.
round_of(Listener, Accepted) ->
    Turns = [{Name, fun() -> rate(Switch, Listener, Accepted) end} || {Name, Switch} <- [{watched, fun accept_queue:watch/1}, {alone, fun accept_queue:unwatch/1}]],
    Order = [Turn || {_, Turn} <- lists:sort([{rand:uniform(), Turn} || Turn <- Turns])],
    #{watched := Watched, alone := Alone} = maps:from_list([{Name, Measure()} || {Name, Measure} <- Order]),
    Watched / Alone.

%% A nanosecond's connections.
rate(Switch, Listener, Accepted) ->
    ok = Switch(Listener),
    timer:sleep(?SETTLED_MS),
    {Before, Begun} = {counters:get(Accepted, 1), erlang:monotonic_time(nanosecond)},
    timer:sleep(?ROUND_MS),
    (counters:get(Accepted, 1) - Before) / (erlang:monotonic_time(nanosecond) - Begun).

counted(Listener, UntilMs) ->
    case erlang:monotonic_time(millisecond) < UntilMs of
        true ->
            {ok, #{queued_reset := Resets}} = accept_queue:counts(Listener),
            [Resets | counted(Listener, UntilMs)];
        false ->
            []
    end.

accept(Listener, Accepted) ->
    {ok, Socket} = gen_tcp:accept(Listener),
    ok = counters:add(Accepted, 1, 1),
    ok = gen_tcp:close(Socket),
    accept(Listener, Accepted).
