%% How many connections a second a pool accepts and closes, by its size and by how it listens.
-module(bench_acceptors).

-export([measure/0]).
%% Called in the VM of the pool.
-export([pool/2, duration/1]).

-export_type([figures/0]).

-type backend() :: inet | gen_tcp_socket | socket.
-type figures() :: #{sizes := [pos_integer()], waiting := pos_integer(), rates := [{backend(), [PerSecond :: float()]}]}.

-define(SIZES, [8, 16, 32, 64, 100, 200, 1000]).
-define(WAITING, 2000).
-define(ROUNDS, 5).

-spec measure() -> figures().
measure() ->
    {ok, Vm, _} = peer:start_link(#{connection => standard_io, args => ["-pa" | code:get_path()]}),
    Rates = [
        {Backend, [bench_rounds:median([rate(Vm, Backend, Size) || _ <- lists:seq(1, ?ROUNDS)]) || Size <- ?SIZES]}
     || Backend <- [gen_tcp_socket, socket, inet]
    ],
    ok = peer:stop(Vm),
    #{sizes => ?SIZES, waiting => ?WAITING, rates => Rates}.

%% The pool is blocked in accept, and its VM is stopped until all clients have connected.
rate(Vm, Backend, Size) ->
    {Pool, Port} = peer:call(Vm, ?MODULE, pool, [Backend, Size]),
    OsPid = peer:call(Vm, os, getpid, []),
    "" = os:cmd("kill -STOP " ++ OsPid),
    Clients = [client(Port) || _ <- lists:seq(1, ?WAITING)],
    "" = os:cmd("kill -CONT " ++ OsPid),
    Ns = peer:call(Vm, ?MODULE, duration, [Pool], 60_000),
    lists:foreach(fun gen_tcp:close/1, Clients),
    1.0e9 * ?WAITING / Ns.

-spec pool(backend(), pos_integer()) -> {pid(), inet:port_number()}.
pool(Backend, Size) ->
    Self = self(),
    Pool = spawn(fun() -> keep_pool(Backend, Size, Self) end),
    receive
        {Pool, Port} -> {Pool, Port}
    end.

%% Nanoseconds from the first accept to the last. The pool ends.
-spec duration(pid()) -> pos_integer().
duration(Pool) ->
    Monitor = monitor(process, Pool),
    Pool ! {duration, self()},
    receive
        {Pool, Ns} -> receive {'DOWN', Monitor, process, Pool, _} -> Ns end
    end.

keep_pool(Backend, Size, Caller) ->
    {Listener, Port} = listen(Backend),
    Self = self(),
    Left = atomics:new(1, []),
    ok = atomics:put(Left, 1, ?WAITING),
    Pool = [spawn(fun() -> accept(Backend, Listener, Left, Self) end) || _ <- lists:seq(1, Size)],
    lists:foreach(fun wait_for_accept/1, Pool),
    Caller ! {Self, Port},
    receive
        {duration, Asks} -> ok
    end,
    [First, Last] = [receive {Which, At} -> At end || Which <- [first, last]],
    [exit(Pid, kill) || Pid <- Pool],
    ok = close(Backend, Listener),
    Asks ! {Self, Last - First}.

wait_for_accept(Pid) ->
    case process_info(Pid, status) of
        {status, waiting} ->
            ok;
        _ ->
            erlang:yield(),
            wait_for_accept(Pid)
    end.

accept(Backend, Listener, Left, Pool) ->
    {ok, Socket} = accept(Backend, Listener),
    Now = erlang:monotonic_time(nanosecond),
    ok = close(Backend, Socket),
    case atomics:sub_get(Left, 1, 1) of
        ?WAITING - 1 -> Pool ! {first, Now};
        0 -> Pool ! {last, erlang:monotonic_time(nanosecond)};
        _ -> ok
    end,
    accept(Backend, Listener, Left, Pool).

%% It resets: nothing is left in TIME_WAIT.
client(Port) ->
    {ok, Client} = gen_tcp:connect({127, 0, 0, 1}, Port, [{active, false}, {linger, {true, 0}}]),
    Client.

listen(socket) ->
    {ok, Listener} = socket:open(inet, stream, tcp),
    ok = socket:bind(Listener, #{family => inet, addr => loopback, port => 0}),
    ok = socket:listen(Listener, 2 * ?WAITING),
    {ok, #{port := Port}} = socket:sockname(Listener),
    {Listener, Port};
listen(Backend) ->
    Inet = [{inet_backend, socket} || Backend =:= gen_tcp_socket],
    {ok, Listener} = gen_tcp:listen(0, Inet ++ [{ip, loopback}, {backlog, 2 * ?WAITING}, {active, false}]),
    {ok, Port} = inet:port(Listener),
    {Listener, Port}.

accept(socket, Listener) -> socket:accept(Listener);
accept(_, Listener) -> gen_tcp:accept(Listener).

close(socket, Socket) -> socket:close(Socket);
close(_, Socket) -> gen_tcp:close(Socket).
