%% Single calls: how long they take at the worst, and which schedulers they keep busy.
-module(bench_calls).

-export([tails/0, over_port/0, where/0]).

-define(CALLS, 200_000).
-define(CALLS_OVER_PORT, 20_000).
-define(CALLS_BY_SCHEDULER, 1000).

%% {call, whether it is of the first tier, times}
-spec tails() -> [{string(), first_tier | none, bench_tail:tail()}].
tails() ->
    {Socket, Handle} = listener(),
    Bytes = binary:copy(<<1>>, 600),
    [
        {Name, Kind, tail(?CALLS, Call)}
     || {Name, Kind, Call} <- [
            {"`depth(Handle)`", first_tier, fun() -> {ok, #{}} = accept_queue:depth(Handle) end},
            {"`depth(Socket)`", first_tier, fun() -> {ok, #{}} = accept_queue:depth(Socket) end},
            {"`open(Socket)`", first_tier, fun() -> {ok, _} = accept_queue:open(Socket) end},
            %% Arithmetic that takes as long as the longest call above: what interrupts alone do to the tail here.
            {"`erlang:md5` of 600 bytes", none, fun() -> erlang:md5(Bytes) end},
            {"the clock alone", none, fun() -> ok end}
        ] ++ of_a_connection()
    ].

of_a_connection() ->
    {Socket, Handle} = listener(),
    {ok, Port} = inet:port(Socket),
    {ok, _Client} = gen_tcp:connect({127, 0, 0, 1}, Port, []),
    {ok, Connection} = gen_tcp:accept(Socket),
    {ok, Fd} = inet:getfd(Connection),
    [
        {"`getsockopt(TCP_INFO)` of a connection", first_tier, fun() -> {ok, _} = accept_queue_nif:accepted(Fd) end},
        {"`wait_ms(Connection)`", first_tier, fun() -> {ok, _} = accept_queue:wait_ms(Connection) end},
        {"`accepted(Handle, Connection)`", first_tier, fun() -> {ok, _} = accept_queue:accepted(Handle, Connection) end},
        {"`accepted(Socket, Connection)`", first_tier, fun() -> {ok, _} = accept_queue:accepted(Socket, Connection) end}
    ].

%% The same of the application that is started with `{source, port}'.
-spec over_port() -> [{string(), none, bench_tail:tail()}].
over_port() ->
    {_Socket, Handle} = listener(),
    [
        {"`depth(Handle)`", none, tail(?CALLS_OVER_PORT, fun() -> {ok, #{}} = accept_queue:depth(Handle) end)},
        {"`counts(Handle)`", none, tail(?CALLS_OVER_PORT div 10, fun() -> {ok, #{}} = accept_queue:counts(Handle) end)}
    ].

%% {call, the schedulers that must do the work, nanoseconds by kind of scheduler}
-spec where() -> [{string(), atom(), #{atom() => non_neg_integer()}}].
where() ->
    {Socket, Handle} = listener(),
    [
        {Name, Kind, bench_where:nanoseconds(?CALLS_BY_SCHEDULER, Call)}
     || {Name, Kind, Call} <- [
            {"`depth`", scheduler, fun() -> accept_queue:depth(Handle) end},
            {"`open`", scheduler, fun() -> accept_queue:open(Socket) end},
            {"`counts`", dirty_io_scheduler, fun() -> accept_queue:counts(Handle) end},
            {"the dump of `list`", dirty_io_scheduler, fun accept_queue_nif:listening/0},
            {"`kernel`", dirty_io_scheduler, fun accept_queue:kernel/0}
        ]
    ].

%% It is closed with its owner.
listener() ->
    {ok, Socket} = gen_tcp:listen(0, [{ip, loopback}, {backlog, 128}]),
    {ok, Handle} = accept_queue:open(Socket),
    {Socket, Handle}.

tail(Calls, Call) ->
    Tail = bench_tail:new(),
    ok = bench_tail:add(Tail, Calls, Call),
    Tail.
