%% Many connections, and many calls while everything changes under them.
-module(accept_queue_load_SUITE).

-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

%% The full minute, unless the environment asks for less.
-define(SECONDS, list_to_integer(os:getenv("ACCEPT_QUEUE_LOAD_SECONDS", "60"))).

%% Accepted sockets inherit it: thousands of them would slow down the dumps of whatever is tested in the next minute.
-define(LEAVE_NO_TIME_WAIT, {linger, {true, 0}}).

-define(CALLERS, 8).
-define(CHURNERS, 3).
-define(LIMIT, 5).

all() ->
    [
        ten_thousand_established_stand_beside_thirty_one_queued,
        calls_while_listeners_come_and_go_leak_nothing_and_say_nothing_wrong
    ].

%% A VM for either end, so that each needs ten thousand descriptors and not twenty.
ten_thousand_established_stand_beside_thirty_one_queued(_) ->
    case os:cmd("ulimit -n 11000") of
        "" ->
            Limits = #{under => other_vm:with_open_files(11000)},
            ten_thousand_beside_thirty_one(other_vm:start(Limits), other_vm:start(Limits));
        Refused ->
            {skip, "ten thousand connections need as many descriptors: " ++ Refused}
    end.

ten_thousand_beside_thirty_one(Server, Clients) ->
    Address = other_vm:call(Server, ?MODULE, listen, [30]),
    %% No more at once than the queue holds, so that nothing is dropped.
    [
        begin
            other_vm:call(Clients, ?MODULE, connect, [25, Address]),
            other_vm:call(Server, ?MODULE, accept, [25])
        end
     || _ <- lists:seq(1, 10000 div 25)
    ],
    becomes(#{queued => 0, established => 10000, oldest_wait_ms => undefined}, Server, Address),
    other_vm:call(Clients, ?MODULE, connect, [31, Address]),
    becomes(
        #{queued => 31, limit => 30, drops => 0, queued_alive => 31, queued_reset => 0, established => 10000},
        Server,
        Address
    ),
    %% The latest first: the 31 that are queued, and 100 that have been accepted.
    other_vm:call(Clients, ?MODULE, leave, [131]),
    becomes(
        #{queued => 31, queued_alive => 0, queued_closed => 31, established => 9900, close_wait => 100},
        Server,
        Address
    ),
    ?assertEqual({ok, #{queued => 31, limit => 30, drops => 0}}, other_vm:call(Server, ?MODULE, depth, [])),
    other_vm:stop(Server),
    other_vm:stop(Clients).

becomes(Figures, Server, Address) ->
    Counts = fun() -> other_vm:call(Server, ?MODULE, counts, []) end,
    eventually:is(Figures, fun() -> maps:with(maps:keys(Figures), Counts()) end),
    ss:agrees(Address, Counts).

%% In the other VMs, whose process dictionary keeps the sockets from one call to the next.

listen(Backlog) ->
    L = sockets:listen(Backlog, [?LEAVE_NO_TIME_WAIT]),
    put(listener, L),
    sockets:address(L).

accept(Count) ->
    [{ok, _} = gen_tcp:accept(get(listener), 10000) || _ <- lists:seq(1, Count)],
    ok.

connect(Count, Address) ->
    Earlier =
        case get(clients) of
            undefined -> [];
            Clients -> Clients
        end,
    put(clients, sockets:clients(Count, Address) ++ Earlier),
    ok.

leave(Count) ->
    lists:foreach(fun sockets:close/1, lists:sublist(get(clients), Count)).

counts() ->
    {ok, Counts} = accept_queue:counts(get(listener)),
    Counts.

depth() ->
    accept_queue:depth(get(listener)).

%% The first tenth warms up: caches fill, the allocators find their sizes.
calls_while_listeners_come_and_go_leak_nothing_and_say_nothing_wrong(_) ->
    Vm = other_vm:start(),
    _ = other_vm:call(Vm, ?MODULE, calls_in_a_changing_world, [1000 * ?SECONDS div 10]),
    Before = other_vm:call(Vm, ?MODULE, usage, []),
    {Calls, Answers} = other_vm:call(Vm, ?MODULE, calls_in_a_changing_world, [1000 * ?SECONDS * 9 div 10]),
    eventually:is(maps:get(descriptors, Before), fun() ->
        maps:get(descriptors, other_vm:call(Vm, ?MODULE, usage, []))
    end),
    After = other_vm:call(Vm, ?MODULE, usage, []),
    ct:log("~b calls~nanswers ~p~nbefore ~p~nafter ~p", [Calls, Answers, Before, After]),
    ?assertEqual([], [Answer || {{wrong, Answer}, _} <- maps:to_list(Answers)]),
    Met = [depth, counts, {counts, in_motion}, open, list, {depth, closed}, {counts, closed}, {open, closed}],
    ?assertEqual([], Met -- maps:keys(Answers), "each call has met listeners that were open and such as were not"),
    %% The smallest thing that a call could leave behind in Erlang is a word; nearly every one opens a handle, which is
    %% more than 64 bytes of native memory.
    %% A short run, or one on a busy machine, has made fewer calls than drown what the VM itself allocates now and then.
    Weight = max(Calls, 50_000),
    [
        ?assert(maps:get(Kind, After) - maps:get(Kind, Before) < Bytes * Weight, Kind)
     || {Kind, Bytes} <- [{allocated, 8}, {resident, 64}]
    ],
    other_vm:stop(Vm).

%% After a reading that succeeds: one that fails lets go of the netlink socket that is kept from one to the next.
usage() ->
    L = sockets:listen(1),
    {ok, _} = accept_queue:counts(L),
    ok = gen_tcp:close(L),
    #{
        allocated => vm_usage:allocated_bytes(),
        resident => vm_usage:resident_bytes(),
        descriptors => length(vm_usage:descriptors())
    }.

%% Processes that call and processes that change what the calls are about, until the time is over: how many calls there
%% were, and how often each kind of answer.
calls_in_a_changing_world(Ms) ->
    Until = erlang:monotonic_time(millisecond) + Ms,
    Listeners = ets:new(listeners, [public, {read_concurrency, true}]),
    Workers =
        [spawn_monitor(fun() -> churn(Listeners, Slot, Until) end) || Slot <- lists:seq(1, ?CHURNERS)] ++
            [spawn_monitor(fun() -> exit({answers, call(Listeners, Until, #{})}) end) || _ <- lists:seq(1, ?CALLERS)],
    Answers = lists:foldl(
        fun({Pid, Monitor}, Sum) ->
            receive
                {'DOWN', Monitor, process, Pid, normal} -> Sum;
                {'DOWN', Monitor, process, Pid, {answers, Answers}} -> add(Answers, Sum);
                {'DOWN', Monitor, process, Pid, Crash} -> error(Crash)
            end
        end,
        #{},
        Workers
    ),
    true = ets:delete(Listeners),
    {lists:sum(maps:values(Answers)), Answers}.

add(Answers, Sum) ->
    maps:fold(fun(Answer, Count, So) -> maps:update_with(Answer, fun(N) -> N + Count end, Count, So) end, Sum, Answers).

%% A listener's life, again and again: clients come, some are accepted, all close; none resets. Callers find it under
%% its slot, as a socket and as a handle, until the next one has taken the slot.
churn(Listeners, Slot, Until) ->
    L = sockets:listen(?LIMIT, [?LEAVE_NO_TIME_WAIT]),
    {ok, Handle} = accept_queue:open(L),
    true = ets:insert(Listeners, {Slot, L, Handle}),
    [Closes | Others] = sockets:clients(?LIMIT, sockets:address(L)),
    sockets:close(Closes),
    Accepted = [gen_tcp:accept(L, 60000) || _ <- lists:seq(1, 3)],
    More = sockets:clients(3, sockets:address(L)),
    [gen_tcp:close(Socket) || {ok, Socket} <- Accepted],
    lists:foreach(fun sockets:close/1, Others ++ More),
    gen_tcp:close(L),
    case erlang:monotonic_time(millisecond) < Until of
        true -> churn(Listeners, Slot, Until);
        false -> ok
    end.

call(Listeners, Until, Answers) ->
    Called =
        case ets:lookup(Listeners, rand:uniform(?CHURNERS)) of
            [{_, L, Handle}] -> [one_call(rand:uniform(10), Thing) || Thing <- [L, Handle]];
            [] -> []
        end,
    Counted = lists:foldl(fun(Answer, So) -> add(#{Answer => 1}, So) end, Answers, Called),
    case erlang:monotonic_time(millisecond) < Until of
        true -> call(Listeners, Until, Counted);
        false -> Counted
    end.

%% The kind of an answer that may be, or the whole of one that must not be.
one_call(1, _) ->
    case accept_queue:list() of
        {ok, Listed} when length(Listed) =< ?CHURNERS -> list;
        Answer -> {wrong, {list, Answer}}
    end;
one_call(N, L) when N < 5 ->
    case accept_queue:counts(L) of
        {error, closed} -> {counts, closed};
        {ok, Counts} -> judge(Counts)
    end;
one_call(N, L) when N < 7 ->
    case accept_queue:open(L) of
        {error, closed} -> {open, closed};
        {ok, Handle} when is_reference(Handle) -> open;
        Answer -> {wrong, {open, Answer}}
    end;
one_call(_, L) ->
    case accept_queue:depth(L) of
        {error, closed} -> {depth, closed};
        {ok, #{queued := Queued, limit := ?LIMIT}} when Queued =< ?LIMIT + 1 -> depth;
        Answer -> {wrong, {depth, Answer}}
    end.

%% The kernel's figures are not of one instant: a client that has come since the walk began may have its row and
%% not yet its place, or, where another has been accepted, its place and no row that the walk has met. A FIN counts as a byte
%% for a moment before the state changes (`tcp_fin' comes after the count). Drops are not bounded: a listener drops also
%% what comes late for its predecessor on the port.
judge(#{queued := Queued, queued_alive := Alive, queued_closed := Closed, queued_reset := Reset} = Counts) ->
    Fixed = #{limit => ?LIMIT, sockets => 1},
    Bounded = [maps:get(Key, Counts) || Key <- [queued, syn_recv, queued_reset, queued_bytes]],
    Sane =
        maps:with(maps:keys(Fixed), Counts) =:= Fixed andalso
            lists:all(fun(Figure) -> Figure =< ?LIMIT + 1 end, Bounded) andalso
            Reset =:= max(0, Queued - Alive - Closed),
    case Queued of
        _ when not Sane -> {wrong, {counts, Counts}};
        _ when Queued =:= Alive + Closed, Reset =:= 0 -> counts;
        _ -> {counts, in_motion}
    end.
