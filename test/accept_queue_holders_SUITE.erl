%% Who holds the connections that their clients have closed.
-module(accept_queue_holders_SUITE).

-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

%% Connections of one VM have both ends in it: two ports each.
-define(CONNECTIONS, 10000).
%% For the VM's own descriptors, and what a test opens beside its connections.
-define(OTHER_DESCRIPTORS, 100).
%% Of so many connections one is closed by its client.
-define(ONE_IN, 100).

all() ->
    [
        each_connection_has_its_process_the_longest_held_first,
        what_is_not_accepted_is_held_by_no_process,
        a_listener_does_not_answer_for_another,
        a_short_list_says_how_many_there_are,
        members_of_a_group_hold_together,
        a_holder_comes_with_its_name_its_label_and_what_it_does,
        holders_that_die_meanwhile_are_unknown_and_not_mistaken,
        the_right_processes_are_found_among_all_the_ports_of_a_vm,
        a_unix_listener_has_no_such_state,
        options_that_mean_nothing_are_badarg
    ].

each_connection_has_its_process_the_longest_held_first(_) ->
    [
        begin
            L = kinds:listen(Kind, 5),
            Address = kinds:address(L),
            {Clients, Holders} = lists:unzip([held(Kind, L) || _ <- lists:seq(1, 4)]),
            ?assertEqual({ok, []}, accept_queue:holders(L)),
            %% The last one stays.
            Leaving = lists:droplast(lists:zip(Clients, Holders)),
            Order = [lists:nth(N, Leaving) || N <- [2, 3, 1]],
            Expected = [
                begin
                    ok = socket:send(Client, binary:copy(<<"x">>, N)),
                    {ok, #{addr := Ip, port := Port}} = socket:sockname(Client),
                    sockets:close(Client),
                    eventually:is(N, fun() -> length(holders(L)) end),
                    %% Ages that differ by more than the kernel's tick.
                    eventually:passes(erlang:monotonic_time(millisecond) + 30),
                    {holder(Kind, Pid, Socket), accept_queue_ssl:transport(Socket), {Ip, Port}, N}
                end
             || {N, {Client, {Pid, Socket}}} <- lists:zip([1, 2, 3], Order)
            ],
            {ok, Handle} = accept_queue:open(L),
            [
                begin
                    Rows = holders(Spelling),
                    ?assertEqual(Expected, [
                        {Pid, Socket, Peer, Bytes}
                     || #{pid := Pid, socket := Socket, peer := Peer, recv_bytes := Bytes} <- Rows
                    ]),
                    ?assertEqual([{close_wait, 3}], lists:usort([{State, All} || #{state := State, close_wait := All} <- Rows])),
                    Ages = [Age || #{age_ms := Age} <- Rows],
                    ?assertEqual(lists:reverse(lists:sort(Ages)), Ages),
                    ?assert(lists:min(Ages) < lists:max(Ages))
                end
             || Spelling <- [L, Handle, Address]
            ],
            [eventually:ends(Pid, release) || {Pid, _} <- Holders],
            eventually:is([], fun() -> holders(L) end),
            kinds:close(L),
            ?assertEqual({error, closed}, accept_queue:holders(Handle))
        end
     || Kind <- kinds:tcp()
    ].

%% Between an ssl connection and its user is a process of ssl's own.
holder(ssl, _Pid, Socket) ->
    {connected, Pid} = erlang:port_info(accept_queue_ssl:transport(Socket), connected),
    Pid;
holder(_Kind, Pid, _Socket) ->
    Pid.

what_is_not_accepted_is_held_by_no_process(_) ->
    L = sockets:listen(5),
    sockets:close(sockets:client(sockets:address(L))),
    eventually:is({ok, 1}, fun() ->
        {ok, #{queued_closed := Closed}} = accept_queue:counts(L),
        {ok, Closed}
    end),
    ?assertEqual({ok, []}, accept_queue:holders(L)),
    {ok, _} = gen_tcp:accept(L),
    Self = self(),
    ?assertMatch([#{pid := Self}], holders(L)).

a_listener_does_not_answer_for_another(_) ->
    One = sockets:listen(5),
    {_, Port} = sockets:address(One),
    Two = sockets:listen(5, [{ip, {127, 0, 0, 2}}, {port, Port}]),
    [{ClientOne, {HolderOne, _}}, {ClientTwo, {HolderTwo, _}}] = [held(gen_tcp, L) || L <- [One, Two]],
    [sockets:close(Client) || Client <- [ClientOne, ClientTwo]],
    eventually:is([[HolderOne], [HolderTwo]], fun() -> [[Pid || #{pid := Pid} <- holders(L)] || L <- [One, Two]] end),
    ?assertEqual(
        lists:sort([HolderOne, HolderTwo]), lists:sort([Pid || #{pid := Pid, close_wait := 2} <- holders({port, Port})])
    ),
    [eventually:ends(Pid, release) || Pid <- [HolderOne, HolderTwo]].

a_short_list_says_how_many_there_are(_) ->
    L = sockets:listen(5),
    Held = [held(gen_tcp, L) || _ <- lists:seq(1, 5)],
    [
        begin
            sockets:close(Client),
            eventually:is(N, fun() -> length(holders(L)) end),
            eventually:passes(erlang:monotonic_time(millisecond) + 30)
        end
     || {N, {Client, _}} <- lists:zip(lists:seq(1, 5), Held)
    ],
    Oldest = [Pid || {_, {Pid, _}} <- lists:sublist(Held, 2)],
    {ok, Short} = accept_queue:holders(L, #{limit => 2}),
    ?assertEqual([{Pid, 5} || Pid <- Oldest], [{Pid, All} || #{pid := Pid, close_wait := All} <- Short]),
    ?assertEqual(5, length(holders(L))),
    {ok, Whole} = accept_queue:holders(L, #{}),
    ?assertEqual(5, length(Whole)),
    [eventually:ends(Pid, release) || {_, {Pid, _}} <- Held].

members_of_a_group_hold_together(_) ->
    [One, Two] = sockets:group(2, 10),
    %% The kernel deals clients out by a hash, so each member takes whatever has come to it.
    Clients = sockets:clients(8, sockets:address(One)),
    Accepted = [Socket || L <- [One, Two], Socket <- accept_all(L)],
    ?assertEqual(8, length(Accepted)),
    lists:foreach(fun sockets:close/1, Clients),
    Self = self(),
    eventually:is({8, [{Self, 8}]}, fun() ->
        Rows = holders(One),
        {length(Rows), lists:usort([{Pid, All} || #{pid := Pid, close_wait := All} <- Rows])}
    end),
    ?assertEqual(lists:sort(Accepted), lists:sort([Socket || #{socket := Socket} <- holders(Two)])).

accept_all(L) ->
    case accept_queue:depth(L) of
        {ok, #{queued := 0}} ->
            [];
        {ok, _} ->
            {ok, Socket} = gen_tcp:accept(L),
            [Socket | accept_all(L)]
    end.

a_holder_comes_with_its_name_its_label_and_what_it_does(_) ->
    L = sockets:listen(5),
    {Client, {Holder, _}} = held(gen_tcp, L),
    register(accept_queue_holder, Holder),
    sockets:close(Client),
    eventually:is(1, fun() -> length(holders(L)) end),
    ?assertMatch(
        [
            #{
                registered_name := accept_queue_holder,
                initial_call := {?MODULE, hold, 3},
                current_function := {?MODULE, hold, 3},
                label := {connection, 7}
            }
        ],
        holders(L)
    ),
    eventually:ends(Holder, release).

%% A socket goes with its owner, so each row has its right process, or none.
holders_that_die_meanwhile_are_unknown_and_not_mistaken(_) ->
    L = sockets:listen(100),
    {Clients, Holders} = lists:unzip([held(gen_tcp, L) || _ <- lists:seq(1, 100)]),
    lists:foreach(fun sockets:close/1, Clients),
    eventually:is(100, fun() -> length(holders(L)) end),
    Owners = maps:from_list([{Socket, Pid} || {Pid, Socket} <- Holders]),
    {Killer, Monitor} = spawn_monitor(fun() -> [eventually:ends(Pid, release) || {Pid, _} <- Holders] end),
    readings_until_none(L, Owners),
    receive {'DOWN', Monitor, process, Killer, Reason} -> ?assertEqual(normal, Reason) end.

readings_until_none(L, Owners) ->
    Rows = holders(L),
    [?assertEqual(Pid, maps:get(Socket, Owners)) || #{pid := Pid, socket := Socket} <- Rows, Pid =/= undefined, Socket =/= undefined],
    case Rows of
        [] -> ok;
        _ -> readings_until_none(L, Owners)
    end.

the_right_processes_are_found_among_all_the_ports_of_a_vm(_) ->
    Vm = other_vm:start(#{under => ["/bin/sh", "-c", "ulimit -n $(ulimit -H -n) && exec \"$@\"", "sh"]}),
    Ports = other_vm:call(Vm, ?MODULE, many_ports, []),
    ct:comment("~b ports", [Ports]),
    other_vm:stop(Vm),
    ?assert(Ports > 1000).

many_ports() ->
    Limit = list_to_integer(string:trim(os:cmd("ulimit -n"))),
    L = sockets:listen(1000),
    {Ip, Port} = sockets:address(L),
    Connections = [
        begin
            {ok, Client} = gen_tcp:connect(Ip, Port, [{active, false}]),
            {ok, Socket} = gen_tcp:accept(L),
            {Client, Socket}
        end
     || _ <- lists:seq(1, min(?CONNECTIONS, (Limit - ?OTHER_DESCRIPTORS) div 2))
    ],
    Ports = length(erlang:ports()),
    Chosen = [Connection || {N, Connection} <- lists:enumerate(Connections), N rem ?ONE_IN =:= 0],
    Expected = [
        begin
            Pid = spawn(fun() -> timer:sleep(infinity) end),
            ok = gen_tcp:controlling_process(Socket, Pid),
            gen_tcp:close(Client),
            {Socket, Pid}
        end
     || {Client, Socket} <- Chosen
    ],
    eventually:is(lists:sort(Expected), fun() -> lists:sort([{Socket, Pid} || #{socket := Socket, pid := Pid} <- holders(L)]) end),
    Ports.

a_unix_listener_has_no_such_state(_) ->
    L = kinds:listen(gen_tcp, 5, #{family => local, path => <<0, "accept_queue holders">>}),
    ?assertEqual({error, unsupported}, accept_queue:holders(L)),
    kinds:close(L).

options_that_mean_nothing_are_badarg(_) ->
    L = sockets:listen(5),
    [
        ?assertError(badarg, accept_queue:holders(L, Options))
     || Options <- [#{limit => 0}, #{limit => -1}, #{limit => all}, #{limit => 1, order => oldest}, [], [{limit, 1}]]
    ].

%% A client, and the process that has accepted it and does nothing with it.
held(Kind, L) ->
    Client = sockets:client(kinds:address(L)),
    Test = self(),
    Pid = proc_lib:spawn(?MODULE, hold, [Kind, L, Test]),
    receive
        {Pid, Socket} -> {Client, {Pid, Socket}}
    end.

hold(Kind, L, Test) ->
    {ok, Socket} = kinds:accept(Kind, L),
    %% As `proc_lib:set_label/1' does since OTP 27.
    put('$process_label', {connection, 7}),
    Test ! {self(), Socket},
    receive
        release -> ok
    end.

holders(L) ->
    {ok, Holders} = accept_queue:holders(L),
    Holders.
