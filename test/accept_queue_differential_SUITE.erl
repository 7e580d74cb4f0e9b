%% Ten thousand random steps: clients connect, send, close and reset, connections are accepted and closed, backlogs change, listeners
%% close and open again. After each step every figure is what the model in this module says; after each tenth and at the end of a
%% script also what `ss' says.
%%
%% The model knows what the kernel does and nothing of how `accept_queue' reads it. Only to which member of a SO_REUSEPORT group a
%% client is sent it cannot know, and asks TCP_INFO of each.
%%
%% A script is a list of steps that name their subjects by numbers modulo what there is, so that each part of a script is a script:
%% PropEr makes them, and prints the smallest one that fails.
-module(accept_queue_differential_SUITE).

-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

-define(STEPS, list_to_integer(os:getenv("ACCEPT_QUEUE_STEPS", "10000"))).
-define(SCRIPT_MAX, 300).
-define(SCRIPTS, 10).
-define(SS_EACH, 10).
-define(BACKLOG, 5).
-define(MEMBERS, 3).
%% include/uapi/asm-generic/socket.h: SO_REUSEPORT, SO_MEMINFO.
-define(SO_REUSEPORT, {raw, 1, 15, <<1:32/native>>}).
-define(SO_MEMINFO, {raw, 1, 55, 36}).
-define(TCP_INFO, {raw, 6, 11, 104}).
%% Ages have the resolution of a jiffy.
-define(JIFFIES_MS, 20).

suite() ->
    [{timetrap, {minutes, 15}}].

all() ->
    [every_figure_is_that_of_a_model_and_of_ss].

init_per_suite(Config) ->
    case code:ensure_loaded(proper) of
        {module, proper} -> Config;
        {error, _} -> {skip, "PropEr is not installed here; Debian has it as erlang-proper"}
    end.

end_per_suite(_Config) ->
    ok.

%% In a network of its own: a SYN that another suite's client sends again, to a port that was another listener's, is a drop that the model
%% knows nothing of.
every_figure_is_that_of_a_model_and_of_ss(_) ->
    other_vm:with_own_network(fun(Vm) -> {comment, other_vm:call(Vm, ?MODULE, agree, [])} end).

agree() ->
    %% What the figures mean is another matter.
    ok = application:set_env(accept_queue, watch, none),
    {ok, _} = application:ensure_all_started(accept_queue),
    Begun = erlang:monotonic_time(millisecond),
    put(done, #{}),
    Scripts = scripts(0),
    lists:flatten(io_lib:format("~b scripts in ~b ms: ~p", [Scripts, erlang:monotonic_time(millisecond) - Begun, get(done)])).

scripts(Before) ->
    Options = [?SCRIPTS, quiet, {start_size, ?SCRIPT_MAX}, {max_size, ?SCRIPT_MAX}, {max_shrinks, 40}],
    case proper:quickcheck(proper:forall(script(), fun holds/1), Options) of
        true ->
            case lists:sum(maps:values(maps:remove(nothing, get(done)))) >= ?STEPS of
                true -> Before + ?SCRIPTS;
                false -> scripts(Before + ?SCRIPTS)
            end;
        _ ->
            error({does_not_hold, erase(failure)})
    end.

%% A smaller one that fails is looked for during a minute and a half: each of them waits for its deadline.
holds(Script) ->
    case get(failed_at) of
        undefined -> has_held(Script);
        FailedAt -> erlang:monotonic_time(millisecond) - FailedAt > 90_000 orelse has_held(Script)
    end.

has_held(Script) ->
    World = open(),
    try
        put(world, World),
        {_, Last} = lists:foldl(fun(Step, {Nth, So}) -> {Nth + 1, step(Nth, Step, So)} end, {1, World}, Script),
        lists:foreach(fun(Kind) -> agrees(Kind, Last) end, kinds()),
        true
    catch
        Class:Reason:Stack ->
            %% The last that fails is the smallest.
            put(failure, {Script, Class, Reason, Stack}),
            _ = [put(failed_at, now_ms()) || get(failed_at) =:= undefined],
            false
    after
        close(get(world))
    end.

%% Scripts.

script() ->
    proper_types:list(step()).

step() ->
    Kind = proper_types:oneof(kinds()),
    Which = proper_types:integer(0, 20),
    proper_types:frequency([
        {14, {connect, Kind, Which}},
        {3, {send, Kind, Which, proper_types:integer(1, 1000)}},
        {3, {close, Kind, Which}},
        {3, {reset, Kind, Which}},
        {5, {accept, Kind, Which}},
        {2, {hang_up, Kind, Which}},
        {1, {resize, Kind, Which, proper_types:integer(0, 8)}},
        {1, {reopen, Kind, Which}}
    ]).

kinds() ->
    [v4, v6, dual, group, unix].

%% The world: listeners by their kind, each with its sockets (`members') and their queues, the oldest first, and with its accepted
%% connections. The process keeps the last one, so that everything is closed in the end.

open() ->
    maps:from_list([{Kind, open(Kind)} || Kind <- kinds()]).

open(group) ->
    First = member(group, sockets:lasting_port()),
    {_, Port} = Address = address(group, First),
    #{address => Address, members => [First | [member(group, Port) || _ <- lists:seq(2, ?MEMBERS)]], accepted => []};
open(unix) ->
    Path = iolist_to_binary(["/tmp/accept_queue_", os:getpid(), "_", integer_to_list(erlang:unique_integer([positive]))]),
    #{address => {local, Path}, members => [member(unix, Path)], accepted => []};
open(Kind) ->
    Member = member(Kind, sockets:lasting_port()),
    #{address => address(Kind, Member), members => [Member], accepted => []}.

member(unix, Path) ->
    opened(kinds:listen(gen_tcp, ?BACKLOG, #{family => local, path => Path}));
member(Kind, Port) ->
    %% What is accepted inherits it: no connection stays in TIME_WAIT.
    Options = [{port, Port}, {reuseaddr, true}, {linger, {true, 0}} | options(Kind)],
    opened(sockets:listen(?BACKLOG, Options)).

opened(Socket) ->
    #{socket => Socket, limit => ?BACKLOG, drops => 0, queue => []}.

options(v4) -> [];
options(group) -> [?SO_REUSEPORT];
options(v6) -> [inet6, {ip, {0, 0, 0, 0, 0, 0, 0, 1}}];
options(dual) -> [inet6, {ip, {0, 0, 0, 0, 0, 0, 0, 0}}, {ipv6_v6only, false}].

%% As accept_queue prints it.
address(_, #{socket := Socket}) ->
    {ok, Address} = inet:sockname(Socket),
    Address.

%% Where a client may go.
ways(unix, Address) -> [Address];
ways(dual, {_, Port}) -> [{{127, 0, 0, 1}, Port}, {{0, 0, 0, 0, 0, 0, 0, 1}, Port}];
ways(_, Address) -> [Address].

close(World) ->
    maps:foreach(
        fun(_, #{address := Address, members := Members, accepted := Accepted}) ->
            [begin ok = gen_tcp:close(Socket), [socket:close(S) || #{client := S} <- Queue] end || #{socket := Socket, queue := Queue} <- Members],
            [begin _ = gen_tcp:close(Server), socket:close(S) end || #{server := Server, client := S} <- Accepted],
            [ok = file:delete(Path) || {local, Path} <- [Address]]
        end,
        World
    ).

%% Steps.

step(Nth, Step, World) ->
    Kind = element(2, Step),
    Before = maps:get(Kind, World),
    {Did, After} = take(Step, Before),
    Next = World#{Kind := After},
    put(world, Next),
    put(done, maps:update_with(Did, fun(N) -> N + 1 end, 1, get(done))),
    is_as_modelled(Kind, After),
    _ = [agrees(Kind, Next) || Nth rem ?SS_EACH =:= 0],
    Next.

%% What it did, which is nothing where it has no subject, and the listener after it.
take({connect, unix, _}, #{address := Address, members := [#{limit := Limit, queue := Queue} = Member]} = Listener) ->
    Client = sockets:new(Address),
    case socket:connect(Client, sockets:peer(Address), nowait) of
        ok when length(Queue) =< Limit ->
            {connect, Listener#{members := [Member#{queue := Queue ++ [client(Client, now_ms())]}]}};
        %% No SYN, no drop: a client would wait in connect.
        Refused when Refused =/= ok, length(Queue) > Limit ->
            _ = socket:close(Client),
            {overflow, Listener}
    end;
take({connect, Kind, Which}, #{address := Address, members := Members} = Listener) ->
    Begun = now_ms(),
    Client = sockets:dial(picked(Which, ways(Kind, Address))),
    {What, Nth} = eventually:agree(fun() -> arrival(Members) end, fun() -> once_more(arrival(Members)) end),
    #{limit := Limit, queue := Queue, drops := Drops} = Member = lists:nth(Nth, Members),
    ?assertEqual(case length(Queue) > Limit of true -> dropped; false -> queued end, What),
    case What of
        queued ->
            ok = receive {'$socket', Client, select, _} -> socket:connect(Client) after 5000 -> not_connected end,
            {connect, with_member(Nth, Member#{queue := Queue ++ [client(Client, Begun)]}, Listener)};
        dropped ->
            ok = socket:close(Client),
            receive {'$socket', Client, abort, _} -> ok after 5000 -> ct:fail(still_connecting) end,
            {overflow, with_member(Nth, Member#{drops := Drops + 1}, Listener)}
    end;
take({send, Kind, Which, Bytes}, Listener) ->
    case pick(Which, [Place || {_, _, #{state := alive}} = Place <- queued(Listener)]) of
        {Nth, Id, #{client := Socket, bytes := Sent} = Client} when Kind =/= unix ->
            ok = sockets:send(Socket, binary:copy(<<"x">>, Bytes)),
            {send, with_client(Nth, Id, Client#{bytes := Sent + Bytes}, Listener)};
        _ ->
            {nothing, Listener}
    end;
take({Leaves, Kind, Which}, #{accepted := Accepted} = Listener) when Leaves =:= close; Leaves =:= reset ->
    Queued = [Place || {_, _, #{state := alive}} = Place <- queued(Listener)],
    Others = [One || #{state := alive} = One <- Accepted],
    Left = case {Leaves, Kind} of {reset, unix} -> closed; {reset, _} -> reset; {close, _} -> closed end,
    case pick(Which, Queued ++ Others) of
        none ->
            {nothing, Listener};
        {Nth, Id, #{client := Socket} = Client} ->
            ok = sockets:Leaves(Socket),
            {Leaves, with_client(Nth, Id, Client#{state := Left}, Listener)};
        #{client := Socket, server := Server} = One ->
            ok = sockets:Leaves(Socket),
            %% A connection that was reset has no row any more.
            Remains = [One#{state := closed} || Left =:= closed],
            _ = [gen_tcp:close(Server) || Left =:= reset],
            {Leaves, Listener#{accepted := Remains ++ lists:delete(One, Accepted)}}
    end;
take({accept, Kind, Which}, #{members := Members, accepted := Accepted} = Listener) ->
    Waiting = [Nth || {Nth, #{queue := [_ | _]}} <- lists:zip(lists:seq(1, length(Members)), Members)],
    case pick(Which, Waiting) of
        none ->
            {nothing, Listener};
        Nth ->
            #{socket := Socket, queue := [#{state := State, client := Peer} = Client | Queue]} = Member = lists:nth(Nth, Members),
            Next = with_member(Nth, Member#{queue := Queue}, Listener),
            case gen_tcp:accept(Socket, 60000) of
                {ok, Server} when State =:= reset ->
                    ok = gen_tcp:close(Server),
                    {accept, Next};
                {error, Reason} when State =:= reset, Reason =/= timeout ->
                    {accept, Next};
                {ok, Server} ->
                    %% The oldest first.
                    _ = [?assertEqual(port(Client), element(2, element(2, inet:peername(Server)))) || Kind =/= unix],
                    {accept, Next#{accepted := [#{server => Server, client => Peer, state => State} | Accepted]}}
            end
    end;
take({hang_up, _, Which}, #{accepted := Accepted} = Listener) ->
    case pick(Which, Accepted) of
        none ->
            {nothing, Listener};
        #{server := Server, client := Socket} = One ->
            ok = gen_tcp:close(Server),
            %% Where the client has closed it is closed already.
            _ = socket:close(Socket),
            {hang_up, Listener#{accepted := lists:delete(One, Accepted)}}
    end;
take({resize, _, Which, Limit}, #{members := Members} = Listener) ->
    Nth = 1 + Which rem length(Members),
    #{socket := Socket} = Member = lists:nth(Nth, Members),
    ?assertEqual({ok, #{requested => Limit, limit => Limit}}, accept_queue:resize(Socket, Limit)),
    {resize, with_member(Nth, Member#{limit := Limit}, Listener)};
take({reopen, Kind, Which}, #{address := Address, members := Members, accepted := Accepted} = Listener) ->
    Nth = 1 + Which rem length(Members),
    #{socket := Socket, queue := Queue} = lists:nth(Nth, Members),
    ok = gen_tcp:close(Socket),
    [socket:close(Client) || #{client := Client} <- Queue],
    Where = case Address of {local, Path} -> ok = file:delete(Path), Path; {_, Port} -> Port end,
    Opened = with_member(Nth, member(Kind, Where), Listener),
    %% The port goes on, and so do its connections. Another file of the same name is another one.
    case Kind of
        unix ->
            [begin ok = gen_tcp:close(Server), socket:close(Client) end || #{server := Server, client := Client} <- Accepted],
            {reopen, Opened#{accepted := []}};
        _ ->
            {reopen, Opened}
    end.

client(Socket, Begun) ->
    Port = case socket:sockname(Socket) of {ok, #{port := Own}} -> Own; {ok, _} -> none end,
    #{client => Socket, port => Port, state => alive, bytes => 0, begun => Begun, connected => now_ms()}.

port(#{port := Port}) -> Port.

%% At which of them the client has arrived, asked of the kernel by the test itself.
arrival(Members) ->
    Arrived = [
        {What, Nth}
     || {Nth, #{socket := Socket, queue := Queue, drops := Drops}} <- lists:zip(lists:seq(1, length(Members)), Members),
        {What, true} <- [{queued, kernel_queued(Socket) > length(Queue)}, {dropped, kernel_drops(Socket) > Drops}]
    ],
    case Arrived of
        [One] -> One;
        Other -> {nowhere, Other}
    end.

once_more({nowhere, _}) -> nowhere_yet;
once_more(Arrival) -> Arrival.

kernel_queued(Socket) ->
    {ok, [{raw, 6, 11, <<_:24/binary, Unacked:32/native, _/binary>>}]} = inet:getopts(Socket, [?TCP_INFO]),
    Unacked.

kernel_drops(Socket) ->
    {ok, [{raw, 1, 55, <<_:32/binary, Drops:32/native>>}]} = inet:getopts(Socket, [?SO_MEMINFO]),
    Drops.

queued(#{members := Members}) ->
    [
        {Nth, Id, Client}
     || {Nth, #{queue := Queue}} <- lists:zip(lists:seq(1, length(Members)), Members),
        {Id, Client} <- lists:zip(lists:seq(1, length(Queue)), Queue)
    ].

with_client(Nth, Id, Client, #{members := Members} = Listener) ->
    #{queue := Queue} = Member = lists:nth(Nth, Members),
    with_member(Nth, Member#{queue := replaced(Id, Client, Queue)}, Listener).

with_member(Nth, Member, #{members := Members} = Listener) ->
    Listener#{members := replaced(Nth, Member, Members)}.

replaced(Nth, New, List) ->
    {Before, [_ | After]} = lists:split(Nth - 1, List),
    Before ++ [New | After].

pick(_, []) -> none;
pick(Which, List) -> picked(Which, List).

picked(Which, List) -> lists:nth(1 + Which rem length(List), List).

%% Figures.

%% The kernel may not be through with the last step yet.
is_as_modelled(Kind, #{address := Address, members := Members} = Listener) ->
    Figures = figures(Kind, Listener),
    eventually:is({Figures, true}, fun() ->
        Before = now_ms(),
        {ok, #{oldest_wait_ms := Oldest} = Counts} = accept_queue:counts(Address),
        {maps:with(maps:keys(Figures), Counts), has_waited(Oldest, Kind, Before, Listener)}
    end),
    ?assertEqual(maps:with([queued, limit, drops], Figures), depth(Address)),
    [?assertEqual(depth(Kind, Member), depth(Socket)) || #{socket := Socket} = Member <- Members].

figures(Kind, #{members := Members, accepted := Accepted} = Listener) ->
    Queued = [Client || {_, _, Client} <- queued(Listener)],
    In = fun(State, List) -> length([One || #{state := So} = One <- List, So =:= State]) end,
    Sum = fun(Key) -> lists:sum([maps:get(Key, Member) || Member <- Members]) end,
    Tcp = #{
        drops => Sum(drops),
        syn_recv => 0,
        queued_bytes => lists:sum([Bytes || #{bytes := Bytes, state := State} <- Queued, State =/= reset])
    },
    Of = case Kind of unix -> maps:map(fun(_, _) -> undefined end, Tcp); _ -> Tcp end,
    Of#{
        queued => length(Queued),
        limit => Sum(limit),
        queued_alive => In(alive, Queued),
        queued_closed => In(closed, Queued),
        queued_reset => In(reset, Queued),
        established => In(alive, Accepted),
        close_wait => In(closed, Accepted),
        sockets => length(Members)
    }.

depth(Listener) ->
    {ok, Depth} = accept_queue:depth(Listener),
    maps:with([queued, limit, drops], Depth).

depth(unix, #{queue := Queue, limit := Limit}) -> #{queued => length(Queue), limit => Limit, drops => undefined};
depth(_, #{queue := Queue, limit := Limit, drops := Drops}) -> #{queued => length(Queue), limit => Limit, drops => Drops}.

%% An age that the model can bound: from when the client began to connect, to when it had.
has_waited(undefined, unix, _, _) ->
    true;
has_waited(Oldest, _, Before, Listener) ->
    case [Client || {_, _, #{state := State} = Client} <- queued(Listener), State =/= reset] of
        [] ->
            Oldest =:= undefined;
        With ->
            AtLeast = lists:max([Before - Connected || #{connected := Connected} <- With]) - ?JIFFIES_MS,
            AtMost = lists:max([now_ms() - Begun || #{begun := Begun} <- With]) + ?JIFFIES_MS,
            is_integer(Oldest) andalso AtLeast =< Oldest andalso Oldest =< AtMost
    end.

agrees(Kind, World) ->
    #{address := Address, members := Members} = maps:get(Kind, World),
    {ok, All} = accept_queue:list(),
    ?assertEqual(
        lists:sort([(depth(Kind, Member))#{socket => Socket} || #{socket := Socket} = Member <- Members]),
        lists:sort([maps:with([queued, limit, drops, socket], One) || #{address := At} = One <- All, At =:= Address])
    ),
    agrees_with_ss(Address, [maps:with([cookie, inode, queued, limit, drops], One) || #{address := At} = One <- All, At =:= Address]).

agrees_with_ss({local, Path} = Address, _) ->
    ?assertEqual(depth(Address), maps:put(drops, undefined, ss:unix_depth(Path)));
agrees_with_ss(Address, Listed) ->
    Listeners = ss:agrees(Address, fun() -> element(2, {ok, _} = accept_queue:counts(Address)) end),
    ?assertEqual(lists:sort(Listed), lists:sort(Listeners)).

now_ms() ->
    erlang:monotonic_time(millisecond).
