%% Accepted connections, each counted once: what accepted/2 says of real sockets of every kind, and what waits/1 makes of it.
-module(accept_queue_accepted_SUITE).

-compile([export_all, nowarn_export_all]).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-define(CLIENT_MS, 60000).
-define(NONE, #{count := 0, sum_ms := 0, max_ms := undefined, p50_ms := undefined, p99_ms := undefined}).

all() ->
    [
        each_kind_of_socket_is_counted_with_its_listener,
        every_spelling_of_a_listener_is_the_same_listener,
        the_figures_are_those_of_the_connections,
        a_client_that_has_left_or_half_left_is_peer_closed,
        what_was_written_to_is_not_counted,
        a_tls_connection_is_counted_before_its_handshake,
        a_unix_socket_is_unsupported,
        a_closed_connection_or_listener_is_closed,
        what_is_no_listener_or_no_connection_is_badarg,
        sockets_that_share_an_address_are_one_sum,
        a_listener_is_looked_up_once,
        an_address_that_is_another_listener_now_is_looked_up_again,
        nothing_is_kept_of_listeners_that_are_closed,
        many_processes_lose_no_connection,
        status_and_samples_have_the_waits,
        without_the_application_it_counts_too
    ].

init_per_suite(Config) ->
    Started = lists:append([element(2, {ok, _} = application:ensure_all_started(App)) || App <- [accept_queue, ssl]]),
    Directory = filename:join("/tmp", "accept_queue_accepted_" ++ os:getpid()),
    ok = file:make_dir(Directory),
    [{started, Started}, {directory, Directory} | Config].

end_per_suite(Config) ->
    "" = os:cmd("rm -r " ++ ?config(directory, Config)),
    [ok = application:stop(Application) || Application <- lists:reverse(?config(started, Config))],
    ok.

each_kind_of_socket_is_counted_with_its_listener(_) ->
    [
        begin
            L = kinds:listen(Kind, 5),
            ?assertMatch({ok, ?NONE}, accept_queue:waits(L)),
            Before = now_ms(),
            _Client = sockets:client(kinds:address(L)),
            eventually:is({ok, 1}, fun() -> queued(L) end),
            Done = now_ms(),
            eventually:passes(Done + 100),
            {ok, Connection} = kinds:accept(Kind, L),
            Asked = now_ms(),
            {ok, #{wait_ms := Ms, peer_closed := false}} = accept_queue:accepted(L, Connection),
            %% Give or take two ticks of the slowest clock that Linux can be built with.
            ?assert(Asked - Done - 20 =< Ms andalso Ms =< now_ms() - Before + 20, {Kind, Ms}),
            ?assertMatch({ok, #{count := 1, sum_ms := Ms, max_ms := Ms, p50_ms := Ms, p99_ms := Ms}}, accept_queue:waits(L)),
            kinds:close(Connection),
            ?assertEqual({error, closed}, accept_queue:accepted(L, Connection)),
            ?assertMatch({ok, #{count := 1}}, accept_queue:waits(L)),
            kinds:close(L),
            ?assertEqual({error, closed}, accept_queue:waits(L))
        end
     || Kind <- kinds:tcp()
    ].

every_spelling_of_a_listener_is_the_same_listener(_) ->
    L = sockets:listen(5),
    {Ip, Port} = sockets:address(L),
    {ok, Handle} = accept_queue:open(L),
    {ok, Another} = accept_queue:open({port, Port}),
    Spellings = [L, Handle, Another, {Ip, Port}, {port, Port}],
    [
        begin
            _ = accepted_of(L, Spelling),
            [?assertMatch({ok, #{count := Count}}, accept_queue:waits(Spelt)) || Spelt <- Spellings]
        end
     || {Count, Spelling} <- lists:enumerate(Spellings)
    ],
    ok = gen_tcp:close(L),
    [?assertEqual({error, closed}, accept_queue:waits(Closed)) || Closed <- [L, Handle, Another]].

%% The histogram of what was answered, made here once more.
the_figures_are_those_of_the_connections(_) ->
    L = sockets:listen(100),
    Clients = [
        begin
            timer:sleep(PauseMs),
            sockets:client(sockets:address(L))
        end
     || PauseMs <- [0, 60, 0, 30, 15, 5, 0]
    ],
    Waits = [
        begin
            {ok, Connection} = gen_tcp:accept(L, ?CLIENT_MS),
            {ok, #{wait_ms := Ms}} = accept_queue:accepted(L, Connection),
            Ms
        end
     || _ <- Clients
    ],
    {ok, #{buckets := Buckets} = Figures} = accept_queue:waits(L),
    ?assertEqual(
        {length(Waits), lists:sum(Waits), lists:max(Waits)},
        {maps:get(count, Figures), maps:get(sum_ms, Figures), maps:get(max_ms, Figures)}
    ),
    Ends = [End || {End, _} <- Buckets],
    ?assertEqual({lists:sort(Ends), infinity}, {Ends, lists:last(Ends)}),
    Within = fun(End) -> length([Ms || Ms <- Waits, Ms =< End]) end,
    {_, Expected} = lists:foldl(
        fun(End, {Before, So}) -> {Within(End), So ++ [{End, Within(End) - Before}]} end, {0, []}, Ends
    ),
    ?assertEqual(Expected, Buckets),
    ok = gen_tcp:close(L).

a_client_that_has_left_or_half_left_is_peer_closed(_) ->
    [
        begin
            L = kinds:listen(Kind, 5),
            Client = sockets:client(kinds:address(L)),
            _ = Leave(Client),
            eventually:is(true, fun() -> has_left(L, Client) end),
            {ok, Connection} = kinds:accept(Kind, L),
            eventually:is({ok, true}, fun() -> accept_queue:peer_closed(Connection) end),
            ?assertMatch({ok, #{wait_ms := _, peer_closed := true}}, accept_queue:accepted(L, Connection)),
            ?assertMatch({ok, #{count := 1}}, accept_queue:waits(L)),
            kinds:close(Connection),
            kinds:close(L)
        end
     || Kind <- kinds:tcp(),
        Leave <- [fun sockets:close/1, fun(Client) -> ok = socket:shutdown(Client, write) end]
    ].

has_left(L, _Client) ->
    {ok, #{queued_closed := Closed}} = accept_queue:counts(L),
    Closed =:= 1.

what_was_written_to_is_not_counted(_) ->
    [
        begin
            L = kinds:listen(Kind, 5),
            _Client = sockets:client(kinds:address(L)),
            {ok, Connection} = kinds:accept(Kind, L),
            write(Connection),
            ?assertEqual({error, already_written}, accept_queue:accepted(L, Connection)),
            ?assertMatch({ok, ?NONE}, accept_queue:waits(L)),
            kinds:close(Connection),
            kinds:close(L)
        end
     || Kind <- kinds:tcp() -- [ssl]
    ].

write({'$socket', _} = Socket) -> ok = socket:send(Socket, <<"hello">>);
write(Socket) -> ok = gen_tcp:send(Socket, <<"hello">>).

a_tls_connection_is_counted_before_its_handshake(_) ->
    #{server := ServerOptions, client := ClientOptions} = tls:options(),
    {ok, L} = ssl:listen(0, [{ip, {127, 0, 0, 1}}, {active, false} | ServerOptions]),
    {ok, {_, Port}} = ssl:sockname(L),
    {Client, Monitor} = spawn_monitor(fun() ->
        {ok, Tls} = ssl:connect({127, 0, 0, 1}, Port, [{active, false} | ClientOptions], ?CLIENT_MS),
        receive close -> ssl:close(Tls) end
    end),
    {ok, Transport} = ssl:transport_accept(L, ?CLIENT_MS),
    ?assertMatch({ok, #{wait_ms := _, peer_closed := false}}, accept_queue:accepted(L, Transport)),
    {ok, Connection} = ssl:handshake(Transport, ?CLIENT_MS),
    ?assertEqual({error, already_written}, accept_queue:accepted(L, Connection)),
    ?assertMatch({ok, #{count := 1}}, accept_queue:waits(L)),
    Client ! close,
    receive {'DOWN', Monitor, process, Client, normal} -> ok end,
    ssl:close(L).

a_unix_socket_is_unsupported(Config) ->
    [
        begin
            Path = unicode:characters_to_binary(filename:join(?config(directory, Config), atom_to_list(Kind))),
            L = kinds:listen(Kind, 5, #{family => local, path => Path}),
            _Client = sockets:client({local, Path}),
            {ok, Connection} = kinds:accept(Kind, L),
            ?assertEqual({error, unsupported}, accept_queue:accepted(L, Connection)),
            ?assertMatch({ok, ?NONE}, accept_queue:waits(L)),
            kinds:close(Connection),
            kinds:close(L)
        end
     || Kind <- kinds:unix()
    ].

a_closed_connection_or_listener_is_closed(_) ->
    L = sockets:listen(5),
    Open = connection(L),
    Closed = connection(L),
    ok = gen_tcp:close(Closed),
    ?assertEqual({error, closed}, accept_queue:accepted(L, Closed)),
    %% The listener itself, and what does not listen.
    ?assertMatch({error, _}, accept_queue:accepted(L, L)),
    ?assertEqual({error, not_listening}, accept_queue:accepted(Open, Open)),
    {_, Port} = sockets:address(L),
    Never = sockets:listen(5),
    ok = lists:foreach(fun gen_tcp:close/1, [L, Never]),
    %% A server that is being stopped still serves what it has accepted.
    ?assertMatch({ok, #{peer_closed := false}}, accept_queue:accepted(L, Open)),
    ?assertEqual({error, closed}, accept_queue:accepted(Never, Open)),
    ?assertEqual({error, not_found}, accept_queue:accepted({port, Port}, Open)).

what_is_no_listener_or_no_connection_is_badarg(_) ->
    L = sockets:listen(5),
    Connection = connection(L),
    [
        ?assertError(badarg, accept_queue:accepted(Bad, Connection))
     || Bad <- [listener, drop_at, {port, 0}, {port, 65536}, make_ref(), self(), {}, []]
    ],
    [?assertError(badarg, accept_queue:accepted(L, Bad)) || Bad <- [connection, 1, {}, {port, 80}, make_ref()]],
    [?assertError(badarg, accept_queue:waits(Bad)) || Bad <- [listener, {port, 0}, make_ref()]],
    ?assertMatch({ok, ?NONE}, accept_queue:waits(L)),
    ok = gen_tcp:close(L).

sockets_that_share_an_address_are_one_sum(_) ->
    [First, Second] = Group = sockets:group(2, 5),
    Address = sockets:address(First),
    _ = [accepted_of(L, L) || L <- Group],
    ?assertMatch({ok, #{count := 2}}, accept_queue:waits(Address)),
    ?assertMatch({ok, #{count := 1}}, accept_queue:waits(First)),
    %% By the address, with one of them; and with the other one when that has been closed.
    Connection = connection_of_any(Group),
    {ok, _} = accept_queue:accepted(Address, Connection),
    ?assertMatch({ok, #{count := 3}}, accept_queue:waits(Address)),
    ok = gen_tcp:close(First),
    {ok, _} = accept_queue:accepted(Address, Connection),
    {ok, #{count := OfSecond}} = accept_queue:waits(Second),
    ?assert(OfSecond >= 2),
    ?assertMatch({ok, #{count := OfSecond}}, accept_queue:waits(Address)),
    ok = gen_tcp:close(Second).

connection_of_any(Group) ->
    _Client = sockets:client(sockets:address(hd(Group))),
    connection_of_any(Group, erlang:monotonic_time(millisecond) + ?CLIENT_MS).

connection_of_any([L | Others], Deadline) ->
    ?assert(erlang:monotonic_time(millisecond) < Deadline),
    case gen_tcp:accept(L, 50) of
        {ok, Connection} -> Connection;
        {error, timeout} -> connection_of_any(Others ++ [L], Deadline)
    end.

a_listener_is_looked_up_once(_) ->
    L = sockets:listen(5),
    {_, Port} = sockets:address(L),
    Connection = connection(L),
    [
        begin
            {ok, _} = accept_queue:accepted(Spelling, Connection),
            ?assertEqual([], lookups(fun() -> [{ok, _} = accept_queue:accepted(Spelling, Connection) || _ <- [1, 2, 3]] end))
        end
     || Spelling <- [L, {port, Port}, {{127, 0, 0, 1}, Port}]
    ],
    ok = gen_tcp:close(L).

%% What was asked of the kernel or the VM to find a listener.
lookups(Do) ->
    Finding = [{accept_queue_listener, open, 1}, {accept_queue_source, listening, 0}, {accept_queue_source, open, 1}],
    [1 = erlang:trace_pattern(Function, true, []) || Function <- Finding],
    Tracer = spawn_link(fun() -> collect([]) end),
    1 = erlang:trace(self(), true, [call, {tracer, Tracer}]),
    _ = Do(),
    1 = erlang:trace(self(), false, [call]),
    Delivered = erlang:trace_delivered(self()),
    receive {trace_delivered, _, Delivered} -> ok end,
    [1 = erlang:trace_pattern(Function, false, []) || Function <- Finding],
    Tracer ! {got, self()},
    receive {called, Calls} -> Calls end.

collect(Calls) ->
    receive
        {trace, _, call, Call} -> collect([Call | Calls]);
        {got, Pid} -> Pid ! {called, Calls}
    end.

an_address_that_is_another_listener_now_is_looked_up_again(_) ->
    L = sockets:listen(5, [{port, sockets:lasting_port()}, {reuseaddr, true}]),
    {_, Port} = Address = sockets:address(L),
    Connection = connection(L),
    {ok, _} = accept_queue:accepted(Address, Connection),
    ok = gen_tcp:close(L),
    Another = sockets:listen(5, [{port, Port}, {reuseaddr, true}]),
    {ok, _} = accept_queue:accepted(Address, Connection),
    ?assertMatch({ok, #{count := 1}}, accept_queue:waits(Another)),
    ok = gen_tcp:close(Another).

nothing_is_kept_of_listeners_that_are_closed(_) ->
    Staying = sockets:listen(5),
    Connection = connection(Staying),
    {ok, _} = accept_queue:accepted(Staying, Connection),
    [
        begin
            L = sockets:listen(5),
            {ok, _} = accept_queue:accepted(L, Connection),
            ok = gen_tcp:close(L)
        end
     || _ <- lists:seq(1, 500)
    ],
    ?assert(ets:info(accept_queue_accepted, size) < 150, ets:info(accept_queue_accepted, size)),
    ?assertMatch({ok, #{count := 1}}, accept_queue:waits(Staying)),
    ok = gen_tcp:close(Staying).

many_processes_lose_no_connection(_) ->
    L = sockets:listen(5),
    Connection = connection(L),
    Times = case accept_queue_source:source() of nif -> 2000; _ -> 50 end,
    Workers = [
        spawn_monitor(fun() -> [{ok, _} = accept_queue:accepted(L, Connection) || _ <- lists:seq(1, Times)] end)
     || _ <- lists:seq(1, 8)
    ],
    [receive {'DOWN', Monitor, process, Pid, Reason} -> ?assertEqual(normal, Reason) end || {Pid, Monitor} <- Workers],
    Counted = 8 * Times,
    ?assertMatch({ok, #{count := Counted}}, accept_queue:waits(L)),
    ok = gen_tcp:close(L).

status_and_samples_have_the_waits(_) ->
    L = sockets:listen(5),
    ok = accept_queue:watch(L),
    ?assertMatch({ok, #{waits := ?NONE}}, accept_queue:status(L)),
    _ = accepted_of(L, L),
    {ok, Waits} = accept_queue:waits(L),
    ?assertMatch({ok, #{waits := Waits}}, accept_queue:status(L)),
    {ok, #{queued := 0}} = accept_queue:depth(L),
    ok = samples_have(Waits, sockets:address(L), accept_queue_source:source()),
    ok = gen_tcp:close(L).

%% In the place of the dispatcher: what the monitor puts there for it.
samples_have(#{count := Count, p99_ms := Most} = Waits, Address, nif) ->
    Event = whereis(accept_queue_event),
    true = is_pid(Event),
    ok = sys:suspend(Event),
    try
        ok = accept_queue_monitor:samples(true),
        eventually:is(true, fun() ->
            [] =/= [
                Sample
             || {_, {sample, #{address := At, waits_count := C, waits_p99_ms := P, waits := W} = Sample}} <- ets:tab2list(accept_queue_samples),
                At =:= Address, C =:= Count, P =:= Most, W =:= Waits
            ]
        end)
    after
        ok = accept_queue_monitor:samples(false),
        ok = sys:resume(Event)
    end,
    ok;
%% The program is not asked for every sample.
samples_have(_Waits, _Address, _) ->
    ok.

without_the_application_it_counts_too(_) ->
    ok = application:stop(accept_queue),
    try
        L = sockets:listen(5),
        case accept_queue_source:source() of
            nif ->
                _ = [accepted_of(L, L) || _ <- [1, 2]],
                ?assertMatch({ok, #{count := 2}}, accept_queue:waits(L))
        end,
        ok = gen_tcp:close(L)
    after
        {ok, _} = application:ensure_all_started(accept_queue)
    end.

accepted_of(L, Spelling) ->
    {ok, Answer} = accept_queue:accepted(Spelling, connection(L)),
    Answer.

%% Of a group, whichever of its members the client comes to: clients come until one comes to this.
connection(L) ->
    _Client = sockets:client(sockets:address(L)),
    case gen_tcp:accept(L, 100) of
        {ok, Connection} -> Connection;
        {error, timeout} -> connection(L)
    end.

queued(L) ->
    case accept_queue:depth(L) of
        {ok, #{queued := Queued}} -> {ok, Queued};
        {error, _} = Error -> Error
    end.

now_ms() ->
    erlang:monotonic_time(millisecond).
