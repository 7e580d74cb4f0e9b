%% What is asked of the VM as a whole, in a VM that has many ports: a search that grows with them, where something is new.
-module(bench_ports).

-export([measure/0]).

-export_type([figures/0]).

-type figures() :: #{ports := pos_integer(), longest_ms := non_neg_integer(), calls := [{string(), [pos_integer()], pos_integer()}]}.

%% Connections of this VM to itself, two ports each, as far as there are descriptors.
-define(CONNECTIONS, 10_000).
-define(OTHER_DESCRIPTORS, 200).
%% Half of them opened before the connections and half after: the search does not find all of them early.
-define(LISTENERS, 50).
-define(HELD, 1000).
-define(CALLS, 20).
%% The goals.
-define(WARM_NS, 2_000_000).
-define(COLD_NS, 50_000_000).
-define(HOLDERS_NS, 200_000_000).

%% Each call with how long it took, time after time, and below what it should be, in nanoseconds.
-spec measure() -> figures().
measure() ->
    [Listener | _] = listeners(),
    Connections = [connection(Listener) || _ <- lists:seq(1, min(?CONNECTIONS, (descriptors() - ?OTHER_DESCRIPTORS) div 2))],
    _ = listeners(),
    lists:foreach(fun({Client, _}) -> gen_tcp:close(Client) end, lists:sublist(Connections, ?HELD)),
    ok = wait_for_holders(Listener),
    Ports = erlang:system_info(port_count),
    _ = erlang:system_monitor(self(), [{long_schedule, 1}]),
    List = fun() -> {ok, [_ | _]} = accept_queue:list() end,
    %% Where the application does not run, nothing is remembered.
    ok = application:stop(accept_queue),
    Cold = samples(List),
    ok = application:start(accept_queue),
    List(),
    Warm = samples(List),
    Holders = samples(fun() -> {ok, [_ | _]} = accept_queue:holders(Listener) end),
    _ = erlang:system_monitor(undefined),
    #{
        ports => Ports,
        longest_ms => longest(0),
        calls => [
            {"`list()`, nothing remembered", Cold, ?COLD_NS},
            {"`list()`, nothing new", Warm, ?WARM_NS},
            {"`holders(L)` of 1,000", Holders, ?HOLDERS_NS}
        ]
    }.

listeners() ->
    [listener() || _ <- lists:seq(1, ?LISTENERS div 2)].

listener() ->
    {ok, Listener} = gen_tcp:listen(0, [{ip, loopback}, {backlog, 128}, {active, false}]),
    Listener.

connection(Listener) ->
    {ok, {Ip, Port}} = inet:sockname(Listener),
    {ok, Client} = gen_tcp:connect(Ip, Port, [{active, false}]),
    {ok, Socket} = gen_tcp:accept(Listener),
    {Client, Socket}.

descriptors() ->
    list_to_integer(string:trim(os:cmd("ulimit -n"))).

wait_for_holders(Listener) ->
    case accept_queue:counts(Listener) of
        {ok, #{close_wait := ?HELD}} -> ok;
        {ok, _} -> wait_for_holders(Listener)
    end.

samples(Call) ->
    Turn = bench_rounds:erlang(Call),
    [Turn(1) || _ <- lists:seq(1, ?CALLS)].

%% For how long the VM has seen a process or a port hold a scheduler.
longest(Ms) ->
    receive
        {monitor, _, long_schedule, Details} -> longest(max(Ms, proplists:get_value(timeout, Details)))
    after 0 -> Ms
    end.
