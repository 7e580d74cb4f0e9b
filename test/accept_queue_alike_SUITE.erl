%% What shares a shown address is not one queue: the same address on two devices, in two network namespaces, and a Unix path that was made
%% again while the old socket listens on. Each is judged alone, has a name that stays, and is not taken for the other.
-module(accept_queue_alike_SUITE).

-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

-define(QUICK, #{for_ms => 500, stuck_ms => 1000, clear_ms => 500}).
-define(EVENT_MS, 60000).

all() ->
    [
        two_devices_are_two_queues,
        two_namespaces_are_two_queues,
        a_path_that_was_made_anew_is_another_queue
    ].

end_per_testcase(_, _Config) ->
    application:stop(accept_queue).

two_devices_are_two_queues(_) ->
    other_vm:with_own_network(?MODULE, devices).

%% In a VM that is alone in its network. Clients come from a further namespace, over a pair of devices: what comes over loopback comes
%% to no other device.
devices() ->
    {ok, _} = application:ensure_all_started(accept_queue),
    ok = accept_queue:subscribe(),
    Sleeper = open_port({spawn_executable, os:find_executable("unshare")}, [{args, ["--net", "cat"]}]),
    {os_pid, OsPid} = erlang:port_info(Sleeper, os_pid),
    Clients = "/proc/" ++ integer_to_list(OsPid) ++ "/ns/net",
    eventually:is(true, fun() -> file:read_link(Clients) =/= file:read_link("/proc/self/ns/net") end),
    [connected(Device, Third, OsPid) || {Device, Third} <- [{"one", "1"}, {"two", "2"}]],
    Any = {0, 0, 0, 0},
    One = sockets:listen(5, [{ip, Any}, {port, sockets:lasting_port()}, {bind_to_device, <<"one">>}]),
    {_, Port} = sockets:address(One),
    Address = {Any, Port},
    Other = {Address, {device, <<"two">>}},
    %% One that is alone is called by its address.
    eventually:is([Address], fun accept_queue:watched/0),
    Two = sockets:listen(7, [{ip, Any}, {port, Port}, {bind_to_device, <<"two">>}]),
    eventually:is([Address, Other], fun accept_queue:watched/0),
    %% Processes are in accept of the one, none of the other.
    _ = spawn_link(fun() -> gen_tcp:accept(One) end),
    ok = accept_queue:watch({port, Port}, ?QUICK),
    ?assertEqual([Address, Other], accept_queue:watched()),
    _ = [sockets:client({{10, 0, 2, 1}, Port}, #{netns => Clients}) || _ <- [1, 2]],
    Details = await(stuck),
    ?assertMatch(#{address := Other, queued := 2, limit := 7, acceptors := none_waiting}, Details),
    %% It is noted a moment after it is published.
    eventually:is({failing, [{behind, Other}, {stuck, Other}]}, fun accept_queue:health/0),
    ?assertMatch({ok, #{depth := #{queued := 2, limit := 7}}}, accept_queue:status(Other)),
    %% An address means all that is shown with it, and hides none.
    ?assertMatch({ok, #{depth := #{queued := 2, limit := 12}, conditions := [behind, stuck]}}, accept_queue:status(Address)),
    ?assertEqual(accept_queue:health(), accept_queue:health({port, Port})),
    ?assertEqual(accept_queue:health(), accept_queue:health(Other)),
    ?assertEqual(ok, accept_queue:health(One)),
    ?assertEqual({ok, #{queued => 2, limit => 7, drops => 0}}, accept_queue:depth(Other)),
    {ok, Listed} = accept_queue:list(),
    ?assertEqual([{Address, <<"one">>}, {Address, <<"two">>}], lists:sort([{A, D} || #{address := A, device := D} <- Listed])),
    Shown = "0.0.0.0:" ++ integer_to_list(Port) ++ "%two",
    [?assertNotEqual(nomatch, string:find(Text, Shown)) || Text <- [accept_queue_table:text(), accept_queue_text:address(Other)]],
    %% The name stays where the other one goes, and where it is closed and opened again.
    gen_tcp:close(One),
    eventually:is([Other], fun accept_queue:watched/0),
    gen_tcp:close(Two),
    Again = sockets:listen(9, [{ip, Any}, {port, Port}, {bind_to_device, <<"two">>}, {reuseaddr, true}]),
    eventually:is({ok, 9}, fun() -> limit(Other) end),
    ?assertEqual([Other], accept_queue:watched()),
    ok = accept_queue:unwatch(Other),
    ?assertEqual([], accept_queue:watched()),
    ?assertEqual({failing, []}, {failing, [Reason || {Reason, _} <- reasons(accept_queue:health())]}),
    gen_tcp:close(Again),
    true = port_close(Sleeper),
    ok.

limit(Name) ->
    case accept_queue:status(Name) of
        {ok, #{depth := #{limit := Limit}}} -> {ok, Limit};
        Other -> Other
    end.

reasons(ok) -> [];
reasons({_, Reasons}) -> Reasons.

%% A device here, and its other end where the clients are.
connected(Device, Third, OsPid) ->
    There = "nsenter -t " ++ integer_to_list(OsPid) ++ " -n ip ",
    Peer = Device ++ "_peer",
    [
        ?assertEqual("", os:cmd(Command), Command)
     || Command <- [
            "ip link add " ++ Device ++ " type veth peer name " ++ Peer,
            "ip link set " ++ Peer ++ " netns " ++ integer_to_list(OsPid),
            "ip addr add 10.0." ++ Third ++ ".1/24 dev " ++ Device,
            "ip link set " ++ Device ++ " up",
            There ++ "addr add 10.0." ++ Third ++ ".2/24 dev " ++ Peer,
            There ++ "link set " ++ Peer ++ " up"
        ]
    ].

two_namespaces_are_two_queues(_) ->
    other_vm:with_own_network(?MODULE, namespaces).

namespaces() ->
    {ok, _} = application:ensure_all_started(accept_queue),
    ok = accept_queue:subscribe(),
    Sleeper = open_port({spawn_executable, os:find_executable("unshare")}, [{args, ["--net", "sh", "-c", "ip link set lo up; cat"]}]),
    {os_pid, OsPid} = erlang:port_info(Sleeper, os_pid),
    Path = "/proc/" ++ integer_to_list(OsPid) ++ "/ns/net",
    eventually:is(true, fun() -> file:read_link(Path) =/= file:read_link("/proc/self/ns/net") end),
    {ok, "net:[" ++ Rest} = file:read_link(Path),
    Namespace = list_to_integer(string:trim(Rest, trailing, "]")),
    Here = sockets:listen(5),
    {Ip, Port} = Address = sockets:address(Here),
    Name = {Address, {namespace, Namespace}},
    {ok, There} = gen_tcp:listen(Port, [{ip, Ip}, {backlog, 7}, {netns, Path}]),
    ok = accept_queue:watch(There, ?QUICK),
    ok = accept_queue:watch(Here, ?QUICK),
    ?assertEqual([Address, Name], accept_queue:watched()),
    eventually:is(connected, fun() ->
        try sockets:client(Address, #{netns => Path}) of
            _ -> connected
        catch
            error:Reason -> Reason
        end
    end),
    ?assertMatch(#{address := Name, limit := 7}, await(stuck)),
    eventually:is({failing, [{behind, Name}, {stuck, Name}]}, fun accept_queue:health/0),
    ?assertEqual(ok, accept_queue:health(Here)),
    ?assertMatch({failing, _}, accept_queue:health(There)),
    ok = accept_queue:unwatch(There),
    ?assertEqual([Address], accept_queue:watched()),
    [gen_tcp:close(L) || L <- [Here, There]],
    true = port_close(Sleeper),
    ok.

a_path_that_was_made_anew_is_another_queue(Config) ->
    {ok, _} = application:ensure_all_started(accept_queue),
    ok = accept_queue:subscribe(),
    Path = "/tmp/accept_queue_" ++ os:getpid() ++ "_alike",
    Address = {local, list_to_binary(Path)},
    Old = listen(Path, 5),
    eventually:is(true, fun() -> lists:member(Address, accept_queue:watched()) end),
    ok = file:delete(Path),
    New = listen(Path, 7),
    {ok, [#{inode := Inode}]} = listed(New),
    Name = {Address, {inode, Inode}},
    eventually:is([Address, Name], fun() -> its(Address) end),
    _ = spawn_link(fun() -> gen_tcp:accept(Old) end),
    ok = accept_queue:watch({local, Path}, ?QUICK),
    Client = sockets:client(Address),
    ?assertMatch(#{address := Name, limit := 7, acceptors := none_waiting}, await(stuck)),
    eventually:is({failing, [{behind, Name}, {stuck, Name}]}, fun() -> accept_queue:health({local, Path}) end),
    ?assertEqual(ok, accept_queue:health(Old)),
    gen_tcp:close(Old),
    eventually:is([Name], fun() -> its(Address) end),
    {ok, _} = gen_tcp:accept(New),
    receive {accept_queue, cleared, stuck, #{address := Name}} -> ok after ?EVENT_MS -> ct:fail(not_cleared) end,
    sockets:close(Client),
    gen_tcp:close(New),
    eventually:is([], fun() -> its(Address) end),
    _ = file:delete(Path),
    Config.

listen(Path, Backlog) ->
    {ok, L} = gen_tcp:listen(0, [{ifaddr, {local, Path}}, {backlog, Backlog}]),
    L.

listed(Socket) ->
    {ok, Listed} = accept_queue:list(),
    {ok, [Row || #{socket := Of} = Row <- Listed, Of =:= Socket]}.

its(Address) ->
    [Name || Name <- accept_queue:watched(), accept_queue_naming:base(Name) =:= Address].

await(Condition) ->
    receive
        {accept_queue, raised, Condition, Details} -> Details
    after ?EVENT_MS -> erlang:error({not_raised, Condition})
    end.
