%% What a reading costs: beside what a user would take instead, and beside the least that the kernel allows.
%%
%% Everything is measured in one run, in cycles: first with no other connection in the network namespace, then with a
%% crowd of them. Goals that are missed are told, not failed: machines are noisy.
-module(bench).

-export([main/0]).

-define(CYCLES, 12).
%% In each cycle, alone and again beside the crowd.
-define(ROUNDS, 6).
%% Established connections beside the listener; each is two sockets.
-define(CROWD, 10_000).
-define(SINGLE_CALLS, 20_000).

-spec main() -> ok.
main() ->
    {ok, Socket} = gen_tcp:listen(0, [{ip, loopback}, {backlog, 128}]),
    {ok, Port} = inet:port(Socket),
    {ok, Handle} = accept_queue:open(Socket),
    Contestants = contestants(Socket, Port, Handle),
    Tails = tails(Socket, Handle),
    {Alone, Crowded} = lists:unzip([cycle(N, Contestants, Tails) || N <- lists:seq(1, ?CYCLES)]),
    Where = where(Socket, Handle),
    Rounds = [{0, lists:append(Alone)}, {2 * ?CROWD, lists:append(Crowded)}],
    progress("many ports", []),
    Ports = bench_ports:measure(),
    progress("the monitor, while nothing happens", []),
    Monitor = bench_monitor:measure(),
    progress("the program beside ss", []),
    Outside = bench_outside:measure(),
    progress("the monitor, when something happens", []),
    io:put_chars(bench_report:markdown(Rounds, Tails, Where, Ports, Monitor, bench_alarms:measure(), Outside)),
    progress("the program, while nothing happens", []),
    io:put_chars(bench_watch:markdown()).

%% Each call checks its answer: a figure is never made of errors.
contestants(Socket, Port, Handle) ->
    {ok, Native} = socket:open(inet, stream, tcp),
    ok = socket:bind(Native, #{family => inet, addr => loopback, port => 0}),
    ok = socket:listen(Native),
    Getsockopt = bench_program:start(beside("bare_getsockopt"), []),
    Dump = bench_program:start(beside("bare_dump"), [integer_to_list(Port)]),
    #{
        depth => bench_rounds:erlang(fun() -> {ok, #{queued := 0}} = accept_queue:depth(Handle) end),
        bare_getsockopt => bench_rounds:program(Getsockopt),
        getopts => bench_rounds:erlang(fun() ->
            {ok, [_, _]} = inet:getopts(Socket, [{raw, 6, 11, 104}, {raw, 1, 55, 36}])
        end),
        getopt_native => bench_rounds:erlang(fun() ->
            {ok, _} = socket:getopt_native(Native, {6, 11}, 104),
            {ok, _} = socket:getopt_native(Native, {1, 55}, 36)
        end),
        counts => bench_rounds:erlang(fun() -> {ok, #{queued := 0}} = accept_queue:counts(Handle) end),
        bare_dump => bench_rounds:program(Dump),
        proc => bench_rounds:erlang(fun() -> #{<<"0A">> := 1} = bench_proc:counts(Port) end)
    }.

beside(Program) ->
    filename:join(filename:dirname(code:which(?MODULE)), Program).

tails(Socket, Handle) ->
    Bytes = binary:copy(<<1>>, 600),
    [
        {Name, Kind, bench_tail:new(), Call}
     || {Name, Kind, Call} <- [
            {"`depth(Handle)`", first_tier, fun() -> {ok, #{}} = accept_queue:depth(Handle) end},
            {"`depth(Socket)`", first_tier, fun() -> {ok, #{}} = accept_queue:depth(Socket) end},
            {"`open(Socket)`", first_tier, fun() -> {ok, _} = accept_queue:open(Socket) end},
            %% Arithmetic that takes as long as the longest call above: what interrupts alone do to the tail here.
            {"`erlang:md5` of 600 bytes", none, fun() -> erlang:md5(Bytes) end},
            {"the clock alone", none, fun() -> ok end}
        ]
    ].

cycle(N, Contestants, Tails) ->
    progress("cycle ~b of ~b: alone, then beside ~b sockets", [N, ?CYCLES, 2 * ?CROWD]),
    Alone = bench_rounds:play(?ROUNDS, Contestants),
    Crowd = bench_program:start(beside("crowd"), [integer_to_list(?CROWD)]),
    "ready" = bench_program:answer(Crowd),
    Crowded = bench_rounds:play(?ROUNDS, Contestants),
    lists:foreach(fun({_, _, Tail, Call}) -> bench_tail:add(Tail, ?SINGLE_CALLS, Call) end, Tails),
    ok = bench_program:stop(Crowd),
    {Alone, Crowded}.

%% {call, the schedulers that must do the work, nanoseconds by kind of scheduler}
where(Socket, Handle) ->
    [
        {Name, Kind, bench_where:nanoseconds(1000, Call)}
     || {Name, Kind, Call} <- [
            {"`depth`", scheduler, fun() -> accept_queue:depth(Handle) end},
            {"`open`", scheduler, fun() -> accept_queue:open(Socket) end},
            {"`counts`", dirty_io_scheduler, fun() -> accept_queue:counts(Handle) end},
            {"the dump of `list`", dirty_io_scheduler, fun accept_queue_nif:listening/0},
            {"`kernel`", dirty_io_scheduler, fun accept_queue:kernel/0}
        ]
    ].

progress(Format, Arguments) ->
    io:format(standard_error, Format ++ "~n", Arguments).
