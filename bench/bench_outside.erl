%% What the program costs beside `ss -ltnp`, from the start of a process to its end: with this VM as the one BEAM, alone
%% and beside a crowd of connections and processes.
-module(bench_outside).

-export([measure/0, diagnose/0]).

-export_type([figures/0, diagnose/0]).

-type figures() :: [{Sockets :: non_neg_integer(), [bench_rounds:round()]}].
-type diagnose() :: #{
    looks := [{Ns :: pos_integer(), ProcessorNs :: pos_integer(), KiB :: pos_integer()}],
    pollsets := [{Descriptors :: pos_integer(), Ns :: pos_integer()}]
}.

-define(CYCLES, 3).
%% In each cycle, alone and again beside the crowd.
-define(ROUNDS, 8).
%% Each is two sockets, and both ends have a descriptor in one of the crowd's processes.
-define(CONNECTIONS, 20_000).
-define(IDLE_PROCESSES, 500).
-define(LOOKS, 5).
-define(POLLSETS, [100, 1000, 10_000]).

-spec measure() -> figures().
measure() ->
    {ok, Listener} = gen_tcp:listen(0, [{ip, loopback}, {backlog, 128}]),
    {ok, Port} = inet:port(Listener),
    Program = program(),
    Commands = #{
        ss_owners => ["ss", "-ltnp"],
        program_list => [Program, "list"],
        program_list_all => [Program, "list", "--all"],
        program_check => [Program, "check", "--samples", "1", "--port", integer_to_list(Port)]
    },
    Spawners = maps:map(fun(_, Command) -> bench_program:start(beside("spawned"), Command) end, Commands),
    Contestants = maps:map(fun(_, Spawner) -> bench_rounds:program(Spawner) end, Spawners),
    {Alone, Crowded} = lists:unzip([cycle(Contestants) || _ <- lists:seq(1, ?CYCLES)]),
    lists:foreach(fun port_close/1, maps:values(Spawners)),
    ok = gen_tcp:close(Listener),
    [{0, lists:append(Alone)}, {2 * ?CONNECTIONS, lists:append(Crowded)}].

cycle(Contestants) ->
    Alone = bench_rounds:play(?ROUNDS, Contestants),
    Crowd = bench_program:start(beside("crowd"), [integer_to_list(?CONNECTIONS), integer_to_list(?IDLE_PROCESSES)]),
    "ready" = bench_program:answer(Crowd),
    Crowded = bench_rounds:play(?ROUNDS, Contestants),
    ok = bench_program:stop(Crowd),
    {Alone, Crowded}.

%% {nanoseconds from its start to its end, of a processor, KiB}, and how long an epoll set of so many is locked while it is read.
-spec diagnose() -> diagnose().
diagnose() ->
    Command = lists:join(" ", [beside("used"), program(), "diagnose --pid", os:getpid()]),
    #{
        looks => [list_to_tuple([list_to_integer(Figure) || Figure <- string:lexemes(os:cmd(Command), " ")]) || _ <- lists:seq(1, ?LOOKS)],
        pollsets => [{Count, list_to_integer(os:cmd(lists:join(" ", [beside("pollset"), integer_to_list(Count)])))} || Count <- ?POLLSETS]
    }.

program() ->
    accept_queue_port:program().

beside(Program) ->
    filename:join(filename:dirname(code:which(?MODULE)), Program).
