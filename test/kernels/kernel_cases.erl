%% The library on the kernel of a guest: a line on standard output for each case, as init prints them.
-module(kernel_cases).

-export([run/1, listens/1]).

-include_lib("stdlib/include/assert.hrl").

-define(QUICK, #{interval_ms => 50, for_ms => 500, stuck_ms => 1500, clear_ms => 700, census_ms => 500}).
-define(DEADLINE_MS, 30000).

run([Phase]) ->
    {ok, _} = application:ensure_all_started(accept_queue),
    Has = Phase =:= "with",
    Failed = [Name || {Name, Case} <- cases(), not holds(Phase, Name, fun() -> Case(Has) end)],
    halt(length(Failed)).

holds(Phase, Name, Case) ->
    {_, Monitor} = spawn_monitor(fun() -> exit({shown, Case()}) end),
    receive
        {'DOWN', Monitor, process, _, {shown, Shown}} ->
            io:format("case ~s erlang.~s ok ~0tp~n", [Phase, Name, Shown]),
            true;
        {'DOWN', Monitor, process, _, Reason} ->
            io:format("case ~s erlang.~s failed: ~0tp~n", [Phase, Name, Reason]),
            false
    after 2 * ?DEADLINE_MS ->
        io:format("case ~s erlang.~s failed: no end~n", [Phase, Name]),
        false
    end.

cases() ->
    [
        {loaded, fun loaded/1},
        {depth, fun depth/1},
        {counts, fun counts/1},
        {list, fun list/1},
        {open, fun open/1},
        {unix, fun unix/1},
        {namespace, fun namespace/1},
        {wait, fun wait/1},
        {kernel, fun kernel/1},
        {stuck, fun stuck/1}
    ].

loaded(_) ->
    undefined = accept_queue_nif:load_error(),
    nif.

depth(_) ->
    L = sockets:listen(2),
    Address = sockets:address(L),
    _Inside = sockets:clients(3, Address),
    {ok, #{queued := 3, limit := 2, drops := 0}} = accept_queue:depth(L),
    _Outside = sockets:dial(Address),
    eventually:is(true, fun() ->
        {ok, #{queued := 3, drops := Drops}} = accept_queue:depth(L),
        Drops >= 1
    end),
    dropped.

%% One stays, one closes, one resets.
counts(Has) ->
    L = sockets:listen(5),
    [_Stays, Closes, Resets] = sockets:clients(3, sockets:address(L)),
    ok = sockets:close(Closes),
    ok = sockets:reset(Resets),
    case Has of
        false ->
            {error, unsupported} = accept_queue:counts(L);
        true ->
            Read = fun() ->
                {ok, Counts} = accept_queue:counts(L),
                maps:with([queued, queued_alive, queued_closed, queued_reset, limit, drops], Counts)
            end,
            Expected = #{queued => 3, queued_alive => 1, queued_closed => 1, queued_reset => 1, limit => 5, drops => 0},
            eventually:is(Expected, Read),
            Expected
    end.

list(_) ->
    L = sockets:listen(5),
    {_, Port} = Address = sockets:address(L),
    _Clients = sockets:clients(2, Address),
    {ok, Listed} = accept_queue:list(),
    [#{queued := 2, limit := 5, drops := 0}] = [Row || #{address := {_, At}} = Row <- Listed, At =:= Port],
    length(Listed).

open(_) ->
    L = sockets:listen(5),
    {ok, Handle} = accept_queue:open(L),
    _Client = sockets:client(sockets:address(L)),
    {ok, #{queued := 1, limit := 5}} = accept_queue:depth(Handle),
    ok = gen_tcp:close(L),
    {error, closed} = accept_queue:depth(Handle).

%% The kernel has no getsockopt for it.
unix(Has) ->
    {ok, L} = gen_tcp:listen(0, [{ifaddr, {local, "/tmp/kernel_cases"}}, {backlog, 5}]),
    _Client = sockets:client({local, "/tmp/kernel_cases"}),
    Answer = accept_queue:depth(L),
    ok = file:delete("/tmp/kernel_cases"),
    case Has of
        false -> {error, unsupported} = Answer;
        true -> {ok, #{queued := 1, limit := 5}} = Answer
    end.

%% In another network namespace: before Linux 5.14 it is found in another way (SIOCGSKNS).
namespace(Has) ->
    "" = os:cmd("/usr/sbin/ip netns add there && /usr/sbin/ip -n there link set lo up"),
    There = "/var/run/netns/there",
    L = sockets:listen(5, [{netns, There}]),
    _Client = sockets:client(sockets:address(L), #{netns => There}),
    {ok, #{queued := 1, limit := 5}} = accept_queue:depth(L),
    Counts = accept_queue:counts(L),
    "" = os:cmd("/usr/sbin/ip netns delete there"),
    case Has of
        false -> {error, unsupported} = Counts;
        true -> {ok, #{queued := 1, queued_alive := 1}} = Counts, counted
    end.

%% A connection that has waited: TCP_INFO of its own.
wait(_) ->
    L = sockets:listen(5),
    Client = sockets:client(sockets:address(L)),
    timer:sleep(300),
    {ok, Accepted} = gen_tcp:accept(L, ?DEADLINE_MS),
    {ok, Waited} = accept_queue:wait_ms(Accepted),
    ?assert(Waited >= 250),
    {ok, false} = accept_queue:peer_closed(Accepted),
    ok = sockets:close(Client),
    eventually:is({ok, true}, fun() -> accept_queue:peer_closed(Accepted) end),
    waited.

%% Which figures this kernel has.
kernel(_) ->
    {ok, Kernel} = accept_queue:kernel(),
    #{listen_overflows := Overflows, somaxconn := Limit} = Kernel,
    ?assert(is_integer(Overflows) andalso is_integer(Limit)),
    #{somaxconn => Limit, undefined => [Key || {Key, undefined} <- maps:to_list(Kernel)]}.

stuck(_) ->
    ok = accept_queue:subscribe(),
    L = sockets:listen(8),
    Address = sockets:address(L),
    ok = accept_queue:watch(L, ?QUICK),
    Clients = sockets:clients(3, Address),
    #{queued := 3, limit := 8} = event({raised, stuck}, Address),
    {failing, _} = accept_queue:health(L),
    [{ok, _} = gen_tcp:accept(L, ?DEADLINE_MS) || _ <- Clients],
    #{duration_ms := Ms} = event({cleared, stuck}, Address),
    eventually:is(ok, fun() -> accept_queue:health(L) end),
    ?assert(Ms >= 1500),
    raised_and_cleared.

event({Kind, Condition}, Address) ->
    receive
        {accept_queue, Kind, Condition, #{address := Address} = Details} -> Details
    after ?DEADLINE_MS -> error({no_event, Kind, Condition, process_info(self(), messages)})
    end.

%% For the program: 3 of 4 wait, and no process accepts. The file says that they do, with the pid.
listens([File]) ->
    L = sockets:listen(4, [{port, 8080}]),
    _Clients = sockets:clients(3, sockets:address(L)),
    ok = file:write_file(File ++ ".new", os:getpid()),
    ok = file:rename(File ++ ".new", File),
    timer:sleep(infinity).
