%% What list/0 remembers of the VM, and when it scans again: every change of a listener shows at once.
-module(accept_queue_registry_SUITE).

-compile([export_all, nowarn_export_all]).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-define(THOUSANDS, 2000).
%% Half a minute, unless less is asked for as by accept_queue_load_SUITE.
-define(CHURN_MS, 500 * list_to_integer(os:getenv("ACCEPT_QUEUE_LOAD_SECONDS", "60"))).
%% Each with a backlog of its own, which identifies its listeners.
-define(CHURNERS, 4).
-define(FIRST_BACKLOG, 1000).
%% A listener that is remembered costs some hundred bytes; thousands are opened and closed.
-define(GROWTH_BYTES, 4 * 1024 * 1024).

all() ->
    [
        every_kind_is_listed_with_its_owner_and_server,
        what_has_begun_to_listen_is_listed_at_once,
        what_has_been_closed_is_gone_at_once,
        one_that_is_met_in_the_making_gets_its_socket_in_the_next_scan,
        a_new_owner_is_listed_at_once,
        an_owner_that_dies_takes_its_listener_along,
        thousands_of_listeners_are_listed_each_with_its_own_figures,
        without_the_application_nothing_is_remembered_and_all_is_listed,
        listeners_that_come_and_go_do_no_harm
    ].

init_per_suite(Config) ->
    Started = lists:append([element(2, {ok, _} = application:ensure_all_started(App)) || App <- [accept_queue, ssl]]),
    [{started, Started} | Config].

end_per_suite(Config) ->
    [ok = application:stop(Application) || Application <- lists:reverse(?config(started, Config))],
    ok.

every_kind_is_listed_with_its_owner_and_server(_) ->
    Named = start(accept_queue_registry_owner),
    Unnamed = start(undefined),
    Expected = [
        {accept_queue_ssl:transport(L), Pid, Server}
     || {Pid, Server} <- [{Named, accept_queue_registry_owner}, {Unnamed, {?MODULE, init, 1}}],
        Make <- every_kind(),
        L <- [make(Pid, Make)]
    ],
    {ok, Listed} = accept_queue:list(),
    ?assertEqual(lists:sort(Expected), lists:sort(
        [{Socket, Owner, Server} || #{socket := Socket, owner := Owner, server := Server} <- Listed, lists:member(Owner, [Named, Unnamed])]
    )),
    [eventually:ends(Pid, stop) || Pid <- [Named, Unnamed]].

what_has_begun_to_listen_is_listed_at_once(_) ->
    [
        begin
            {ok, Warm} = accept_queue:list(),
            L = Make(),
            Socket = accept_queue_ssl:transport(L),
            ?assertNot(lists:member(Socket, [Listed || #{socket := Listed} <- Warm])),
            ?assertMatch([#{owner := Self}] when Self =:= self(), listed(Socket)),
            kinds:close(L)
        end
     || Make <- every_kind()
    ].

what_has_been_closed_is_gone_at_once(_) ->
    [
        begin
            L = Make(),
            Socket = accept_queue_ssl:transport(L),
            [#{address := Address, cookie := Cookie}] = listed(Socket),
            ?assertMatch({ok, _}, accept_queue:depth(Address)),
            kinds:close(L),
            {ok, Listed} = accept_queue:list(),
            ?assertNot(lists:member(Cookie, [Other || #{cookie := Other} <- Listed])),
            ?assertEqual({error, not_found}, accept_queue:depth(Address))
        end
     || Make <- every_kind()
    ].

%% The kernel shows a listener a moment before the VM has made its socket. Here that moment lasts as long as the test wants:
%% the descriptor comes from outside.
one_that_is_met_in_the_making_gets_its_socket_in_the_next_scan(_) ->
    case os:find_executable("perl") of
        false ->
            {skip, "no perl, which makes the descriptor"};
        _ ->
            Vm = other_vm:start(#{under => other_vm:with_listener()}),
            ok = other_vm:call(Vm, ?MODULE, met_in_the_making, []),
            other_vm:stop(Vm)
    end.

%% Not in the application, whose monitor scans as well: the second scan has to be ours.
met_in_the_making() ->
    ok = accept_queue_registry:new(),
    [#{socket := undefined, owner := undefined, address := Address}] = listed_now(),
    {ok, [#{fd := Fd}]} = accept_queue_nif:own(),
    {ok, L} = gen_tcp:listen(0, [{fd, Fd}]),
    Self = self(),
    ?assertMatch([#{socket := L, owner := Self, address := Address}], listed_now()),
    gen_tcp:close(L).

a_new_owner_is_listed_at_once(_) ->
    Heir = start(accept_queue_registry_heir),
    Self = self(),
    [
        begin
            L = Make(),
            Socket = accept_queue_ssl:transport(L),
            ?assertMatch([#{owner := Self}], listed(Socket)),
            ok = give(L, Heir),
            ?assertMatch([#{owner := Heir, server := accept_queue_registry_heir}], listed(Socket))
        end
     || Make <- every_kind()
    ],
    eventually:ends(Heir, stop).

give({'$socket', _} = L, Heir) -> socket:setopt(L, {otp, controlling_process}, Heir);
give(L, Heir) when element(1, L) =:= sslsocket -> ssl:controlling_process(L, Heir);
give(L, Heir) -> gen_tcp:controlling_process(L, Heir).

an_owner_that_dies_takes_its_listener_along(_) ->
    [
        begin
            Owner = start(undefined),
            Socket = accept_queue_ssl:transport(make(Owner, Make)),
            [#{address := Address}] = listed(Socket),
            {ok, Handle} = accept_queue:open(Socket),
            eventually:ends(Owner, stop),
            %% A port closes with its owner; the socket backend gets its 'DOWN' message like any process.
            eventually:is({error, closed}, fun() -> accept_queue:depth(Handle) end),
            ?assertEqual([], listed(Socket)),
            ?assertEqual({error, not_found}, accept_queue:counts(Address)),
            [?assertEqual({error, closed}, Ask(Socket)) || Ask <- [fun accept_queue:depth/1, fun accept_queue:counts/1]]
        end
     || Make <- every_kind()
    ].

thousands_of_listeners_are_listed_each_with_its_own_figures(_) ->
    Listeners = maps:from_list([{sockets:listen(N), N} || N <- lists:seq(1, ?THOUSANDS)]),
    {ok, Listed} = accept_queue:list(),
    Self = self(),
    ?assertEqual(Listeners, maps:from_list(
        [{Socket, Limit} || #{socket := Socket, limit := Limit, owner := Owner} <- Listed, Owner =:= Self, is_map_key(Socket, Listeners)]
    )),
    %% Half of them go; the others are still all there.
    {Go, Stay} = lists:partition(fun({_, N}) -> N rem 2 =:= 0 end, maps:to_list(Listeners)),
    [gen_tcp:close(L) || {L, _} <- Go],
    {ok, Left} = accept_queue:list(),
    ?assertEqual(lists:sort(Stay), lists:sort(
        [{Socket, Limit} || #{socket := Socket, limit := Limit} <- Left, is_map_key(Socket, Listeners)]
    )),
    [gen_tcp:close(L) || {L, _} <- Stay].

without_the_application_nothing_is_remembered_and_all_is_listed(_) ->
    ok = application:stop(accept_queue),
    L = sockets:listen(5),
    {_, Port} = sockets:address(L),
    ?assertMatch([#{limit := 5}], listed(L)),
    ?assertMatch({ok, #{limit := 5}}, accept_queue:depth({port, Port})),
    gen_tcp:close(L),
    ?assertEqual({error, not_found}, accept_queue:depth({port, Port})),
    ok = application:start(accept_queue).

%% In a VM of its own, whose figures no other test changes.
listeners_that_come_and_go_do_no_harm(_) ->
    Vm = other_vm:start(),
    {Listed, Moving, Figures} = other_vm:call(Vm, ?MODULE, churn, []),
    other_vm:stop(Vm),
    ct:comment("~b lists, ~b listeners that come and go among them", [Listed, Moving]),
    ?assert(Listed > 100),
    ?assert(Moving > 100),
    ?assertEqual([], [Figure || {_, Before, After, Room} = Figure <- Figures, After > Before + Room]).

churn() ->
    {ok, _} = application:ensure_all_started(accept_queue),
    %% A module of OTP that is loaded late, as for the first line of the log, brings its atoms.
    [ok = code:ensure_modules_loaded(element(2, {ok, _} = application:get_key(Of, modules))) || Of <- [kernel, stdlib, accept_queue]],
    Stays = sockets:listen(5),
    Churners = maps:from_list([{Backlog, spawn_monitor(?MODULE, open_and_close, [Backlog])} || Backlog <- backlogs()]),
    Owners = maps:map(fun(_, {Pid, _}) -> Pid end, Churners),
    %% What is loaded and made once is made by now.
    {_, _} = list_until(now_ms() + ?CHURN_MS div 10, Stays, Owners, 0, 0),
    _ = figures(),
    Before = figures(),
    {Listed, Moving} = list_until(now_ms() + ?CHURN_MS, Stays, Owners, 0, 0),
    After = figures(),
    [
        begin
            unlink(Pid),
            exit(Pid, enough),
            receive {'DOWN', Monitor, process, Pid, Reason} -> ?assertEqual(enough, Reason) end
        end
     || {Pid, Monitor} <- maps:values(Churners)
    ],
    %% The VM closes what an ended process had opened a little later.
    eventually:is([Stays], fun() -> [Socket || #{socket := Socket} <- listed_now()] end),
    {Listed, Moving, [{Name, Was, Is, Room} || {{Name, Was, Room}, {Name, Is, Room}} <- lists:zip(Before, After)]}.

backlogs() ->
    lists:seq(?FIRST_BACKLOG, ?FIRST_BACKLOG + ?CHURNERS - 1).

%% By turns of both backends, and connections that may get a listener's descriptor after it.
open_and_close(Backlog) ->
    [
        begin
            L = kinds:listen(Kind, Backlog),
            {ok, Client} = gen_tcp:connect({127, 0, 0, 1}, element(2, kinds:address(L)), []),
            kinds:close(L),
            gen_tcp:close(Client)
        end
     || Kind <- [gen_tcp, gen_tcp_over_socket, socket]
    ],
    open_and_close(Backlog).

list_until(Deadline, Stays, Owners, Listed, Moved) ->
    Rows = listed_now(),
    ?assertMatch([_], [Socket || #{socket := Socket} <- Rows, Socket =:= Stays]),
    Moving = [{Backlog, Owner} || #{limit := Backlog, owner := Owner} <- Rows, is_map_key(Backlog, Owners)],
    %% Of one that is closing the owner may be gone; it is never another.
    ?assertEqual([], [Wrong || {Backlog, Owner} = Wrong <- Moving, Owner =/= undefined, Owner =/= maps:get(Backlog, Owners)]),
    case now_ms() > Deadline of
        true -> {Listed, Moved};
        false -> list_until(Deadline, Stays, Owners, Listed + 1, Moved + length(Moving))
    end.

listed_now() ->
    {ok, Rows} = accept_queue:list(),
    Rows.

%% {name, figure, by how much it may vary}
figures() ->
    [garbage_collect(Pid) || Pid <- processes()],
    {ok, Descriptors} = file:list_dir("/proc/self/fd"),
    [
        {atoms, erlang:system_info(atom_count), 0},
        {ets_tables, length(ets:all()), 0},
        %% Those of the listeners and clients of the moment.
        {processes, erlang:system_info(process_count), 4 * ?CHURNERS},
        {ports, erlang:system_info(port_count), 4 * ?CHURNERS},
        {descriptors, length(Descriptors), 8 * ?CHURNERS},
        {memory, erlang:memory(total), ?GROWTH_BYTES},
        {resident, resident_bytes(), 4 * ?GROWTH_BYTES}
    ].

resident_bytes() ->
    {ok, Status} = file:read_file("/proc/self/status"),
    {match, [KiB]} = re:run(Status, "VmRSS:\\s+(\\d+) kB", [{capture, all_but_first, list}]),
    1024 * list_to_integer(KiB).

every_kind() ->
    [fun() -> kinds:listen(Kind, 5) end || Kind <- kinds:tcp()] ++
        [fun() -> kinds:listen(Kind, 5, #{family => local, path => abstract(Kind)}) end || Kind <- kinds:unix()].

abstract(Kind) ->
    iolist_to_binary([0, "accept_queue_registry ", atom_to_list(Kind), pid_to_list(self())]).

%% A process that makes the listeners that it is asked for.
start(Name) ->
    {ok, Pid} = proc_lib:start(?MODULE, init, [Name]),
    Pid.

init(Name) ->
    Name =:= undefined orelse register(Name, self()),
    proc_lib:init_ack({ok, self()}),
    serve().

serve() ->
    receive
        {make, Make, From} ->
            From ! {made, Make()},
            serve();
        stop ->
            ok
    end.

make(Pid, Make) ->
    Pid ! {make, Make, self()},
    receive
        {made, L} -> L
    end.

listed(Socket) ->
    [Row || #{socket := Listed} = Row <- listed_now(), Listed =:= Socket].

now_ms() ->
    erlang:monotonic_time(millisecond).
