%% Who waits in accept, and what the others do instead, with acceptors of every backend and every way to hold them up.
-module(accept_queue_acceptors_SUITE).

-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

-define(POOL, 4).

all() ->
    [
        those_blocked_in_accept_are_listed_for_every_kind_of_listener,
        an_owner_that_accepts_itself_is_among_those_that_wait,
        an_owner_that_does_not_accept_is_not_among_those_that_wait,
        sockets_that_share_an_address_are_answered_together,
        a_pool_is_unknown_until_a_process_has_been_found_in_accept,
        a_pool_is_known_without_a_caller_having_asked,
        looks_go_on_when_their_process_is_killed,
        one_that_accepts_without_blocking_is_of_the_pool,
        a_server_whose_acceptors_become_connections_collects_none,
        a_pool_that_is_held_up_one_by_one_keeps_all,
        a_process_that_is_woken_and_does_not_accept_is_not_in_accept,
        a_process_with_other_messages_is_in_accept,
        the_name_of_a_listener_is_that_of_its_owner_now,
        a_listening_descriptor_that_is_taken_over_is_known,
        each_way_to_be_held_up_is_named,
        a_pool_that_has_been_suspended_is_named,
        a_pool_that_has_exited_is_empty,
        an_acceptor_of_another_listener_is_named,
        a_process_that_runs_is_not_parked,
        a_large_pool_is_listed_in_part_with_its_count,
        acceptors_that_die_while_they_are_read_are_left_out,
        a_listener_that_closes_while_it_is_read_is_closed_and_never_a_crash,
        what_listens_no_more_is_closed,
        what_is_no_listener_is_refused,
        the_socket_inside_ssl_is_found_before_and_after_the_handshake,
        closed_listeners_are_forgotten
    ].

kinds() ->
    #{
        inet => {fun() -> sockets:listen(16) end, fun gen_tcp:accept/1},
        gen_tcp_socket => {fun() -> gen_tcp_socket([]) end, fun gen_tcp:accept/1},
        socket => {fun socket/0, fun socket:accept/1},
        ssl => {fun() -> ssl([{ip, {127, 0, 0, 1}}]) end, fun ssl:transport_accept/1},
        ssl_over_socket => {fun() -> ssl([{inet_backend, socket}]) end, fun ssl:transport_accept/1}
    }.

gen_tcp_socket(Options) ->
    {ok, L} = gen_tcp:listen(0, [{inet_backend, socket}, {ip, {127, 0, 0, 1}} | Options]),
    L.

socket() ->
    socket(0).

socket(Port) ->
    {ok, L} = socket:open(inet, stream, tcp),
    ok = socket:setopt(L, {socket, reuseport}, true),
    ok = socket:bind(L, #{family => inet, addr => loopback, port => Port}),
    ok = socket:listen(L, 16),
    L.

%% Where ssl is given a backend it may be given nothing else for gen_tcp: gen_tcp wants the backend first, and ssl turns the
%% options round (OTP 25).
ssl(Options) ->
    #{server := Certificate} = tls:options(),
    {ok, L} = ssl:listen(0, Options ++ Certificate),
    L.

those_blocked_in_accept_are_listed_for_every_kind_of_listener(_) ->
    [those_blocked_in_accept_are_listed(Kind, Listen(), Accept) || {Kind, {Listen, Accept}} <- maps:to_list(kinds())].

those_blocked_in_accept_are_listed(Kind, L, Accept) ->
    ct:log("~p: ~p", [Kind, L]),
    Address = address(L),
    Pool = pool(fun() -> Accept(L), receive stop -> ok end end),
    eventually:is({?POOL, Pool}, fun() -> waiting(L) end),
    ?assertMatch({ok, #{pool := Pool, busy := [], busy_count := 0}}, accept_queue:acceptors(L)),
    ?assertEqual(?POOL, listed(Address)),
    %% By whatever names the listener.
    {ok, Handle} = accept_queue:open(L),
    eventually:is({?POOL, Pool}, fun() -> waiting(Handle) end),
    eventually:is({?POOL, Pool}, fun() -> waiting(Address) end),
    Client = sockets:client(Address),
    eventually:is(?POOL - 1, fun() -> element(1, waiting(L)) end),
    eventually:is({?POOL, 1, [{?MODULE, waiting}]}, fun() ->
        {ok, #{pool := Known, busy_count := Count, busy := Busy}} = accept_queue:acceptors(L),
        {length(Known), Count, [{Module, So} || #{status := So, current_stacktrace := [{Module, _, _, _} | _]} <- Busy]}
    end),
    {ok, #{waiting := Waiting, busy := [#{pid := Accepted} = Description]}} = accept_queue:acceptors(L),
    ?assertEqual(Pool, lists:sort([Accepted | Waiting])),
    ?assertMatch(
        #{
            status := waiting,
            parked := {'receive', _},
            message_queue_len := _,
            initial_call := {erlang, apply, 2},
            registered_name := undefined,
            label := undefined
        },
        Description
    ),
    sockets:close(Client),
    kill(Pool),
    eventually:is({0, []}, fun() -> waiting(L) end).

an_owner_that_accepts_itself_is_among_those_that_wait(_) ->
    L = socket(),
    {select, Select} = socket:accept(L, nowait),
    ?assertEqual({1, [self()]}, waiting(L)),
    Pool = pool(fun() -> socket:accept(L) end),
    eventually:is({?POOL + 1, lists:sort([self() | Pool])}, fun() -> waiting(L) end),
    ok = socket:cancel(L, Select),
    eventually:is({?POOL, Pool}, fun() -> waiting(L) end),
    kill(Pool).

an_owner_that_does_not_accept_is_not_among_those_that_wait(_) ->
    L = socket(),
    ?assertEqual({0, []}, waiting(L)),
    Pool = pool(fun() -> socket:accept(L) end),
    eventually:is({?POOL, Pool}, fun() -> waiting(L) end),
    kill(Pool).

sockets_that_share_an_address_are_answered_together(_) ->
    %% include/uapi/asm-generic/socket.h
    ReusePort = {raw, 1, 15, <<1:32/native>>},
    One = sockets:listen(5, [ReusePort]),
    {_, Port} = Address = sockets:address(One),
    Two = sockets:listen(5, [ReusePort, {port, Port}]),
    OfOne = pool(fun() -> gen_tcp:accept(One) end),
    OfTwo = pool(fun() -> gen_tcp:accept(Two) end),
    eventually:is({?POOL, OfOne}, fun() -> waiting(One) end),
    eventually:is({2 * ?POOL, lists:sort(OfOne ++ OfTwo)}, fun() -> waiting(Address) end),
    kill(OfOne ++ OfTwo).

a_pool_is_unknown_until_a_process_has_been_found_in_accept(_) ->
    L = sockets:listen(16),
    None = #{waiting_count => 0, waiting => [], pool => undefined, busy => [], busy_count => 0},
    ?assertEqual({ok, None}, accept_queue:acceptors(L)).

each_way_to_be_held_up_is_named(_) ->
    Silent = spawn(fun() -> receive stop -> ok end end),
    #{server := Tls} = tls:options(),
    Ways = #{
        call => fun(_) -> gen_server:call(Silent, anything, infinity) end,
        sleep => fun(_) -> timer:sleep(infinity) end,
        tls_handshake => fun({ok, Connection}) -> ssl:handshake(Connection, Tls) end,
        'receive' => fun(_) -> receive stop -> ok end end
    },
    [
        begin
            {L, Pool} = held_up(Way, [{active, false}]),
            eventually:is(lists:duplicate(?POOL, Id), fun() -> parked(L) end),
            {ok, #{waiting_count := 0, pool := Pool, busy := Busy}} = accept_queue:acceptors(L),
            ?assertEqual(Pool, lists:sort([Pid || #{pid := Pid} <- Busy])),
            [ct:log("~ts", [Text]) || #{parked := {_, Text}} <- Busy],
            Id =:= call andalso [
                ?assertMatch({match, _}, re:run(Text, "to " ++ pid_to_list(Silent)))
             || #{parked := {_, Text}} <- Busy
            ],
            kill(Pool)
        end
     || {Id, Way} <- maps:to_list(Ways)
    ],
    %% And where the acceptor goes on from a socket of ssl.
    {ok, L} = ssl:listen(0, [{ip, {127, 0, 0, 1}} | Tls]),
    Pool = pool(fun() ->
        {ok, Connection} = ssl:transport_accept(L),
        ssl:handshake(Connection)
    end),
    eventually:is({?POOL, Pool}, fun() -> waiting(L) end),
    _ = sockets:clients(?POOL, address(L)),
    eventually:is(lists:duplicate(?POOL, tls_handshake), fun() -> parked(L) end),
    kill([Silent | Pool]).

%% Four that were found in accept, and have each got a connection since.
held_up(Way, Options) ->
    L = sockets:listen(16, Options),
    Pool = pool(fun() -> Way(gen_tcp:accept(L)) end),
    eventually:is({?POOL, Pool}, fun() -> waiting(L) end),
    _ = sockets:clients(?POOL, address(L)),
    eventually:is(0, fun() -> element(1, waiting(L)) end),
    {L, Pool}.

a_pool_that_has_been_suspended_is_named(_) ->
    [
        begin
            L = Listen(),
            Pool = pool(fun() -> Accept(L) end),
            eventually:is({?POOL, Pool}, fun() -> waiting(L) end),
            [true = erlang:suspend_process(Pid) || Pid <- Pool],
            _ = sockets:clients(?POOL, address(L)),
            eventually:is(lists:duplicate(?POOL, suspended), fun() -> parked(L) end),
            kill(Pool)
        end
     || {Kind, {Listen, Accept}} <- maps:to_list(kinds()),
        %% A suspended process of the plain `socket' module stays in accept: it is itself that would take the connection.
        lists:member(Kind, [inet, gen_tcp_socket])
    ].

a_pool_that_has_exited_is_empty(_) ->
    {L, Pool} = held_up(fun(_) -> receive stop -> ok end end, []),
    kill(Pool),
    None = #{waiting_count => 0, waiting => [], pool => [], busy => [], busy_count => 0},
    eventually:is({ok, None}, fun() -> accept_queue:acceptors(L) end).

an_acceptor_of_another_listener_is_named(_) ->
    [
        begin
            Other = Listen(),
            {L, Pool} = held_up(fun(_) -> Accept(Other) end, []),
            eventually:is(lists:duplicate(?POOL, accept), fun() -> parked(L) end),
            kill(Pool)
        end
     || {Listen, Accept} <- maps:values(kinds())
    ].

a_process_that_runs_is_not_parked(_) ->
    {L, Pool} = held_up(fun(_) -> spin() end, []),
    eventually:is(lists:duplicate(?POOL, undefined), fun() -> parked(L) end),
    kill(Pool).

spin() ->
    erlang:yield(),
    spin().

%% Six hundred on each of two sockets, which wait, and then do not.
a_large_pool_is_listed_in_part_with_its_count(_) ->
    One = socket(),
    {_, Port} = Address = address(One),
    Two = socket(Port),
    Pool = [spawn(fun() -> accept_until_stopped(L) end) || L <- [One, Two], _ <- lists:seq(1, 600)],
    eventually:is({1200, lists:sort(Pool)}, fun() -> waiting(Address) end),
    [Pid ! leave || Pid <- Pool],
    eventually:is({0, 1200, 1200, 1000}, fun() ->
        {ok, #{waiting_count := Waiting, pool := Known, busy_count := Count, busy := Busy}} =
            accept_queue:acceptors(Address),
        {Waiting, length(Known), Count, length(Busy)}
    end),
    kill(Pool).

accept_until_stopped(L) ->
    {select, Select} = socket:accept(L, nowait),
    receive leave -> ok = socket:cancel(L, Select) end,
    receive stop -> ok end.

acceptors_that_die_while_they_are_read_are_left_out(_) ->
    [
        begin
            L = Listen(),
            Churn = spawn_link(fun() -> churn(accept_queue_ssl:transport(L), fun() -> Accept(L) end) end),
            Answers = [accept_queue:acceptors(L) || _ <- lists:seq(1, 200)],
            [?assertMatch({ok, #{waiting_count := _, busy := _}}, Answer) || Answer <- Answers],
            %% Some of the answers have a pool: the loop ran.
            ?assert(lists:any(fun({ok, #{pool := Pool}}) -> Pool =/= undefined end, Answers)),
            stop(Churn)
        end
     || {Listen, Accept} <- maps:values(kinds())
    ].

%% Starts acceptors and kills them when they wait, until it gets a message.
churn(Socket, Accept) ->
    Pool = pool(Accept),
    eventually:is(?POOL, fun() -> accept_queue_backend:waiting(Socket) end),
    kill(Pool),
    receive
        {stop, From} -> From ! {stopped, self()}
    after 0 -> churn(Socket, Accept)
    end.

stop(Pid) ->
    Pid ! {stop, self()},
    receive
        {stopped, Pid} -> ok
    end.

a_listener_that_closes_while_it_is_read_is_closed_and_never_a_crash(_) ->
    [
        [
            begin
                Test = self(),
                Owner = spawn(fun() ->
                    Test ! {self(), Listen()},
                    receive stop -> ok end
                end),
                L = receive {Owner, Socket} -> Socket end,
                Pool = pool(fun() -> Accept(L) end),
                exit(Owner, kill),
                case accept_queue:acceptors(L) of
                    {ok, #{waiting_count := _}} -> ok;
                    {error, closed} -> ok
                end,
                eventually:is({error, closed}, fun() -> accept_queue:acceptors(L) end),
                kill(Pool)
            end
         || _ <- lists:seq(1, 25)
        ]
     || {Kind, {Listen, Accept}} <- maps:to_list(kinds()), lists:member(Kind, [inet, gen_tcp_socket, socket])
    ].

what_listens_no_more_is_closed(_) ->
    [
        begin
            L = Listen(),
            {ok, Handle} = accept_queue:open(L),
            close(L),
            ?assertEqual({error, closed}, accept_queue:acceptors(L)),
            ?assertEqual({error, closed}, accept_queue:acceptors(Handle))
        end
     || {Listen, _} <- maps:values(kinds())
    ].

what_is_no_listener_is_refused(_) ->
    ?assertError(badarg, accept_queue:acceptors(no_listener)),
    ?assertError(badarg, accept_queue:acceptors(make_ref())),
    L = sockets:listen(5),
    {ok, Connected} = gen_tcp:connect({127, 0, 0, 1}, element(2, sockets:address(L)), []),
    ?assertEqual({error, not_listening}, accept_queue:acceptors(Connected)),
    ?assertEqual({error, not_found}, accept_queue:acceptors({ranch, missing})),
    gen_tcp:close(L),
    ?assertEqual({error, not_found}, accept_queue:acceptors({port, 1})).

the_socket_inside_ssl_is_found_before_and_after_the_handshake(_) ->
    #{client := ClientOptions} = tls:options(),
    [
        begin
            L = ssl(Backend),
            {Ip, Port} = address(L),
            Test = self(),
            Client = spawn_link(fun() ->
                {ok, Connected} = ssl:connect(Ip, Port, ClientOptions),
                receive close -> ok = ssl:close(Connected) end,
                Test ! {closed, self()}
            end),
            {ok, Before} = ssl:transport_accept(L),
            ?assertMatch({ok, Ms} when is_integer(Ms), accept_queue:wait_ms(Before)),
            {ok, After} = ssl:handshake(Before),
            [?assert(accept_queue_backend:is_socket(accept_queue_ssl:transport(S))) || S <- [L, Before, After]],
            ?assertEqual(accept_queue_ssl:transport(Before), accept_queue_ssl:transport(After)),
            ?assertEqual({error, already_written}, accept_queue:wait_ms(After)),
            ?assertEqual({ok, false}, accept_queue:peer_closed(After)),
            Client ! close,
            receive {closed, Client} -> ok end,
            ok = ssl:close(L)
        end
     || Backend <- [[], [{inet_backend, socket}]]
    ].

closed_listeners_are_forgotten(_) ->
    Listeners = [{L, pool(fun() -> gen_tcp:accept(L) end)} || _ <- lists:seq(1, 20), L <- [sockets:listen(5)]],
    Cookies = [looks:cookie(L) || {L, _} <- Listeners],
    [ok = looks:have_found(L, Pool) || {L, Pool} <- Listeners],
    [gen_tcp:close(L) || {L, _} <- Listeners],
    eventually:is([], fun() -> looks:look(), [Cookie || Cookie <- Cookies, lists:member(Cookie, accept_queue_pool_cache:cookies())] end).

a_pool_is_known_without_a_caller_having_asked(_) ->
    [
        begin
            L = Listen(),
            Pool = pool(fun() -> Accept(L), receive stop -> ok end end),
            ok = looks:find_by_themselves(L, Pool),
            _ = sockets:clients(?POOL, address(L)),
            %% No call before this one.
            eventually:is({0, Pool, ?POOL}, fun() ->
                {ok, #{waiting_count := Waiting, pool := Known, busy_count := Busy}} = accept_queue:acceptors(L),
                {Waiting, Known, Busy}
            end),
            kill(Pool)
        end
     || {Listen, Accept} <- maps:values(kinds())
    ].

looks_go_on_when_their_process_is_killed(_) ->
    Before = whereis(accept_queue_pools),
    exit(Before, kill),
    eventually:is(true, fun() -> not lists:member(whereis(accept_queue_pools), [Before, undefined]) end),
    L = sockets:listen(16),
    Pool = pool(fun() -> gen_tcp:accept(L) end),
    ok = looks:find_by_themselves(L, Pool),
    kill(Pool).

%% As esockd does, on either backend.
one_that_accepts_without_blocking_is_of_the_pool(_) ->
    [
        begin
            L = Listen(),
            Pool = pool(fun() -> Ask(L), receive stop -> ok end end),
            ok = looks:have_found(L, Pool),
            kill(Pool)
        end
     || {Listen, Ask} <- [
            {fun() -> sockets:listen(16) end, fun(L) -> {ok, _} = prim_inet:async_accept(L, -1) end},
            {fun socket/0, fun(L) -> {select, _} = socket:accept(L, nowait) end}
        ]
    ].

%% As mochiweb and elli do: the acceptor asks for its successor, and serves. Fifty connections later four are in accept.
a_server_whose_acceptors_become_connections_collects_none(_) ->
    L = sockets:listen(64),
    Cookie = looks:cookie(L),
    Server = spawn(fun() -> [one_shot(self(), L) || _ <- lists:seq(1, ?POOL)], successors(L) end),
    Connections = fun() -> {ok, #{established := Count}} = accept_queue:counts(L), Count end,
    lists:foreach(
        fun(N) ->
            _ = sockets:clients(?POOL, sockets:address(L)),
            eventually:is(N * ?POOL, Connections),
            eventually:is(?POOL, fun() -> accept_queue_backend:waiting(L) end),
            eventually:is(?POOL, fun() -> looks:look(), length(looks:remembered(Cookie)) end)
        end,
        lists:seq(1, 12)
    ),
    eventually:is(true, fun() -> looks:look(), {?POOL, Pids} = accept_queue_backend:acceptors(L, [], search), lists:sort(Pids) =:= looks:remembered(Cookie) end),
    ?assertMatch({ok, #{busy := [], pool := [_, _, _, _]}}, accept_queue:acceptors(L)),
    exit(Server, kill).

one_shot(Server, L) ->
    spawn_link(fun() ->
        {ok, _} = gen_tcp:accept(L),
        Server ! accepted,
        receive stop -> ok end
    end).

successors(L) ->
    receive accepted -> one_shot(self(), L) end,
    successors(L).

a_pool_that_is_held_up_one_by_one_keeps_all(_) ->
    L = sockets:listen(16),
    Cookie = looks:cookie(L),
    Pool = pool(fun() -> {ok, _} = gen_tcp:accept(L), receive stop -> ok end end),
    ok = looks:have_found(L, Pool),
    [
        begin
            _ = sockets:client(sockets:address(L)),
            eventually:is(?POOL - N, fun() -> accept_queue_backend:waiting(L) end),
            looks:look(),
            looks:look()
        end
     || N <- lists:seq(1, ?POOL)
    ],
    ?assertEqual(Pool, looks:remembered(Cookie)),
    ?assertMatch({ok, #{waiting_count := 0, pool := Pool, busy_count := ?POOL}}, accept_queue:acceptors(L)),
    kill(Pool).

%% The one that asked first is woken and does not accept. The others wait behind it: none is served, and the VM polls all the same.
a_process_that_is_woken_and_does_not_accept_is_not_in_accept(_) ->
    Silent = spawn(fun() -> receive stop -> ok end end),
    Ways = #{
        call => {fun() -> gen_server:call(Silent, anything, infinity) end, call},
        runs => {fun spin/0, undefined},
        suspended => {fun() -> receive never -> ok end end, suspended}
    },
    [
        begin
            L = socket(),
            Test = self(),
            Head = spawn(fun() ->
                {select, _} = socket:accept(L, nowait),
                Test ! asked,
                Work()
            end),
            receive asked -> ok end,
            Way =:= suspended andalso erlang:suspend_process(Head),
            Behind = pool(fun() -> socket:accept(L) end),
            All = lists:sort([Head | Behind]),
            eventually:is({?POOL + 1, All}, fun() -> waiting(L) end),
            _ = sockets:client(address(L)),
            Expected = lists:sort([Parked | lists:duplicate(?POOL, accept)]),
            eventually:is({0, [], All, Expected}, fun() ->
                {ok, #{waiting_count := Count, waiting := Waiting, pool := Pool} = Acceptors} = accept_queue:acceptors(L),
                {Count, Waiting, Pool, lists:sort(parked(Acceptors))}
            end),
            {ok, #{busy := Busy}} = accept_queue:acceptors(L),
            [
                ?assertMatch({match, _}, re:run(Text, "behind " ++ pid_to_list(Head)))
             || #{pid := Pid, parked := {accept, Text}} <- Busy, Pid =/= Head
            ],
            ?assertEqual(0, listed(address(L))),
            kill([Head | Behind])
        end
     || {Way, {Work, Parked}} <- maps:to_list(Ways)
    ],
    kill([Silent]).

%% `socket:accept/1' takes its message out of any others.
a_process_with_other_messages_is_in_accept(_) ->
    L = socket(),
    Pool = pool(fun() -> socket:accept(L) end),
    [Pid ! noise || Pid <- Pool],
    eventually:is({?POOL, Pool}, fun() -> waiting(L) end),
    ?assertEqual([], accept_queue_backend:held(L, Pool)),
    kill(Pool).

the_name_of_a_listener_is_that_of_its_owner_now(_) ->
    Test = self(),
    ok = accept_queue:subscribe(),
    First = spawn(fun() ->
        register(first_owner, self()),
        L = sockets:listen(16),
        Test ! {listens, L},
        receive {hand_on, Heir} -> ok = gen_tcp:controlling_process(L, Heir), Test ! handed_on end,
        receive stop -> ok end
    end),
    L = receive {listens, Socket} -> Socket end,
    Cookie = looks:cookie(L),
    eventually:is({First, first_owner}, fun() -> looks:look(), looks:named(Cookie) end),
    Heir = spawn(fun() -> register(heir, self()), Test ! registered, receive stop -> ok end end),
    receive registered -> ok end,
    First ! {hand_on, Heir},
    receive handed_on -> ok end,
    exit(First, kill),
    eventually:is({Heir, heir}, fun() -> looks:look(), looks:named(Cookie) end),
    ?assertEqual([heir], [Server || #{socket := S, server := Server} <- element(2, accept_queue:list()), S =:= L]),
    %% In an event too.
    Address = sockets:address(L),
    ok = accept_queue:watch(L, #{stuck_ms => 500, interval_ms => 50}),
    _ = sockets:client(Address),
    receive
        {accept_queue, raised, stuck, #{address := Address, server := Server}} -> ?assertEqual(heir, Server)
    after 30000 -> error(not_raised)
    end,
    ok = accept_queue:unsubscribe(),
    %% Whoever is given its port next is not to find it stuck.
    ok = accept_queue:unwatch(L),
    kill([Heir]).

%% As with socket activation: the descriptor listens before the VM has a socket for it.
a_listening_descriptor_that_is_taken_over_is_known(_) ->
    %% A socket of the `socket' module that is not registered has no owner that a search of the VM finds.
    {ok, Bare} = socket:open(inet, stream, tcp, #{use_registry => false}),
    ok = socket:bind(Bare, #{family => inet, addr => loopback, port => 0}),
    ok = socket:listen(Bare, 16),
    {ok, Fd} = socket:getopt(Bare, {otp, fd}),
    Address = address(Bare),
    %% Scanned twice without a socket: the next scan is ten seconds away.
    [?assertEqual({error, not_found}, accept_queue:acceptors(Address)) || _ <- [1, 2]],
    {ok, L} = gen_tcp:listen(0, [{fd, Fd}, {active, false}]),
    Pool = pool(fun() -> gen_tcp:accept(L), receive stop -> ok end end),
    eventually:is({?POOL, Pool}, fun() -> waiting(Address) end),
    eventually:is([L], fun() -> [Socket || #{address := Where, socket := Socket} <- element(2, accept_queue:list()), Where =:= Address] end),
    %% And in an alarm.
    ok = accept_queue:subscribe(),
    ok = accept_queue:watch(Address, #{stuck_ms => 500, interval_ms => 50}),
    Cookie = looks:cookie(L),
    eventually:is({self(), {label, socket_activated}}, fun() -> put('$process_label', socket_activated), looks:look(), looks:named(Cookie) end),
    _ = sockets:clients(?POOL + 1, Address),
    receive
        {accept_queue, raised, stuck, #{address := Address, server := Server} = Details} ->
            %% On a busy machine it may come without the acceptors.
            ?assertEqual({{label, socket_activated}, none_waiting}, {Server, maps:get(acceptors, Details, none_waiting)})
    after 60000 -> error(not_raised)
    end,
    ok = accept_queue:unsubscribe(),
    erase('$process_label'),
    kill(Pool),
    %% Closed with its last reference otherwise.
    ?assertMatch(#{}, socket:info(Bare)).

init_per_suite(Config) ->
    {ok, _} = application:ensure_all_started(accept_queue),
    Config.

end_per_suite(_) ->
    application:stop(accept_queue).

pool(Accept) ->
    lists:sort([spawn(Accept) || _ <- lists:seq(1, ?POOL)]).

kill(Pids) ->
    Monitors = [monitor(process, Pid) || Pid <- Pids],
    [exit(Pid, kill) || Pid <- Pids],
    [receive {'DOWN', Monitor, _, _, _} -> ok end || Monitor <- Monitors],
    ok.

waiting(L) ->
    {ok, #{waiting_count := Count, waiting := Waiting}} = accept_queue:acceptors(L),
    {Count, lists:sort(Waiting)}.

parked(#{busy := Busy}) ->
    [
        case Parked of
            {Id, Text} when is_binary(Text) -> Id;
            undefined -> undefined
        end
     || #{parked := Parked} <- Busy
    ];
parked(L) ->
    {ok, Acceptors} = accept_queue:acceptors(L),
    parked(Acceptors).

listed(Address) ->
    {ok, Listed} = accept_queue:list(),
    [Count] = [Waiting || #{address := Where, waiting_acceptors := Waiting} <- Listed, Where =:= Address],
    Count.

address({'$socket', _} = L) ->
    {ok, #{addr := Ip, port := Port}} = socket:sockname(L),
    {Ip, Port};
address(L) when element(1, L) =:= sslsocket ->
    {ok, Address} = ssl:sockname(L),
    Address;
address(L) ->
    sockets:address(L).

close({'$socket', _} = L) -> ok = socket:close(L);
close(L) when element(1, L) =:= sslsocket -> ok = ssl:close(L);
close(L) -> ok = gen_tcp:close(L).
