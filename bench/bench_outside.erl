%% What the program costs beside `ss -ltnp`, from the start of a process to its end: with this VM as the one BEAM, alone
%% and beside a crowd of connections and processes.
-module(bench_outside).

-export([measure/0]).

-export_type([figures/0]).

-type figures() :: [{Sockets :: non_neg_integer(), [bench_rounds:round()]}].

-define(CYCLES, 3).
%% In each cycle, alone and again beside the crowd.
-define(ROUNDS, 8).
%% Each is two sockets, and both ends have a descriptor in one of the crowd's processes.
-define(CONNECTIONS, 20_000).
-define(IDLE_PROCESSES, 500).

-spec measure() -> figures().
measure() ->
    {ok, Listener} = gen_tcp:listen(0, [{ip, loopback}, {backlog, 128}]),
    {ok, Port} = inet:port(Listener),
    Program = filename:join(code:priv_dir(accept_queue), "accept-queue"),
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

beside(Program) ->
    filename:join(filename:dirname(code:which(?MODULE)), Program).
