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
    Size = fun() -> ets:info(accept_queue_pool_cache, size) end,
    [
        begin
            L = sockets:listen(5),
            Pool = pool(fun() -> gen_tcp:accept(L) end),
            eventually:is({?POOL, Pool}, fun() -> waiting(L) end),
            kill(Pool),
            gen_tcp:close(L)
        end
     || _ <- lists:seq(1, 20)
    ],
    %% The last one is remembered until the next is looked at.
    ?assertEqual(1, Size()).

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
