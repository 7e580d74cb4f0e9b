%% How late an alarm is: on real sockets, with the default settings.
%%
%% A condition has to hold for a time before it is raised. That time is not lateness; what passes after it, until a
%% subscriber has the message, is.
-module(bench_alarms).

-export([measure/0]).

-export_type([figures/0]).

-type figures() :: [{Begins :: iodata(), LateMs :: [float(), ...], GoalMs :: pos_integer()}].

-define(RUNS, 3).
-define(POOL, 4).
%% Overload: so many come in a second, and so many are accepted.
-define(ARRIVALS_PER_S, 400).
-define(ACCEPTS_PER_S, 200).
-define(DEADLINE_MS, 20_000).
-define(IDLE, 1000).
-define(GOAL_MS, 50).

-spec measure() -> figures().
measure() ->
    %% The alarms are meant, and standard output is the report's.
    ok = logger:set_primary_config(level, none),
    ok = accept_queue:subscribe(),
    Alone = each(""),
    Idle = [element(2, {ok, _} = gen_tcp:listen(0, [{ip, loopback}])) || _ <- lists:seq(1, ?IDLE)],
    Beside = each(io_lib:format(", beside ~b idle listeners", [?IDLE])),
    lists:foreach(fun gen_tcp:close/1, Idle),
    Alone ++ Beside.

each(Beside) ->
    Settings = accept_queue_nif:default_settings(),
    Stuck = [run(Nth, fun stuck/3, Settings) || Nth <- lists:seq(1, ?RUNS)],
    Behind = [run(Nth, fun behind/3, Settings) || Nth <- lists:seq(1, ?RUNS)],
    [
        {[io_lib:format("`stuck`: a pool of ~b blocks, and a client waits", [?POOL]), Beside], Stuck, ?GOAL_MS},
        {[io_lib:format("`behind`: ~b a second come to a pool that accepts ~b", [?ARRIVALS_PER_S, ?ACCEPTS_PER_S]), Beside], Behind, ?GOAL_MS}
    ].

%% On a listener that is watched already. A search for listeners finds it, which keeps to a grid as the readings do: so each
%% run begins at another point between two readings. What takes part in it ends with it.
run(Nth, Measure, #{interval_ms := IntervalMs} = Settings) ->
    {ok, Listener} = gen_tcp:listen(0, [{ip, loopback}, {backlog, 4096}, {active, false}]),
    {ok, Address} = inet:sockname(Listener),
    _ = message_at(listener, added, Address),
    timer:sleep((Nth - 1) * IntervalMs div ?RUNS),
    {Us, Part} = Measure(Listener, Address, Settings),
    [unlink(Pid) andalso exit(Pid, kill) || Pid <- Part],
    ok = gen_tcp:close(Listener),
    _ = message_at(listener, removed, Address),
    Us / 1000.

%% All of the pool have taken a connection and wait for an answer that does not come. What is late counts from the moment
%% in which one client more has connected.
stuck(Listener, Address, #{stuck_ms := StuckMs}) ->
    Self = self(),
    Silent = spawn_link(fun() -> receive never -> ok end end),
    Pool = [
        spawn_link(fun() ->
            {ok, _} = gen_tcp:accept(Listener),
            Self ! blocked,
            gen_server:call(Silent, question, infinity)
        end)
     || _ <- lists:seq(1, ?POOL)
    ],
    Clients = [client(Address) || _ <- Pool],
    [receive blocked -> ok end || _ <- Pool],
    Waiting = client(Address),
    Begins = now_us(),
    Raised = message_at(raised, stuck, Address),
    lists:foreach(fun gen_tcp:close/1, [Waiting | Clients]),
    {Raised - Begins - 1000 * StuckMs, [Silent | Pool]}.

%% What is late counts from the moment in which the head of the queue had waited for max_wait_ms, which is some
%% 200 ms after the overload began: until then the queue has to grow. Each client is known by its port when it is accepted,
%% and the first that had to wait for longer gives that moment.
behind(Listener, Address, #{max_wait_ms := MaxWaitMs, for_ms := ForMs}) ->
    Self = self(),
    Arrived = ets:new(?MODULE, [public]),
    Begun = now_us(),
    Pool = [
        spawn_link(fun() ->
            at_rate(?ACCEPTS_PER_S / ?POOL, Begun, fun() ->
                {ok, Socket} = gen_tcp:accept(Listener),
                Now = now_us(),
                {ok, {_, Port}} = inet:peername(Socket),
                [Self ! {Arrived, At + 1000 * MaxWaitMs} || {_, At} <- ets:lookup(Arrived, Port), Now - At > 1000 * MaxWaitMs]
            end)
        end)
     || _ <- lists:seq(1, ?POOL)
    ],
    Crowd = spawn_link(fun() ->
        at_rate(?ARRIVALS_PER_S, Begun, fun() ->
            Client = client(Address),
            {ok, Port} = inet:port(Client),
            ets:insert(Arrived, {Port, now_us()})
        end)
    end),
    Raised = message_at(raised, behind, Address),
    {Raised - lists:min(due(Arrived)) - 1000 * ForMs, [Crowd | Pool]}.

due(Run) ->
    receive
        {Run, At} -> [At | due(Run)]
    after 0 -> []
    end.

%% Does it so often, on the average: one that is late makes up for it.
at_rate(PerSecond, Begun, Do) ->
    at_rate(1_000_000 / PerSecond, Begun, 1, Do).

at_rate(EveryUs, Begun, Nth, Do) ->
    timer:sleep(max(0, trunc(Begun + Nth * EveryUs - now_us()) div 1000)),
    _ = Do(),
    at_rate(EveryUs, Begun, Nth + 1, Do).

client({Ip, Port}) ->
    {ok, Client} = gen_tcp:connect(Ip, Port, [{active, false}]),
    Client.

%% When it came.
message_at(Kind, What, Address) ->
    receive
        {accept_queue, Kind, What, #{address := Address}} -> now_us()
    after ?DEADLINE_MS -> error({no_message, Kind, What})
    end.

now_us() ->
    erlang:monotonic_time(microsecond).
