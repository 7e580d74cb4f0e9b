%% How often `queued_reset' counts a reset that never was: at a server at full speed, whose clients stay until they have been accepted,
%% connections come and go during each walk over the kernel's table.
-module(bench_resets).

-export([measure/0]).

-export_type([figures/0]).

-type figures() :: #{per_second := non_neg_integer(), counts := pos_integer(), false := non_neg_integer(), most := non_neg_integer()}.

-define(ACCEPTORS, 8).
-define(CALLERS, 12).
-define(MS, 10_000).

-spec measure() -> figures().
measure() ->
    %% Accepted sockets inherit it: nothing is left in TIME_WAIT.
    {ok, Listener} = gen_tcp:listen(0, [{ip, loopback}, {backlog, 1024}, {active, false}, {linger, {true, 0}}]),
    {ok, Port} = inet:port(Listener),
    Accepted = counters:new(1, [write_concurrency]),
    Pool = [spawn_link(fun() -> accept(Listener, Accepted) end) || _ <- lists:seq(1, ?ACCEPTORS)],
    Callers = bench_program:start(filename:join(filename:dirname(code:which(?MODULE)), "callers"), [integer_to_list(Port), integer_to_list(?CALLERS)]),
    "ready" = bench_program:answer(Callers),
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
        most => lists:max(Resets)
    }.

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
