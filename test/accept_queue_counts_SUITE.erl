%% The kernel's rules, on real sockets: what `depth' and `counts' say of each thing that a client can do while it waits,
%% and that `ss' says the same.
-module(accept_queue_counts_SUITE).

-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

%% Options that gen_tcp has no name for (include/uapi/asm-generic/socket.h, include/uapi/linux/tcp.h).
-define(SO_REUSEPORT, {raw, 1, 15, <<1:32/native>>}).
-define(TCP_DEFER_ACCEPT(Seconds), {raw, 6, 9, <<Seconds:32/native>>}).
%% Clients enough to keep an acceptor busy during a reading; no more than the smallest usual somaxconn allows.
-define(MANY, 120).

all() ->
    [
        one_more_than_the_limit_fits_and_each_further_syn_is_a_drop,
        without_a_queued_connection_there_is_no_oldest_wait,
        a_client_that_closes_while_queued_is_closed,
        a_client_that_resets_while_queued_leaves_its_place,
        six_queued_are_three_alive_two_closed_and_one_reset,
        bytes_wait_with_and_without_a_fin,
        the_age_is_the_time_since_the_oldest_handshake,
        bytes_from_the_client_make_it_no_younger,
        a_dual_stack_listener_counts_clients_of_both_families,
        two_addresses_of_one_port_do_not_see_each_others_clients,
        two_families_of_one_port_do_not_see_each_others_clients,
        two_ports_do_not_see_each_others_clients,
        what_has_been_accepted_is_established_and_then_close_wait,
        a_handshake_that_is_not_finished_is_syn_recv,
        a_group_that_shares_an_address_is_answered_with_its_sum,
        the_limit_of_a_listener_in_use_follows_listen,
        acceptors_at_work_are_not_taken_for_resets,
        what_is_in_the_queue_of_a_transparent_proxy_is_undefined,
        a_multipath_listener_counts_its_drops
    ].

one_more_than_the_limit_fits_and_each_further_syn_is_a_drop(_) ->
    [fits(Limit) || Limit <- [0, 1, 5, 30, 128]].

fits(Limit) ->
    L = sockets:listen(Limit),
    Address = sockets:address(L),
    Depth = fun(Queued, Drops) -> {ok, #{queued => Queued, limit => Limit, drops => Drops}} end,
    [
        begin
            _ = sockets:client(Address),
            eventually:is(Depth(Queued, 0), fun() -> accept_queue:depth(L) end)
        end
     || Queued <- lists:seq(1, Limit + 1)
    ],
    lists:foldl(
        fun(_, Late) ->
            Dialling = [sockets:dial(Address) | Late],
            %% A SYN that goes unanswered is sent again after a second, and dropped again.
            {ok, #{drops := Drops}} = eventually:agree(
                fun() -> Depth(Limit + 1, lists:sum([sockets:syns(Client) || Client <- Dialling])) end,
                fun() -> accept_queue:depth(L) end
            ),
            ?assert(Drops >= length(Dialling)),
            Dialling
        end,
        [],
        lists:seq(1, 5)
    ),
    agrees_with_ss(L),
    gen_tcp:close(L).

without_a_queued_connection_there_is_no_oldest_wait(_) ->
    L = sockets:listen(7),
    ?assertEqual(
        {ok, #{
            queued => 0,
            limit => 7,
            drops => 0,
            syn_recv => 0,
            queued_alive => 0,
            queued_closed => 0,
            queued_reset => 0,
            queued_bytes => 0,
            oldest_wait_ms => undefined,
            established => 0,
            close_wait => 0,
            sockets => 1
        }},
        accept_queue:counts(L)
    ),
    agrees_with_ss(L).

a_client_that_closes_while_queued_is_closed(_) ->
    L = sockets:listen(5),
    Client = sockets:client(sockets:address(L)),
    becomes(#{queued => 1, queued_alive => 1, queued_closed => 0, queued_reset => 0}, L),
    sockets:close(Client),
    becomes(#{queued => 1, queued_alive => 0, queued_closed => 1, queued_reset => 0, close_wait => 0}, L).

a_client_that_resets_while_queued_leaves_its_place(_) ->
    L = sockets:listen(5),
    Client = sockets:client(sockets:address(L)),
    becomes(#{queued => 1, queued_alive => 1}, L),
    sockets:reset(Client),
    becomes(
        #{queued => 1, queued_alive => 0, queued_closed => 0, queued_reset => 1, oldest_wait_ms => undefined}, L
    ),
    %% Until accept hands out the dead socket.
    {ok, Dead} = gen_tcp:accept(L, 60000),
    becomes(#{queued => 0, queued_reset => 0, established => 0, close_wait => 0}, L),
    gen_tcp:close(Dead).

six_queued_are_three_alive_two_closed_and_one_reset(_) ->
    L = sockets:listen(5),
    [_, Closes, _, Resets, _, ClosesToo] = sockets:clients(6, sockets:address(L)),
    becomes(#{queued => 6, queued_alive => 6}, L),
    sockets:close(Closes),
    sockets:reset(Resets),
    sockets:close(ClosesToo),
    becomes(#{queued => 6, queued_alive => 3, queued_closed => 2, queued_reset => 1, limit => 5, drops => 0}, L).

bytes_wait_with_and_without_a_fin(_) ->
    L = sockets:listen(5),
    [Stays, Closes, _Silent, ClosesSilent] = sockets:clients(4, sockets:address(L)),
    sockets:send(Stays, <<"GET / HTTP/1.1\r\n">>),
    becomes(#{queued_alive => 4, queued_bytes => 16}, L),
    sockets:send(Closes, <<"hello">>),
    sockets:close(Closes),
    becomes(#{queued_alive => 3, queued_closed => 1, queued_bytes => 21}, L),
    sockets:close(ClosesSilent),
    becomes(#{queued_alive => 2, queued_closed => 2, queued_bytes => 21}, L).

the_age_is_the_time_since_the_oldest_handshake(_) ->
    L = sockets:listen(5),
    First = handshake(L, 1),
    {_, FirstDone} = First,
    [
        begin
            eventually:passes(FirstDone + AfterMs),
            is_as_old_as(First, L)
        end
     || AfterMs <- [100, 400]
    ],
    Second = handshake(L, 2),
    eventually:passes(FirstDone + 700),
    is_as_old_as(First, L),
    %% The queue is first in, first out: now the second is the oldest.
    {ok, Accepted} = gen_tcp:accept(L, 60000),
    is_as_old_as(Second, L),
    gen_tcp:close(Accepted).

bytes_from_the_client_make_it_no_younger(_) ->
    L = sockets:listen(5),
    Before = now_ms(),
    Client = sockets:client(sockets:address(L)),
    becomes(#{queued => 1}, L),
    Done = now_ms(),
    eventually:passes(Done + 300),
    sockets:send(Client, <<"are you there?">>),
    becomes(#{queued_bytes => 14}, L),
    is_as_old_as({Before, Done}, L),
    sockets:close(Client),
    becomes(#{queued_closed => 1}, L),
    is_as_old_as({Before, Done}, L).

a_dual_stack_listener_counts_clients_of_both_families(_) ->
    L = sockets:listen(5, [inet6, {ipv6_v6only, false}]),
    {_, Port} = sockets:address(L),
    [_, ClosesV4] = sockets:clients(2, {{127, 0, 0, 1}, Port}),
    _ = sockets:clients(3, {{0, 0, 0, 0, 0, 0, 0, 1}, Port}),
    becomes(#{queued => 5, queued_alive => 5}, L),
    sockets:close(ClosesV4),
    becomes(#{queued => 5, queued_alive => 4, queued_closed => 1, queued_reset => 0, sockets => 1}, L).

two_addresses_of_one_port_do_not_see_each_others_clients(_) ->
    One = sockets:listen(5),
    {_, Port} = sockets:address(One),
    Two = sockets:listen(6, [{ip, {127, 0, 0, 2}}, {port, Port}]),
    do_not_see_each_others_clients(One, Two).

two_families_of_one_port_do_not_see_each_others_clients(_) ->
    V6 = sockets:listen(5, [inet6, {ipv6_v6only, true}]),
    {_, Port} = sockets:address(V6),
    V4 = sockets:listen(6, [{ip, {0, 0, 0, 0}}, {port, Port}]),
    do_not_see_each_others_clients(V6, V4).

two_ports_do_not_see_each_others_clients(_) ->
    do_not_see_each_others_clients(sockets:listen(5), sockets:listen(6)).

do_not_see_each_others_clients(One, Two) ->
    [Closes | _] = sockets:clients(3, sockets:address(One)),
    becomes(#{queued => 3, queued_alive => 3, limit => 5, sockets => 1}, One),
    becomes(#{queued => 0, queued_alive => 0, limit => 6, sockets => 1, oldest_wait_ms => undefined}, Two),
    [Resets] = sockets:clients(1, sockets:address(Two)),
    sockets:close(Closes),
    becomes(#{queued => 3, queued_alive => 2, queued_closed => 1}, One),
    becomes(#{queued => 1, queued_alive => 1, queued_closed => 0}, Two),
    sockets:reset(Resets),
    {ok, _} = gen_tcp:accept(One, 60000),
    becomes(#{queued => 2, queued_reset => 0, close_wait => 1}, One),
    becomes(#{queued => 1, queued_reset => 1, close_wait => 0}, Two).

what_has_been_accepted_is_established_and_then_close_wait(_) ->
    L = sockets:listen(5),
    [First, Second, _] = sockets:clients(3, sockets:address(L)),
    becomes(#{queued => 3, established => 0}, L),
    {ok, Served} = gen_tcp:accept(L, 60000),
    {ok, _} = gen_tcp:accept(L, 60000),
    becomes(#{queued => 1, queued_alive => 1, established => 2, close_wait => 0}, L),
    sockets:close(First),
    becomes(#{queued => 1, queued_closed => 0, established => 1, close_wait => 1}, L),
    sockets:close(Second),
    becomes(#{queued => 1, queued_closed => 0, established => 0, close_wait => 2}, L),
    gen_tcp:close(Served),
    becomes(#{queued => 1, established => 0, close_wait => 1}, L).

%% A listener with TCP_DEFER_ACCEPT keeps a handshake unfinished until the client has sent something.
a_handshake_that_is_not_finished_is_syn_recv(_) ->
    L = sockets:listen(5, [?TCP_DEFER_ACCEPT(30)]),
    [Client, _] = sockets:clients(2, sockets:address(L)),
    becomes(#{queued => 0, queued_alive => 0, syn_recv => 2, established => 0, oldest_wait_ms => undefined}, L),
    sockets:send(Client, <<"hello">>),
    becomes(#{queued => 1, queued_alive => 1, syn_recv => 1, queued_bytes => 5}, L).

a_group_that_shares_an_address_is_answered_with_its_sum(_) ->
    One = sockets:listen(5, [?SO_REUSEPORT]),
    {_, Port} = sockets:address(One),
    Two = sockets:listen(30, [?SO_REUSEPORT, {port, Port}]),
    %% Few enough for either queue: the kernel deals clients out by a hash that differs from boot to boot.
    [Closes | _] = sockets:clients(6, sockets:address(One)),
    sockets:close(Closes),
    Sum = #{queued => 6, limit => 35, drops => 0, queued_alive => 5, queued_closed => 1, queued_reset => 0, sockets => 2},
    becomes(Sum, One),
    becomes(Sum, Two),
    %% The depth stays that of the one socket in hand.
    {ok, #{queued := QueuedOne, limit := 5}} = accept_queue:depth(One),
    {ok, #{queued := QueuedTwo, limit := 30}} = accept_queue:depth(Two),
    ?assertEqual(6, QueuedOne + QueuedTwo).

%% What `listen(2)' on a socket that listens already does: nothing but set another limit.
the_limit_of_a_listener_in_use_follows_listen(_) ->
    L = sockets:listen(5),
    _ = sockets:clients(6, sockets:address(L)),
    becomes(#{queued => 6, limit => 5}, L),
    {ok, Handle} = accept_queue:open(L),
    ok = prim_inet:listen(L, 2),
    ?assertMatch({ok, #{queued := 6, limit := 2}}, accept_queue:depth(Handle)),
    becomes(#{queued => 6, queued_alive => 6, limit => 2}, L).

%% No client resets, so a connection that is accepted between two reads of the kernel must not count as reset. The
%% linger keeps what has been accepted out of TIME_WAIT.
acceptors_at_work_are_not_taken_for_resets(_) ->
    L = sockets:listen(?MANY, [{linger, {true, 0}}]),
    [read_while_accepting(L) || _ <- lists:seq(1, 30)].

read_while_accepting(L) ->
    Clients = sockets:clients(?MANY, sockets:address(L)),
    eventually:is({ok, #{queued => ?MANY, limit => ?MANY, drops => 0}}, fun() -> accept_queue:depth(L) end),
    {Acceptor, Monitor} = spawn_monitor(fun() -> accept(?MANY, L) end),
    read_until_drained(L),
    receive
        {'DOWN', Monitor, process, Acceptor, Reason} -> ?assertEqual(normal, Reason)
    end,
    lists:foreach(fun sockets:close/1, Clients).

what_is_in_the_queue_of_a_transparent_proxy_is_undefined(_) ->
    IpTransparent = {raw, 0, 19, <<1:32/native>>},
    case gen_tcp:listen(0, [{ip, {127, 0, 0, 1}}, {backlog, 5}, IpTransparent]) of
        {ok, L} ->
            {ok, Port} = inet:port(L),
            {ok, _} = gen_tcp:connect({127, 0, 0, 1}, Port, []),
            eventually:is({ok, #{queued => 1, limit => 5, drops => 0}}, fun() -> accept_queue:depth(L) end),
            {ok, Counts} = accept_queue:counts(L),
            Unknown = [queued_alive, queued_closed, queued_reset, queued_bytes, syn_recv, oldest_wait_ms],
            ?assertEqual(maps:from_keys(Unknown, undefined), maps:with(Unknown, Counts)),
            ?assertMatch(#{queued := 1, sockets := 1}, Counts),
            ok = accept_queue:i();
        {error, eperm} ->
            {skip, "IP_TRANSPARENT needs CAP_NET_ADMIN"}
    end.

a_multipath_listener_counts_its_drops(_) ->
    case socket:open(inet, stream, 262) of
        {ok, L} ->
            ok = socket:bind(L, #{family => inet, addr => {127, 0, 0, 1}, port => 0}),
            ok = socket:listen(L, 1),
            {ok, #{port := Port}} = socket:sockname(L),
            [{ok, _}, {ok, _}, {error, timeout}] =
                [gen_tcp:connect({127, 0, 0, 1}, Port, [], Ms) || Ms <- [60000, 60000, 300]],
            {ok, #{queued := 2, limit := 1, drops := Drops}} = accept_queue:depth(L),
            ?assert(Drops >= 1),
            ?assertMatch({ok, #{queued := 2, queued_alive := 2, drops := D}} when D >= Drops, accept_queue:counts(L)),
            {ok, Handle} = accept_queue:open(L),
            ?assertMatch({ok, #{queued := 2, drops := D}} when D >= Drops, accept_queue:depth(Handle)),
            ok = socket:close(L),
            ?assertEqual({error, closed}, accept_queue:depth(Handle));
        {error, Reason} ->
            {skip, io_lib:format("no MPTCP here: ~p", [Reason])}
    end.

accept(0, _) ->
    ok;
accept(Count, L) ->
    {ok, Socket} = gen_tcp:accept(L, 60000),
    gen_tcp:close(Socket),
    accept(Count - 1, L).

read_until_drained(L) ->
    {ok, #{queued := Queued, queued_alive := Alive, queued_closed := Closed, queued_reset := Reset}} =
        accept_queue:counts(L),
    ?assertEqual({0, 0}, {Closed, Reset}),
    ?assert(Alive >= Queued),
    Queued =:= 0 orelse read_until_drained(L).

%% The listener comes to show these figures, all other sums are right, and ss says the same.
becomes(Figures, L) ->
    eventually:is(Figures, fun() ->
        {ok, Counts} = accept_queue:counts(L),
        maps:with(maps:keys(Figures), Counts)
    end),
    agrees_with_ss(L).

agrees_with_ss(L) ->
    {ok, Address} = inet:sockname(L),
    {ok, Handle} = accept_queue:open(L),
    ss:agrees(Address, fun() ->
        {ok, Counts} = accept_queue:counts(Handle),
        adds_up(Counts),
        Counts
    end).

adds_up(#{queued := Queued, queued_alive := Alive, queued_closed := Closed, queued_reset := Reset}) ->
    ?assertEqual(Queued, Alive + Closed + Reset).

%% A client and when its handshake ended: after the first of these readings of the clock, before the second.
handshake(L, Queued) ->
    Before = now_ms(),
    _ = sockets:client(sockets:address(L)),
    eventually:is(Queued, fun() ->
        {ok, #{queued := Now}} = accept_queue:depth(L),
        Now
    end),
    {Before, now_ms()}.

%% Bounded from both sides by our own clock, give or take two of the kernel's ticks: it keeps both ends of the time
%% in ticks.
is_as_old_as({HandshakeAfter, HandshakeBefore}, L) ->
    Before = now_ms(),
    {ok, #{oldest_wait_ms := Age}} = accept_queue:counts(L),
    After = now_ms(),
    Youngest = Before - HandshakeBefore - 2 * jiffy_ms(),
    Oldest = After - HandshakeAfter + 2 * jiffy_ms(),
    ?assert(Youngest =< Age andalso Age =< Oldest, {Youngest, Age, Oldest}).

now_ms() ->
    erlang:monotonic_time(millisecond).

%% CONFIG_HZ where the kernel shows its configuration; elsewhere 100, the slowest that it can be built with.
jiffy_ms() ->
    Config =
        case file:read_file("/proc/config.gz") of
            {ok, Zipped} -> zlib:gunzip(Zipped);
            {error, _} -> <<>>
        end,
    case re:run(Config, "^CONFIG_HZ=(\\d+)$", [multiline, {capture, all_but_first, list}]) of
        {match, [Hz]} -> 1000 div list_to_integer(Hz);
        nomatch -> 10
    end.
