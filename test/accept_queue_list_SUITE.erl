%% What is asked of the VM and of the network namespace as a whole, and not of one listener in hand.
-module(accept_queue_list_SUITE).

-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

%% include/uapi/asm-generic/socket.h; gen_tcp has no name for it.
-define(SO_REUSEPORT, {raw, 1, 15, <<1:32/native>>}).

all() ->
    [
        every_listener_of_this_vm_is_listed_by_address,
        a_listener_of_another_process_is_not_listed,
        a_listener_is_listed_until_it_closes,
        sockets_that_share_an_address_are_listed_each,
        the_figures_of_a_listed_socket_are_those_of_ss,
        the_owner_and_its_name_are_listed,
        waiting_acceptors_are_those_blocked_in_accept,
        the_table_says_of_every_listener_what_is_wrong_with_it,
        a_full_member_of_a_group_is_full_in_the_table_whatever_room_the_others_have,
        the_limits_and_counters_are_those_of_the_network_namespace
    ].

every_listener_of_this_vm_is_listed_by_address(_) ->
    Places = [[inet6], [{ip, {127, 0, 0, 2}}], [inet6, {ip, {0, 0, 0, 0, 0, 0, 0, 1}}], [{ip, {0, 0, 0, 0}}], []],
    %% So many that the kernel's own order is not by accident the right one.
    Listeners = [sockets:listen(1, Where) || Where <- Places, _ <- lists:seq(1, 4)],
    {ok, Listed} = accept_queue:list(),
    Ours = [{Address, Socket} || #{address := Address, socket := Socket} <- Listed, lists:member(Socket, Listeners)],
    ?assertEqual(lists:sort([{sockname(L), L} || L <- Listeners]), lists:sort(Ours)),
    Addresses = [Address || #{address := Address} <- Listed],
    ?assertEqual(lists:sort(Addresses), Addresses).

a_listener_of_another_process_is_not_listed(_) ->
    Vm = other_vm:start(),
    Address = other_vm:call(Vm, ?MODULE, listen_there, []),
    ?assertMatch([_], ss:listeners(Address)),
    {ok, Listed} = accept_queue:list(),
    ?assertNot(lists:member(Address, [Theirs || #{address := Theirs} <- Listed])),
    other_vm:stop(Vm).

listen_there() ->
    sockname(sockets:listen(5)).

a_listener_is_listed_until_it_closes(_) ->
    L = sockets:listen(5),
    ?assertMatch([#{socket := L}], listed(sockname(L))),
    Address = sockname(L),
    gen_tcp:close(L),
    ?assertEqual([], listed(Address)).

sockets_that_share_an_address_are_listed_each(_) ->
    One = sockets:listen(5, [?SO_REUSEPORT]),
    {_, Port} = Address = sockname(One),
    Two = sockets:listen(30, [?SO_REUSEPORT, {port, Port}]),
    _ = sockets:clients(6, Address),
    eventually:agree(fun() -> lists:sort(ss:listeners(Address)) end, fun() -> seen_from_outside(Address) end),
    Limits = [{Socket, Limit} || #{socket := Socket, limit := Limit} <- listed(Address)],
    ?assertEqual(lists:sort([{One, 5}, {Two, 30}]), lists:sort(Limits)).

the_figures_of_a_listed_socket_are_those_of_ss(_) ->
    L = sockets:listen(3),
    Address = sockname(L),
    _ = sockets:clients(4, Address),
    Late = sockets:dial(Address),
    eventually:agree(fun() -> [{4, 3, sockets:syns(Late)}] end, fun() ->
        [{Queued, Limit, Drops} || #{queued := Queued, limit := Limit, drops := Drops} <- listed(Address)]
    end),
    eventually:agree(fun() -> ss:listeners(Address) end, fun() -> seen_from_outside(Address) end).

the_owner_and_its_name_are_listed(_) ->
    Registered = owner(fun() -> register(accept_queue_list_owner, self()) end),
    Spawned = owner(fun() -> ok end),
    ProcLib = owner(fun() -> put('$initial_call', {some_server, init, 1}) end),
    Expected = [
        {Registered, accept_queue_list_owner}, {Spawned, {erlang, apply, 2}}, {ProcLib, {some_server, init, 1}}
    ],
    {ok, Listed} = accept_queue:list(),
    [
        ?assertEqual([Server], [Name || #{owner := Owner, server := Name} <- Listed, Owner =:= Pid])
     || {Pid, Server} <- Expected
    ],
    [exit(Pid, kill) || {Pid, _} <- Expected].

owner(Prepare) ->
    Test = self(),
    Pid = spawn_link(fun() ->
        Prepare(),
        _ = sockets:listen(5),
        unlink(Test),
        Test ! self(),
        timer:sleep(infinity)
    end),
    receive
        Pid -> Pid
    end.

waiting_acceptors_are_those_blocked_in_accept(_) ->
    L = sockets:listen(5),
    Waiting = fun() ->
        [#{waiting_acceptors := Count}] = listed(sockname(L)),
        Count
    end,
    ?assertEqual(0, Waiting()),
    Acceptors = [spawn(fun() -> {ok, _} = gen_tcp:accept(L), timer:sleep(infinity) end) || _ <- lists:seq(1, 3)],
    eventually:is(3, Waiting),
    _ = sockets:client(sockname(L)),
    eventually:is(2, Waiting),
    [exit(Acceptor, kill) || Acceptor <- Acceptors],
    eventually:is(0, Waiting).

the_table_says_of_every_listener_what_is_wrong_with_it(_) ->
    Well = sockets:listen(30),
    Acceptor = spawn(fun() -> gen_tcp:accept(Well) end),
    Waits = sockets:listen(30),
    _ = sockets:clients(2, sockname(Waits)),
    Abandoned = sockets:listen(30),
    lists:foreach(fun sockets:close/1, sockets:clients(31, sockname(Abandoned))),
    Name = <<0, "table">>,
    {ok, Unix} = gen_tcp:listen(0, [{ifaddr, {local, Name}}, {backlog, 0}]),
    _ = sockets:client({local, Name}),
    true = register(accept_queue_table_test, self()),
    eventually:is(
        [
            {"0/30", "1", "accept_queue_table_test", "ok"},
            {"2/30", "0", "accept_queue_table_test", "nobody accepts"},
            {"31/30", "0", "accept_queue_table_test", "full, nobody accepts, 31 of 31 have left"},
            {"1/0", "0", "accept_queue_table_test", "full, nobody accepts"}
        ],
        fun() ->
            Printed = printed(),
            [line(spelled(sockname(L)), Printed) || L <- [Well, Waits, Abandoned, Unix]]
        end
    ),
    ?assertEqual([], [Line || Line <- printed(), length(Line) > 120]),
    unregister(accept_queue_table_test),
    exit(Acceptor, kill),
    [gen_tcp:close(L) || L <- [Well, Waits, Abandoned, Unix]].

a_full_member_of_a_group_is_full_in_the_table_whatever_room_the_others_have(_) ->
    Small = sockets:listen(0, [?SO_REUSEPORT, {ip, {127, 0, 0, 1}}]),
    {_, Number} = Address = sockname(Small),
    {ok, Large} = gen_tcp:listen(Number, [?SO_REUSEPORT, {ip, {127, 0, 0, 1}}, {backlog, 100}]),
    Clients = [sockets:dial(Address) || _ <- lists:seq(1, 24)],
    eventually:is({1, true}, fun() ->
        {ok, #{queued := OfSmall}} = accept_queue:depth(Small),
        {ok, #{queued := OfLarge}} = accept_queue:depth(Large),
        {OfSmall, OfLarge > 0}
    end),
    Prefix = spelled(Address) ++ " ",
    Lines = [tl(string:lexemes(Line, " ")) || Line <- printed(), lists:prefix(Prefix, Line)],
    ?assertMatch([_, _], Lines),
    ?assertMatch([["1/0" | _]], [Line || Line <- Lines, lists:member("full", [string:trim(Word, trailing, ",") || Word <- Line])]),
    [ok = sockets:close(Client) || Client <- Clients],
    [ok = gen_tcp:close(L) || L <- [Small, Large]].

printed() ->
    ct:capture_start(),
    ?assertEqual(ok, accept_queue:i()),
    ct:capture_stop(),
    string:lexemes(lists:flatten(ct:capture_get([])), "\n").

%% What the listener's line says: queue, acceptors, server, verdict.
line(Address, Printed) ->
    [Line] = [Line || Line <- Printed, lists:prefix(lists:flatten([Address, " "]), Line)],
    [Queue, _Oldest, _Drops, Accepting, Server | Verdict] = string:lexemes(string:slice(Line, string:length(Address)), " "),
    {Queue, Accepting, Server, lists:flatten(lists:join(" ", Verdict))}.

spelled({local, <<0, Name/binary>>}) ->
    [$@, binary_to_list(Name)];
spelled({Ip, Port}) ->
    inet:ntoa(Ip) ++ ":" ++ integer_to_list(Port).

the_limits_and_counters_are_those_of_the_network_namespace(_) ->
    {ok, Here} = accept_queue:kernel(),
    ?assertEqual(#{}, maps:filter(fun(Key, Figure) -> Figure =/= proc(Key) end, maps:with(limits(), Here))),
    other_vm:with_own_network(?MODULE, clipped_and_overflowing).

%% Alone in a network namespace, so that its counters count no other SYNs.
clipped_and_overflowing() ->
    ok = file:write_file("/proc/sys/net/core/somaxconn", "16"),
    {ok, #{somaxconn := 16, listen_overflows := 0, listen_drops := 0}} = accept_queue:kernel(),
    L = sockets:listen(100),
    Address = sockname(L),
    _ = sockets:clients(17, Address),
    eventually:is({ok, #{queued => 17, limit => 16, drops => 0}}, fun() -> accept_queue:depth(L) end),
    ?assertMatch({ok, #{queued := 17, limit := 16, queued_alive := 17}}, accept_queue:counts(L)),
    Late = [sockets:dial(Address) || _ <- lists:seq(1, 5)],
    {Syns, Syns} = eventually:agree(
        fun() ->
            Sent = lists:sum([sockets:syns(Client) || Client <- Late]),
            {Sent, Sent}
        end,
        fun() ->
            {ok, #{listen_overflows := Overflows, listen_drops := Drops}} = accept_queue:kernel(),
            {Overflows, Drops}
        end
    ),
    ?assert(Syns >= 5),
    ok.

limits() ->
    [somaxconn, tcp_max_syn_backlog, tcp_abort_on_overflow, tcp_syncookies, tcp_synack_retries].

proc(somaxconn) -> proc_file("core/somaxconn");
proc(Limit) -> proc_file("ipv4/" ++ atom_to_list(Limit)).

proc_file(Name) ->
    {ok, Text} = file:read_file("/proc/sys/net/" ++ Name),
    binary_to_integer(string:trim(Text)).

sockname(L) ->
    {ok, Address} = inet:sockname(L),
    Address.

listed(Address) ->
    {ok, Listed} = accept_queue:list(),
    [Listener || #{address := Where} = Listener <- Listed, Where =:= Address].

%% What of a listed socket another process could see as well.
seen_from_outside(Address) ->
    lists:sort([maps:with([cookie, inode, queued, limit, drops], Listener) || Listener <- listed(Address)]).
