%% Whatever an owner has in hand is a listener: every kind gives the figures that `ss' gives, and takes what can be asked
%% of a listener or of a connection that it has accepted.
-module(accept_queue_kinds_SUITE).

-compile([export_all, nowarn_export_all]).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

%% UNIX_PATH_MAX of include/uapi/linux/un.h, less the NUL that ends a path.
-define(LONGEST_PATH, 107).
-define(LINK_LOCAL, {16#fe80, 0, 0, 0, 0, 0, 0, 1}).
-define(CLIENT_MS, 60000).

all() ->
    [
        every_kind_of_tcp_listener_gives_the_figures_of_ss,
        ssl_over_the_socket_backend_gives_the_figures_of_ss,
        every_kind_of_unix_listener_gives_the_figures_of_ss,
        a_unix_name_may_hold_any_byte,
        a_path_as_a_string_is_encoded_as_gen_tcp_does_it,
        a_path_bound_again_is_the_new_listener,
        a_port_means_all_its_addresses_and_an_address_only_itself,
        a_listener_over_two_descriptors_is_one,
        each_member_of_a_group_is_listed_also_one_without_an_acceptor,
        a_group_is_what_is_left_of_it,
        an_address_costs_one_dump_however_many_sockets_share_it,
        a_link_local_address_is_identified_by_its_scope,
        a_listener_in_another_network_namespace_is_read_there,
        a_namespace_that_may_not_be_entered_is_eperm,
        a_descriptor_without_an_erlang_socket_is_listed_until_one_takes_it,
        a_just_accepted_connection_has_the_time_that_it_waited,
        after_the_tls_handshake_the_wait_is_no_longer_known,
        a_connection_shows_whether_its_client_has_left,
        the_backlog_of_a_full_listener_goes_up_and_down,
        a_backlog_above_somaxconn_is_clipped_and_says_so,
        each_member_of_a_group_gets_the_new_backlog,
        what_does_not_listen_is_refused_by_name,
        a_term_that_is_no_listener_is_badarg
    ].

init_per_suite(Config) ->
    %% list/0 remembers what it has found where the application runs.
    Started = lists:append([element(2, {ok, _} = application:ensure_all_started(App)) || App <- [accept_queue, ssl]]),
    %% Not in the suite's own directory: a Unix socket's path is short.
    Directory = filename:join("/tmp", "accept_queue_" ++ os:getpid()),
    ok = file:make_dir(Directory),
    [{started, Started}, {directory, Directory} | Config].

end_per_suite(Config) ->
    "" = os:cmd("rm -r " ++ ?config(directory, Config)),
    [ok = application:stop(Application) || Application <- lists:reverse(?config(started, Config))],
    ok.

every_kind_of_tcp_listener_gives_the_figures_of_ss(_) ->
    [gives_the_figures_of_ss(Kind) || Kind <- kinds:tcp()].

%% ssl does not let `inet_backend' through to gen_tcp, so the whole VM has that backend.
ssl_over_the_socket_backend_gives_the_figures_of_ss(_) ->
    Vm = other_vm:start(#{under => ["env", "ERL_FLAGS=-kernel inet_backend socket"]}),
    ok = other_vm:call(Vm, ?MODULE, ssl_over_socket, []),
    other_vm:stop(Vm).

ssl_over_socket() ->
    {ok, _} = application:ensure_all_started(ssl),
    L = kinds:listen(ssl, 3),
    ?assertMatch({'$inet', gen_tcp_socket, _}, accept_queue_ssl:transport(L)),
    kinds:close(L),
    gives_the_figures_of_ss(ssl),
    ok.

gives_the_figures_of_ss(Kind) ->
    L = kinds:listen(Kind, 3),
    {_, Port} = Address = kinds:address(L),
    [Closes, _, Resets, Served] = sockets:clients(4, Address),
    becomes(#{queued => 4, limit => 3, queued_alive => 4}, L),
    sockets:close(Closes),
    sockets:reset(Resets),
    Figures = #{queued => 4, queued_alive => 2, queued_closed => 1, queued_reset => 1, sockets => 1},
    {ok, Handle} = accept_queue:open(L),
    [becomes(Figures, Spelling) || Spelling <- [L, Handle, Address, {port, Port}]],
    Accepted = [kinds:accept(Kind, L) || _ <- lists:seq(1, 4)],
    becomes(#{queued => 0, established => 2, close_wait => 1}, L),
    sockets:close(Served),
    becomes(#{queued => 0, established => 1, close_wait => 2}, L),
    agrees_with_ss(Address, [L, Handle, Address, {port, Port}]),
    [kinds:close(Connection) || {ok, Connection} <- Accepted],
    kinds:close(L),
    gone(L, Handle, [Address, {port, Port}]).

every_kind_of_unix_listener_gives_the_figures_of_ss(Config) ->
    [
        begin
            L = kinds:listen(Kind, 2, #{family => local, path => Name}),
            {ok, Handle} = accept_queue:open(L),
            Spellings = [L, Handle, {local, Name}],
            becomes(#{queued => 0, limit => 2, queued_alive => 0, established => 0, sockets => 1}, L),
            [Closes, _, _] = sockets:clients(3, {local, Name}),
            sockets:close(Closes),
            [
                begin
                    becomes(#{queued => 3, limit => 2, queued_alive => 2, queued_closed => 1, queued_reset => 0}, Spelling),
                    {ok, Depth} = accept_queue:depth(Spelling),
                    ?assertEqual(Depth, maps:put(drops, undefined, ss:unix_depth(Name)))
                end
             || Spelling <- Spellings
            ],
            Accepted = [kinds:accept(Kind, L) || _ <- lists:seq(1, 2)],
            becomes(#{queued => 1, queued_alive => 1, established => 1, close_wait => 1}, L),
            [kinds:close(Connection) || {ok, Connection} <- Accepted],
            kinds:close(L),
            gone(L, Handle, [{local, Name}])
        end
     || Kind <- kinds:unix(), Name <- [path(Config, atom_to_list(Kind)), <<0, "accept_queue kinds">>]
    ].

a_unix_name_may_hold_any_byte(Config) ->
    AnyByte = << <<Byte>> || Byte <- lists:seq(1, 255), Byte =/= $/ >>,
    Room = ?LONGEST_PATH - byte_size(path(Config, "")),
    Parts = [binary:part(AnyByte, From, min(Room, 254 - From)) || From <- lists:seq(0, 253, Room)],
    Abstract = <<0, 0, 255, "\n name", 0>>,
    [
        begin
            L = kinds:listen(Kind, 1, #{family => local, path => Name}),
            _ = sockets:client({local, Name}),
            ?assertEqual({ok, #{queued => 1, limit => 1, drops => undefined}}, accept_queue:depth({local, Name})),
            ?assertEqual(#{queued => 1, limit => 1}, ss:unix_depth(Name)),
            ?assertMatch([#{queued := 1}], listed({local, Name})),
            kinds:close(L)
        end
     || Kind <- [gen_tcp, socket],
        Name <- [Abstract | [path(Config, [atom_to_list(Kind), Part]) || Part <- [<<" ">>, <<"\n">>, <<255>>]]]
    ],
    [
        begin
            Name = path(Config, Part),
            L = kinds:listen(gen_tcp, 1, #{family => local, path => Name}),
            ?assertEqual({ok, #{queued => 0, limit => 1, drops => undefined}}, accept_queue:depth({local, Name})),
            kinds:close(L)
        end
     || Part <- Parts
    ],
    ?assertEqual(?LONGEST_PATH, byte_size(path(Config, hd(Parts)))).

%% gen_tcp takes a list for characters, and the file system's encoding makes the bytes of them.
a_path_as_a_string_is_encoded_as_gen_tcp_does_it(Config) ->
    [
        begin
            Path = binary_to_list(path(Config, "")) ++ Name,
            {ok, L} = gen_tcp:listen(0, [{ifaddr, {local, Path}}, {backlog, 4}]),
            ?assertMatch({ok, #{limit := 4}}, accept_queue:depth({local, Path})),
            gen_tcp:close(L)
        end
     || Name <- ["plain", [16#e9], [16#4d2]]
    ].

a_path_bound_again_is_the_new_listener(Config) ->
    Path = path(Config, "again"),
    Old = kinds:listen(gen_tcp, 4, #{family => local, path => Path}),
    ?assertMatch({ok, #{limit := 4}}, accept_queue:depth({local, Path})),
    gen_tcp:close(Old),
    ?assertEqual({error, not_found}, accept_queue:open({local, Path})),
    ok = file:delete(Path),
    New = kinds:listen(gen_tcp, 5, #{family => local, path => Path}),
    ?assertMatch({ok, #{limit := 5}}, accept_queue:depth({local, Path})),
    ?assertMatch([#{socket := New}], listed({local, Path})),
    gen_tcp:close(New).

a_port_means_all_its_addresses_and_an_address_only_itself(_) ->
    One = sockets:listen(5),
    {_, Port} = sockets:address(One),
    Two = sockets:listen(6, [{ip, {127, 0, 0, 2}}, {port, Port}]),
    Six = sockets:listen(7, [inet6, {ip, {0, 0, 0, 0, 0, 0, 0, 1}}, {port, Port}]),
    [_, Closes] = sockets:clients(2, sockets:address(One)),
    _ = sockets:clients(3, sockets:address(Two)),
    _ = sockets:client(sockets:address(Six)),
    sockets:close(Closes),
    Sum = #{queued => 6, limit => 18, queued_alive => 5, queued_closed => 1, queued_reset => 0, sockets => 3},
    becomes(Sum, {port, Port}),
    ?assertEqual({ok, #{queued => 6, limit => 18, drops => 0}}, accept_queue:depth({port, Port})),
    {ok, Handle} = accept_queue:open({port, Port}),
    becomes(Sum, Handle),
    [
        becomes(#{queued => Queued, limit => Limit, sockets => 1}, sockets:address(L))
     || {L, Queued, Limit} <- [{One, 2, 5}, {Two, 3, 6}, {Six, 1, 7}]
    ],
    gen_tcp:close(Six),
    becomes(#{queued => 5, limit => 11, sockets => 2}, Handle),
    becomes(#{queued => 5, limit => 11, sockets => 2}, {port, Port}),
    [gen_tcp:close(L) || L <- [One, Two]],
    gone(One, Handle, [{port, Port}]).

%% `socket:open/1' makes a second descriptor of the same socket.
a_listener_over_two_descriptors_is_one(_) ->
    L = sockets:listen(5),
    {_, Port} = Address = sockets:address(L),
    {ok, Fd} = inet:getfd(L),
    {ok, Second} = socket:open(Fd),
    _ = sockets:clients(2, Address),
    becomes(#{queued => 2, limit => 5, sockets => 1}, {port, Port}),
    ?assertEqual({ok, #{queued => 2, limit => 5, drops => 0}}, accept_queue:depth({port, Port})),
    ?assertMatch([#{queued := 2}], listed(Address)),
    %% It listens for as long as one of them is open.
    gen_tcp:close(L),
    ?assertEqual({ok, #{queued => 2, limit => 5, drops => 0}}, accept_queue:depth(Second)),
    ?assertMatch([#{socket := Second}], listed(Address)),
    kinds:close(Second).

each_member_of_a_group_is_listed_also_one_without_an_acceptor(_) ->
    [Dead | Served] = Group = sockets:group(3, 10),
    Address = kinds:address(Dead),
    Acceptors = [spawn_link(fun() -> accept_for_ever(L) end) || L <- Served],
    %% The kernel deals clients out by a hash: dial until some of them have fallen to the dead one.
    until_queued(3, Dead, Address),
    eventually:is([{Dead, 3, 0} | [{L, 0, 1} || L <- Served]], fun() ->
        Rows = [{L, {L, Queued, Waiting}} || #{socket := L, queued := Queued, waiting_acceptors := Waiting} <- listed(Address)],
        [proplists:get_value(L, Rows) || L <- Group]
    end),
    becomes(#{queued => 3, queued_alive => 3, sockets => 3}, Address),
    agrees_with_ss(Address, Group),
    [begin unlink(Acceptor), exit(Acceptor, kill) end || Acceptor <- Acceptors],
    [gen_tcp:close(L) || L <- Group].

accept_for_ever(L) ->
    {ok, _} = gen_tcp:accept(L),
    accept_for_ever(L).

until_queued(Wanted, L, Address) ->
    case accept_queue:depth(L) of
        {ok, #{queued := Wanted}} ->
            ok;
        {ok, #{queued := Queued}} when Queued < Wanted ->
            _ = sockets:client(Address),
            until_queued(Wanted, L, Address)
    end.

a_group_is_what_is_left_of_it(_) ->
    [First, Second, Third] = sockets:group(3, 10),
    {_, Port} = Address = kinds:address(First),
    {ok, Handle} = accept_queue:open(Address),
    becomes(#{limit => 30, sockets => 3}, Handle),
    gen_tcp:close(First),
    [becomes(#{limit => 20, sockets => 2}, Spelling) || Spelling <- [Handle, Address, {port, Port}, Second, Third]],
    ?assertEqual({ok, #{queued => 0, limit => 20, drops => 0}}, accept_queue:depth(Handle)),
    ?assertEqual({error, closed}, accept_queue:counts(First)),
    ?assertEqual(lists:sort([Second, Third]), lists:sort([Socket || #{socket := Socket} <- listed(Address)])),
    [gen_tcp:close(L) || L <- [Second, Third]],
    gone(First, Handle, [Address, {port, Port}]).

an_address_costs_one_dump_however_many_sockets_share_it(Config) ->
    case os:cmd("strace -o /dev/null true") of
        "" ->
            Trace = filename:join(?config(priv_dir, Config), "strace"),
            Strace = ["strace", "-f", "--quiet=all", "-e", "trace=sendto", "-o", Trace],
            Vm = other_vm:start(#{under => Strace}),
            %% A listener of its own, a group of one and a group of eight; by handle, and what a look-up adds.
            [{1, Alone, LookedUp}, {8, Together, LookedUpToo}] = other_vm:call(Vm, ?MODULE, dumps, [Trace, [1, 8]]),
            other_vm:stop(Vm),
            ?assertEqual({1, 1}, {Alone, Together}),
            %% The look-up dumps the listeners of each family.
            ?assertEqual({4, 4}, {LookedUp, LookedUpToo});
        Refused ->
            {skip, "strace cannot be used here: " ++ Refused}
    end.

dumps(Trace, Sizes) ->
    {ok, _} = application:ensure_all_started(accept_queue),
    %% No other process is to ask meanwhile.
    ok = supervisor:terminate_child(accept_queue_sup, accept_queue_monitor),
    [
        begin
            Group = sockets:group(Size, 10),
            Address = kinds:address(hd(Group)),
            {ok, Handle} = accept_queue:open(Address),
            [ByHandle, ByAddress] = [dumps_of(Spelling, Size, Trace) || Spelling <- [Handle, Address]],
            [gen_tcp:close(L) || L <- Group],
            {Size, ByHandle, ByAddress}
        end
     || Size <- Sizes
    ].

%% The least of several: the monitor's search for new listeners, which lives on in the library's thread or in the program, asks as well.
dumps_of(Spelling, Size, Trace) ->
    lists:min([
        begin
            Before = questions(Trace),
            {ok, #{sockets := Size}} = accept_queue:counts(Spelling),
            questions(Trace) - Before
        end
     || _ <- lists:seq(1, 5)
    ]).

%% What has been asked of the kernel. strace writes a call down before it lets the process go on.
questions(Trace) ->
    {ok, Calls} = file:read_file(Trace),
    length(binary:matches(Calls, <<"sendto(">>)).

a_link_local_address_is_identified_by_its_scope(_) ->
    other_vm:with_own_network(?MODULE, link_local).

link_local() ->
    "" = os:cmd("ip link add scope_one type veth peer name scope_two"),
    [One, Two] = [link_local(Name) || Name <- ["scope_one", "scope_two"]],
    L = kinds:listen(socket, 5, peer(One, 0)),
    {ok, #{port := Port}} = socket:sockname(L),
    Other = kinds:listen(socket, 6, peer(Two, Port)),
    _ = sockets:clients(2, {?LINK_LOCAL, Port, One}),
    _ = sockets:client({?LINK_LOCAL, Port, Two}),
    [becomes(#{queued => 2, queued_alive => 2, limit => 5, sockets => 1}, Spelling) || Spelling <- [L, {?LINK_LOCAL, Port, One}]],
    [becomes(#{queued => 1, queued_alive => 1, limit => 6, sockets => 1}, Spelling) || Spelling <- [Other, {?LINK_LOCAL, Port, Two}]],
    %% Without a scope it is meant in each.
    [becomes(#{queued => 3, queued_alive => 3, limit => 11, sockets => 2}, Spelling) || Spelling <- [{?LINK_LOCAL, Port}, {port, Port}]],
    {ok, Listed} = accept_queue:list(),
    ?assertEqual(
        lists:sort([{{?LINK_LOCAL, Port, One}, L}, {{?LINK_LOCAL, Port, Two}, Other}]),
        [{Address, Socket} || #{address := Address, socket := Socket} <- Listed]
    ),
    ?assertEqual({error, not_found}, accept_queue:depth({?LINK_LOCAL, Port, One + Two})),
    ok.

%% A device with the one address, and its index.
link_local(Name) ->
    "" = os:cmd(
        "ip link set " ++ Name ++ " addrgenmode none up && ip address add " ++ inet:ntoa(?LINK_LOCAL) ++ "/64 dev " ++ Name ++ " nodad"
    ),
    {ok, Index} = net:if_name2index(Name),
    Index.

peer(Scope, Port) ->
    #{family => inet6, addr => ?LINK_LOCAL, port => Port, scope_id => Scope}.

a_listener_in_another_network_namespace_is_read_there(_) ->
    Namespace = "accept_queue_" ++ os:getpid(),
    case os:cmd("ip netns add " ++ Namespace ++ " && ip netns exec " ++ Namespace ++ " ip link set lo up") of
        "" ->
            try
                [is_read_in(Namespace, Kind) || Kind <- [gen_tcp, gen_tcp_over_socket, socket]]
            after
                "" = os:cmd("ip netns delete " ++ Namespace)
            end;
        Refused ->
            {skip, "no network namespace can be made here: " ++ Refused}
    end.

is_read_in(Namespace, Kind) ->
    Path = "/var/run/netns/" ++ Namespace,
    %% A listener of the VM's own namespace on the same address, which must not be taken for the other.
    Here = sockets:listen(9),
    {_, Port} = Address = sockets:address(Here),
    L = listen_in(Kind, Path, Port),
    Inside = other_vm:start(#{under => ["nsenter", "--net=" ++ Path]}),
    [_, Closes, _] = [sockets:client(Address, #{netns => Path}) || _ <- lists:seq(1, 3)],
    sockets:close(Closes),
    Figures = #{queued => 3, limit => 4, queued_alive => 2, queued_closed => 1, queued_reset => 0, sockets => 1},
    becomes(Figures, L),
    {ok, Handle} = accept_queue:open(L),
    becomes(Figures, Handle),
    Depth = maps:put(drops, 0, maps:with([queued, limit], Figures)),
    ?assertEqual({ok, Depth}, accept_queue:depth(L)),
    becomes(#{queued => 0, limit => 9, queued_alive => 0, sockets => 1}, Here),
    eventually:agree(
        fun() -> timeless(other_vm:call(Inside, ss, counts, [Address])) end,
        fun() ->
            {ok, Counts} = accept_queue:counts(L),
            timeless(Counts)
        end
    ),
    other_vm:stop(Inside),
    %% The dump of the VM's namespace does not show it, so that a list that has been made may hide it for a while.
    forget(),
    ?assertEqual(lists:sort([{Here, 0}, {L, 3}]), lists:sort([{Socket, Queued} || #{socket := Socket, queued := Queued} <- listed(Address)])),
    becomes(#{queued => 3, limit => 13, sockets => 2}, Address),
    %% No thread of the VM has stayed there.
    Threads = filelib:wildcard("/proc/self/task/*/ns/net"),
    {ok, Own} = file:read_link("/proc/self/ns/net"),
    ?assertEqual([Own], lists:usort([Target || Thread <- Threads, {ok, Target} <- [file:read_link(Thread)]])),
    kinds:close(L),
    ?assertMatch([#{socket := Here}], listed(Address)),
    ?assertEqual({error, closed}, accept_queue:counts(Handle)),
    kinds:close(Here).

listen_in(socket, Path, Port) ->
    {ok, L} = socket:open(inet, stream, tcp, #{netns => Path}),
    ok = socket:bind(L, #{family => inet, addr => loopback, port => Port}),
    ok = socket:listen(L, 4),
    L;
listen_in(gen_tcp_over_socket, Path, Port) ->
    {ok, L} = gen_tcp:listen(Port, [{inet_backend, socket}, {ip, loopback}, {backlog, 4}, {netns, Path}]),
    L;
listen_in(gen_tcp, Path, Port) ->
    {ok, L} = gen_tcp:listen(Port, [{ip, loopback}, {backlog, 4}, {netns, Path}]),
    L.

a_namespace_that_may_not_be_entered_is_eperm(_) ->
    with_inherited_listener(["unshare", "--net", "setpriv", "--bounding-set=-all"], not_to_be_entered).

not_to_be_entered() ->
    {ok, _} = application:ensure_all_started(accept_queue),
    [#{fd := Fd, address := Address}] = own(),
    {ok, L} = gen_tcp:listen(0, [{fd, Fd}, {backlog, 7}]),
    %% A search before that has found a descriptor without one.
    forget(),
    ?assertMatch({ok, #{queued := 0, limit := 7}}, accept_queue:depth(L)),
    ?assertEqual({error, eperm}, accept_queue:counts(L)),
    %% A scan that has found no socket for it is good for a second.
    eventually:is([L], fun() -> [Socket || #{socket := Socket, queued := 0, limit := 7} <- listed(Address)] end),
    ?assertMatch({match, _}, re:run(accept_queue_table:text(), "unreadable: no right to enter its network namespace")),
    ok.

a_descriptor_without_an_erlang_socket_is_listed_until_one_takes_it(_) ->
    with_inherited_listener([], taken_over).

taken_over() ->
    {ok, _} = application:ensure_all_started(accept_queue),
    [#{fd := Fd, address := {_, Port} = Address}] = own(),
    Unowned = #{socket => undefined, owner => undefined, server => undefined, waiting_acceptors => undefined},
    ?assertEqual([Unowned], [maps:with(maps:keys(Unowned), Row) || Row <- listed(Address)]),
    ?assertMatch({ok, #{limit := 7}}, accept_queue:depth({port, Port})),
    ?assertMatch({match, _}, re:run(accept_queue_table:text(), integer_to_list(Port) ++ " +0/7 .* ok\n")),
    {ok, L} = gen_tcp:listen(0, [{fd, Fd}]),
    forget(),
    Self = self(),
    ?assertMatch([#{socket := L, owner := Self, waiting_acceptors := 0}], listed(Address)),
    %% gen_tcp leaves a descriptor that it was given as it is.
    gen_tcp:close(L),
    ?assertEqual([Unowned], [maps:with(maps:keys(Unowned), Row) || Row <- listed(Address)]),
    ok.

with_inherited_listener(Under, Function) ->
    case os:find_executable("perl") =/= false andalso os:cmd(lists:join(" ", Under ++ ["true"])) of
        "" ->
            Vm = other_vm:start(#{under => other_vm:with_listener() ++ Under}),
            ok = other_vm:call(Vm, ?MODULE, Function, []),
            other_vm:stop(Vm);
        Refused ->
            {skip, io_lib:format("no perl, or not allowed here: ~tp", [Refused])}
    end.

own() ->
    {ok, Own} = accept_queue_nif:own(),
    Own.

a_just_accepted_connection_has_the_time_that_it_waited(_) ->
    [
        begin
            L = kinds:listen(Kind, 5),
            Before = now_ms(),
            Client = sockets:client(kinds:address(L)),
            becomes(#{queued => 1}, L),
            Done = now_ms(),
            eventually:passes(Done + 200),
            %% What comes from the client changes nothing.
            sockets:send(Client, <<"hello">>),
            becomes(#{queued_bytes => 5}, L),
            {ok, Connection} = kinds:accept(Kind, L),
            Asked = now_ms(),
            {ok, Ms} = accept_queue:wait_ms(Connection),
            Answered = now_ms(),
            %% Give or take two ticks of the slowest clock that Linux can be built with.
            ?assert(Asked - Done - 20 =< Ms andalso Ms =< Answered - Before + 20, {Kind, Ms, Answered - Before}),
            write(Connection),
            ?assertEqual({error, already_written}, accept_queue:wait_ms(Connection)),
            kinds:close(Connection),
            ?assertEqual({error, closed}, accept_queue:wait_ms(Connection)),
            kinds:close(L)
        end
     || Kind <- kinds:tcp() -- [ssl]
    ].

write({'$socket', _} = Socket) -> ok = socket:send(Socket, <<"hello">>);
write(Socket) -> ok = gen_tcp:send(Socket, <<"hello">>).

after_the_tls_handshake_the_wait_is_no_longer_known(_) ->
    #{server := ServerOptions, client := ClientOptions} = tls:options(),
    {ok, L} = ssl:listen(0, [{ip, {127, 0, 0, 1}}, {active, false} | ServerOptions]),
    {ok, {_, Port}} = ssl:sockname(L),
    Test = self(),
    {Client, Monitor} = spawn_monitor(fun() ->
        {ok, Tls} = ssl:connect({127, 0, 0, 1}, Port, [{active, false} | ClientOptions], ?CLIENT_MS),
        Test ! connected,
        receive close -> ssl:close(Tls) end
    end),
    {ok, Transport} = ssl:transport_accept(L, ?CLIENT_MS),
    ?assertMatch({ok, _}, accept_queue:wait_ms(Transport)),
    ?assertEqual({ok, false}, accept_queue:peer_closed(Transport)),
    {ok, Connection} = ssl:handshake(Transport, ?CLIENT_MS),
    receive connected -> ok end,
    ?assertEqual({error, already_written}, accept_queue:wait_ms(Connection)),
    ?assertEqual({ok, false}, accept_queue:peer_closed(Connection)),
    Client ! close,
    receive {'DOWN', Monitor, process, Client, normal} -> ok end,
    %% ssl reads ahead of its user: it may have read the end, and closed, before we ask.
    eventually:is(true, fun() -> lists:member(accept_queue:peer_closed(Connection), [{ok, true}, {error, closed}]) end),
    ssl:close(L).

a_connection_shows_whether_its_client_has_left(Config) ->
    Tcp = [{Kind, kinds:listen(Kind, 5)} || Kind <- kinds:tcp()],
    Unix = [
        {Kind, kinds:listen(Kind, 5, #{family => local, path => path(Config, ["left_", atom_to_list(Kind)])})}
     || Kind <- kinds:unix()
    ],
    [
        begin
            Leaves = [fun sockets:close/1 | [fun sockets:reset/1 || lists:member({Kind, L}, Tcp)]],
            [
                begin
                    Client = sockets:client(kinds:address(L)),
                    {ok, Connection} = kinds:accept(Kind, L),
                    ?assertEqual({ok, false}, accept_queue:peer_closed(Connection)),
                    Leave(Client),
                    eventually:is({ok, true}, fun() -> accept_queue:peer_closed(Connection) end),
                    kinds:close(Connection),
                    ?assertEqual({error, closed}, accept_queue:peer_closed(Connection))
                end
             || Leave <- Leaves
            ],
            %% It left while it waited.
            sockets:close(sockets:client(kinds:address(L))),
            becomes(#{queued_closed => 1}, L),
            {ok, Dead} = kinds:accept(Kind, L),
            ?assertEqual({ok, true}, accept_queue:peer_closed(Dead)),
            kinds:close(Dead),
            kinds:close(L)
        end
     || {Kind, L} <- Tcp ++ Unix
    ].

the_backlog_of_a_full_listener_goes_up_and_down(Config) ->
    Unix = #{family => local, path => path(Config, "resized")},
    [
        begin
            Address = kinds:address(L),
            _ = sockets:clients(3, Address),
            becomes(#{queued => 3, limit => 2, queued_alive => 3}, L),
            ?assertEqual({ok, #{requested => 5, limit => 5}}, accept_queue:resize(L, 5)),
            becomes(#{queued => 3, limit => 5, queued_alive => 3}, L),
            _ = sockets:clients(3, Address),
            becomes(#{queued => 6, limit => 5, queued_alive => 6}, L),
            {ok, Handle} = accept_queue:open(Address),
            ?assertEqual({ok, #{requested => 1, limit => 1}}, accept_queue:resize(Handle, 1)),
            %% No queued client is sent away.
            becomes(#{queued => 6, limit => 1, queued_alive => 6, queued_reset => 0}, L),
            kinds:close(L),
            ?assertEqual({error, closed}, accept_queue:resize(Handle, 5))
        end
     || L <- [kinds:listen(gen_tcp, 2, Unix) | [kinds:listen(Kind, 2) || Kind <- kinds:tcp()]]
    ].

a_backlog_above_somaxconn_is_clipped_and_says_so(_) ->
    {ok, #{somaxconn := Most}} = accept_queue:kernel(),
    L = sockets:listen(2),
    ?assertEqual({ok, #{requested => Most + 1, limit => Most}}, accept_queue:resize(L, Most + 1)),
    ?assertEqual({ok, #{requested => 16#7fffffff, limit => Most}}, accept_queue:resize(L, 16#7fffffff)),
    ?assertMatch([#{limit := Most}], ss:listeners(sockets:address(L))),
    %% More than 16 bits: beyond what the inet driver can ask for itself.
    ?assertEqual({ok, #{requested => 0, limit => 0}}, accept_queue:resize(L, 0)),
    ?assertMatch([#{limit := 0}], ss:listeners(sockets:address(L))).

each_member_of_a_group_gets_the_new_backlog(_) ->
    [First | _] = Group = sockets:group(3, 10),
    Address = kinds:address(First),
    ?assertEqual({ok, #{requested => 20, limit => 60}}, accept_queue:resize(Address, 20)),
    ?assertEqual([20, 20, 20], [Limit || #{limit := Limit} <- listed(Address)]),
    %% One of them, where one is in hand.
    ?assertEqual({ok, #{requested => 5, limit => 5}}, accept_queue:resize(First, 5)),
    ?assertEqual([5, 20, 20], lists:sort([Limit || #{limit := Limit} <- listed(Address)])),
    [gen_tcp:close(L) || L <- Group].

what_does_not_listen_is_refused_by_name(Config) ->
    L = sockets:listen(5),
    Client = sockets:client(sockets:address(L)),
    {ok, Connection} = gen_tcp:accept(L, ?CLIENT_MS),
    {ok, Udp} = gen_udp:open(0),
    {ok, Unbound} = socket:open(inet, stream, tcp),
    {ok, UnixUnbound} = socket:open(local, stream),
    {ok, UdpSocket} = socket:open(inet, dgram, udp),
    [
        ?assertEqual({Socket, {error, not_listening}}, {Socket, Ask(Socket)})
     || Socket <- [Connection, Client, Udp, Unbound, UnixUnbound, UdpSocket], Ask <- questions()
    ],
    Closed = [kinds:listen(Kind, 5) || Kind <- kinds:tcp()],
    [kinds:close(Socket) || Socket <- Closed],
    [?assertEqual({Socket, {error, closed}}, {Socket, Ask(Socket)}) || Socket <- Closed, Ask <- questions()],
    {_, Port} = sockets:address(L),
    gen_tcp:close(L),
    [
        ?assertEqual({Place, {error, not_found}}, {Place, Ask(Place)})
     || Place <- [{port, Port}, {{127, 0, 0, 1}, Port}, {local, path(Config, "missing")}, {local, <<>>}], Ask <- questions()
    ].

a_term_that_is_no_listener_is_badarg(_) ->
    File = open_port({spawn, "cat"}, []),
    Terms = [
        listener, 80, self(), make_ref(), File, {}, {port, 0}, {port, 65536}, {port, http}, {local, path}, {local, [-1]},
        {{127, 0, 0}, 80}, {{127, 0, 0, 256}, 80}, {{127, 0, 0, 1}, 0}, {?LINK_LOCAL, 80, eth0}, {"127.0.0.1", 80},
        {sslsocket, 1, 2}, {'$inet', gen_tcp_socket, {self(), make_ref()}}, {'$socket', 1}
    ],
    [?assertError(badarg, Ask(Term), {Term, Ask}) || Term <- Terms, Ask <- questions()],
    port_close(File),
    L = sockets:listen(5),
    [?assertError(badarg, accept_queue:resize(L, Backlog)) || Backlog <- [-1, 16#80000000, 1.0, many]],
    [
        ?assertError(badarg, Ask(Term))
     || Term <- [connection, 1, {}, {port, 80}], Ask <- [fun accept_queue:wait_ms/1, fun accept_queue:peer_closed/1]
    ].

questions() ->
    [
        fun accept_queue:open/1,
        fun accept_queue:depth/1,
        fun accept_queue:counts/1,
        fun accept_queue:holders/1,
        fun(Listener) -> accept_queue:resize(Listener, 5) end
    ].

becomes(Figures, Spelling) ->
    eventually:is(Figures, fun() ->
        {ok, Counts} = accept_queue:counts(Spelling),
        maps:with(maps:keys(Figures), Counts)
    end).

agrees_with_ss(Address, Spellings) ->
    [
        ss:agrees(Address, fun() ->
            {ok, Counts} = accept_queue:counts(Spelling),
            Counts
        end)
     || Spelling <- Spellings
    ].

timeless(Counts) ->
    maps:remove(oldest_wait_ms, Counts).

%% A socket and a handle that were listeners have closed; nothing listens where they were.
gone(Socket, Handle, Places) ->
    ?assertEqual({error, closed}, accept_queue:depth(Socket)),
    ?assertEqual({error, closed}, accept_queue:depth(Handle)),
    ?assertEqual({error, closed}, accept_queue:counts(Handle)),
    [?assertEqual({error, not_found}, accept_queue:counts(Place)) || Place <- Places],
    [?assertEqual([], listed(Place)) || Place <- Places].

listed(Address) ->
    {ok, Listed} = accept_queue:list(),
    [Listener || #{address := Where} = Listener <- Listed, Where =:= Address].

%% As if the application had just been started.
forget() ->
    ok = application:stop(accept_queue),
    ok = application:start(accept_queue).

path(Config, Name) ->
    iolist_to_binary([?config(directory, Config), $/, Name]).

now_ms() ->
    erlang:monotonic_time(millisecond).
