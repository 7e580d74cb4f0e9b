%% The same figures by every way to them: about one listener of several, and about all of them, beside more and more sockets
%% that have nothing to do with them.
-module(bench_readings).

-export([measure/0]).

-export_type([figures/0]).

-type figures() :: #{
    cells := [{Sockets :: non_neg_integer(), Listeners :: pos_integer(), [bench_rounds:round()]}],
    skipped := [{atom(), Why :: iodata()}]
}.

-define(SOCKETS, [0, 20_000, 100_000]).
-define(LISTENERS, [1, 10, 100]).
%% The crowd comes and goes in every cycle, so that the rounds without it and with it lie side by side.
-define(CYCLES, 3).
-define(ROUNDS, 6).

-spec measure() -> figures().
measure() ->
    Raindrops = raindrops(),
    Rounds = [
        {{Sockets, Listeners}, Played}
     || Cycle <- lists:seq(1, ?CYCLES), Sockets <- ?SOCKETS, {Listeners, Played} <- beside(Cycle, Sockets, Raindrops)
    ],
    #{
        cells => [{S, L, lists:append([Played || {{S1, L1}, Played} <- Rounds, S1 =:= S, L1 =:= L])} || S <- ?SOCKETS, L <- ?LISTENERS],
        skipped => [{raindrops, Raindrops} || Raindrops =/= there]
    }.

beside(Cycle, Sockets, Raindrops) ->
    io:format(standard_error, "readings, cycle ~b of ~b, beside ~b sockets~n", [Cycle, ?CYCLES, Sockets]),
    Crowd = bench_program:start(program("crowd"), [integer_to_list(Sockets div 2)]),
    "ready" = bench_program:answer(Crowd),
    Played = [{Listeners, play(Listeners, Raindrops)} || Listeners <- ?LISTENERS],
    ok = bench_program:stop(Crowd),
    Played.

play(Count, Raindrops) ->
    Sockets = [First | _] = [listener() || _ <- lists:seq(1, Count)],
    Ports = [integer_to_list(element(2, {ok, _} = inet:port(Socket))) || Socket <- Sockets],
    Handles = [Handle | _] = [element(2, {ok, _} = accept_queue:open(Socket)) || Socket <- Sockets],
    {ok, Native} = socket:open(inet, stream, tcp),
    ok = socket:bind(Native, #{family => inet, addr => loopback, port => 0}),
    ok = socket:listen(Native),
    PortNumber = list_to_integer(hd(Ports)),
    Programs = maps:from_list(
        [
            {bare_getsockopt, bench_program:start(program("bare_getsockopt"), [])},
            {bare_dump, bench_program:start(program("bare_dump"), [hd(Ports)])},
            {ss, bench_program:start(program("spawned"), ["ss", "-Hltn"])}
        ] ++
            [{Name, bench_program:start("bench/raindrops", Of)} || Raindrops =:= there, {Name, Of} <- [{raindrops, [hd(Ports)]}, {raindrops_all, Ports}]]
    ),
    %% Each call checks its answer: a figure is never made of errors.
    Calls = #{
        depth => fun() -> {ok, #{queued := 0}} = accept_queue:depth(Handle) end,
        depth_all => fun() -> [{ok, #{queued := 0}} = accept_queue:depth(One) || One <- Handles] end,
        getopts => fun() -> {ok, [_, _]} = inet:getopts(First, [{raw, 6, 11, 104}, {raw, 1, 55, 36}]) end,
        getopt_native => fun() ->
            {ok, _} = socket:getopt_native(Native, {6, 11}, 104),
            {ok, _} = socket:getopt_native(Native, {1, 55}, 36)
        end,
        counts => fun() -> {ok, #{queued := 0}} = accept_queue:counts(Handle) end,
        list => fun() -> {ok, [_ | _]} = accept_queue:list() end,
        proc => fun() -> #{<<"0A">> := 1} = bench_proc:counts(PortNumber) end,
        os_cmd => fun() -> [_ | _] = os:cmd("ss -Hltn") end
    },
    Contestants = maps:merge(
        maps:map(fun(_, Call) -> bench_rounds:erlang(Call) end, Calls),
        maps:map(fun(_, Program) -> bench_rounds:program(Program) end, Programs)
    ),
    Rounds = bench_rounds:play(?ROUNDS, Contestants),
    lists:foreach(fun port_close/1, maps:values(Programs)),
    ok = socket:close(Native),
    lists:foreach(fun gen_tcp:close/1, Sockets),
    Rounds.

%% Whether it is there, or the sentence of bench/raindrops that says why not.
raindrops() ->
    case os:getenv("RAINDROPS") of
        "" -> there;
        Why -> Why
    end.

listener() ->
    {ok, Listener} = gen_tcp:listen(0, [{ip, loopback}, {backlog, 128}]),
    Listener.

program(Name) ->
    filename:join(filename:dirname(code:which(?MODULE)), Name).
