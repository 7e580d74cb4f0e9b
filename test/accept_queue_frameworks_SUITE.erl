%% Listeners of frameworks that Debian does not carry, by name and with their pools. The frameworks are stand-ins (test/stand_ins): what
%% their processes show of themselves, as their sources have it and as was seen on the real ones (docs/runbook.md). ranch has a
%% suite of its own, with the real one.
-module(accept_queue_frameworks_SUITE).

-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

-define(POOL, 4).
-define(ENDPOINT, 'Elixir.StandInWeb.Endpoint').
-define(ISLAND(Module), list_to_atom("Elixir.ThousandIsland." ++ Module)).

all() ->
    [
        a_phoenix_endpoint_is_called_as_under_cowboy,
        a_listener_of_bandit_is_called_by_its_plug,
        a_listener_of_thousand_island_is_called_by_its_name_or_handler,
        a_server_with_several_sockets_has_the_pools_that_were_seen,
        a_supervisor_that_is_stuck_hides_no_pool,
        mochiweb_has_its_acceptors_and_not_its_connections,
        mochiweb_at_its_limit_has_no_acceptor_and_says_so,
        mochiweb_without_descriptors_is_named,
        elli_has_its_acceptors_and_not_its_connections,
        a_listener_of_esockd_is_called_by_its_protocol,
        esockd_that_pauses_is_named,
        each_framework_is_in_the_log_line_of_a_stall
    ].

init_per_suite(Config) ->
    _ = [
        begin
            {ok, Module, Beam} = compile:file(repository:path("test/stand_ins/" ++ atom_to_list(Module)), [binary]),
            {module, Module} = code:load_binary(Module, "test/stand_ins", Beam)
        end
     || Module <- [framework_tree, mochiweb_acceptor, elli_http]
    ],
    {ok, _} = application:ensure_all_started(accept_queue),
    Config.

end_per_suite(_) ->
    application:stop(accept_queue).

a_phoenix_endpoint_is_called_as_under_cowboy(_) ->
    {L, Root} = phoenix(#{}),
    is_called({phoenix, 'Elixir.StandInWeb.Endpoint.HTTP'}, L),
    is_printed("StandInWeb.Endpoint.HTTP ", L),
    %% Of acceptors that no reading has found in accept.
    has_pool(framework_tree:find(Root, {?ISLAND("Acceptor"), run, 1}), L),
    framework_tree:stop(Root).

a_listener_of_bandit_is_called_by_its_plug(_) ->
    Config = #{handler_module => 'Elixir.Bandit.DelegatingHandler', handler_options => #{plug => {'Elixir.StandIn.Plug', []}}},
    %% The arguments up to 1.3, and since.
    [
        begin
            {L, Root} = island(#{argument => Argument}),
            is_called({bandit, 'Elixir.StandIn.Plug'}, L),
            is_printed("bandit StandIn.Plug", L),
            framework_tree:stop(Root)
        end
     || Argument <- [{self(), self(), Config}, {self(), self(), 1, Config}]
    ].

a_listener_of_thousand_island_is_called_by_its_name_or_handler(_) ->
    Config = #{handler_module => 'Elixir.StandIn.Handler', handler_options => []},
    [
        begin
            {L, Root} = island(Tree#{argument => {self(), self(), 1, Config}}),
            is_called({thousand_island, Name}, L),
            has_pool(framework_tree:find(Root, {?ISLAND("Acceptor"), run, 1}), L),
            framework_tree:stop(Root)
        end
     || {Tree, Name} <- [
            {#{name => stand_in_server}, stand_in_server},
            {#{}, 'Elixir.StandIn.Handler'},
            {#{label => {thousand_island, listener, {4000, 'Elixir.StandIn.Handler'}}}, 'Elixir.StandIn.Handler'}
        ]
    ].

%% `num_listen_sockets': which acceptor accepts from which socket shows in no dictionary.
a_server_with_several_sockets_has_the_pools_that_were_seen(_) ->
    {L, Root} = island(#{argument => {self(), self(), 1, #{}}}),
    [Owner] = framework_tree:find(Root, {?ISLAND("Listener"), init, 1}),
    Other = sockets:listen(16),
    ok = gen_tcp:controlling_process(Other, Owner),
    Pool = lists:sort([spawn(fun() -> gen_tcp:accept(Other) end) || _ <- lists:seq(1, ?POOL)]),
    ok = looks:have_found(Other, Pool),
    ?assertMatch({ok, #{pool := Pool}}, accept_queue:acceptors(Other)),
    ?assertMatch({ok, #{pool := undefined}}, accept_queue:acceptors(L)),
    [exit(Pid, kill) || Pid <- Pool],
    framework_tree:stop(Root).

a_supervisor_that_is_stuck_hides_no_pool(_) ->
    {L, Root} = phoenix(#{stuck => true}),
    %% Without an answer the scheme is not known.
    is_called({phoenix, ?ENDPOINT}, L),
    has_pool(framework_tree:find(Root, {?ISLAND("Acceptor"), run, 1}), L),
    framework_tree:stop(Root).

mochiweb_has_its_acceptors_and_not_its_connections(_) ->
    {L, Server} = mochiweb(100),
    is_called({mochiweb, stand_in_mochiweb}, L),
    is_printed("mochiweb stand_in_mochi", L),
    _ = sockets:clients(3 * ?POOL, sockets:address(L)),
    eventually:is({3 * ?POOL, ?POOL}, fun() -> {established(L), accept_queue_backend:waiting(L)} end),
    has_pool_in_accept(L),
    framework_tree:stop(Server).

mochiweb_at_its_limit_has_no_acceptor_and_says_so(_) ->
    {L, Server} = mochiweb(?POOL),
    is_called({mochiweb, stand_in_mochiweb}, L),
    _ = sockets:clients(?POOL + 1, sockets:address(L)),
    eventually:is({?POOL, 0}, fun() -> {established(L), accept_queue_backend:waiting(L)} end),
    eventually:is({0, [{Server, max_connections}]}, fun() -> parked(L) end),
    framework_tree:stop(Server).

mochiweb_without_descriptors_is_named(_) ->
    {L, Server} = one_shot(stand_in_mochiweb, {mochiweb_socket_server, init, 1}, 100, fun(Self, Socket) ->
        mochiweb_acceptor:init(Self, {emfile, Socket}, none, [])
    end),
    eventually:is({0, [no_descriptors]}, fun() -> {Waiting, Parked} = parked(L), {Waiting, lists:usort([Id || {_, Id} <- Parked])} end),
    framework_tree:stop(Server).

elli_has_its_acceptors_and_not_its_connections(_) ->
    {L, Server} = one_shot(stand_in_elli, {elli, init, 1}, 100, fun(Self, Socket) -> elli_http:accept(Self, Socket, [], none) end),
    is_called({elli, stand_in_elli}, L),
    is_printed("elli stand_in_elli", L),
    _ = sockets:clients(3 * ?POOL, sockets:address(L)),
    eventually:is({3 * ?POOL, ?POOL}, fun() -> {established(L), accept_queue_backend:waiting(L)} end),
    has_pool_in_accept(L),
    framework_tree:stop(Server).

a_listener_of_esockd_is_called_by_its_protocol(_) ->
    [
        begin
            {L, Root} = esockd(Listener, Acceptor, fun(Socket) -> {ok, _} = prim_inet:async_accept(Socket, -1), receive stop -> ok end end),
            is_called({esockd, 'mqtt:tcp'}, L),
            is_printed("esockd mqtt:tcp", L),
            has_pool(framework_tree:find(Root, {Acceptor, init, 1}), L),
            framework_tree:stop(Root)
        end
     || {Listener, Acceptor} <- [{esockd_listener, esockd_acceptor_fsm}, {esockd_listener, esockd_acceptor}, {esockd_socket_listener, esockd_acceptor_fsm}]
    ].

%% Up to 5.9 an acceptor does not accept while it pauses.
esockd_that_pauses_is_named(_) ->
    {L, Root} = esockd(esockd_listener, esockd_acceptor, fun(_) -> gen_statem:enter_loop(?MODULE, [], suspending, none) end),
    eventually:is({0, [paused]}, fun() -> {Waiting, Parked} = parked(L), {Waiting, lists:usort([Id || {_, Id} <- Parked])} end),
    framework_tree:stop(Root).

callback_mode() -> handle_event_function.

handle_event(_, _, _, _) -> keep_state_and_data.

%% Cold: nothing but the log is read.
each_framework_is_in_the_log_line_of_a_stall(_) ->
    ok = logger:add_handler(?MODULE, ?MODULE, #{level => error, filter_default => stop, filters => logged:filters(), config => #{to => self()}}),
    [
        begin
            Line = line_of_a_stall(Start, Server, 8),
            ct:log("~ts", [Line]),
            ?assertMatch({match, _}, re:run(Line, Words), Line)
        end
     || {Start, Server, Words} <- [
            {fun() -> phoenix(#{}) end, {phoenix, 'Elixir.StandInWeb.Endpoint.HTTP'}, "\\(StandInWeb.Endpoint.HTTP\\).*0 of 4 in accept"},
            {fun() -> mochiweb(?POOL) end, {mochiweb, stand_in_mochiweb}, "\\(mochiweb stand_in_mochiweb\\).*its option max is reached"},
            {fun() -> esockd(esockd_listener, esockd_acceptor, fun(_) -> receive stop -> ok end end) end, {esockd, 'mqtt:tcp'},
                "\\(esockd mqtt:tcp\\).*0 of 4 in accept"}
        ]
    ],
    ok = logger:remove_handler(?MODULE).

%% What a very busy machine does not find out about the pool within 150 ms is left out of the line. So it is tried with other listeners.
line_of_a_stall(Start, Server, Tries) ->
    {L, Root} = Start(),
    is_called(Server, L),
    Address = sockets:address(L),
    ok = accept_queue:watch(L, #{stuck_ms => 300, interval_ms => 50}),
    _ = sockets:clients(?POOL + 1, Address),
    Line = logged_of(Address, 60000),
    framework_tree:stop(Root),
    case string:find(Line, "in accept") of
        nomatch when Tries > 1 -> line_of_a_stall(Start, Server, Tries - 1);
        _ -> Line
    end.

%% The line that says that this one is stuck.
logged_of({_, Port} = Address, Ms) ->
    receive
        {logged, Line} ->
            Words = ":" ++ integer_to_list(Port) ++ " .* is stuck",
            case re:run(Line, Words) of
                {match, _} -> Line;
                nomatch -> logged_of(Address, Ms)
            end
    after Ms -> error({not_logged, Address})
    end.

%% As a handler of logger.
log(Event, #{config := #{to := Pid}}) ->
    Pid ! {logged, unicode:characters_to_list(logger_formatter:format(Event, #{single_line => true, template => [msg]}))},
    ok.

%% The frameworks.

%% Acceptors that hang in something else from the start.
phoenix(Endpoint) ->
    started(Endpoint#{
        began => {supervisor, 'Elixir.Phoenix.Endpoint.Supervisor', 1},
        name => ?ENDPOINT,
        children => [(server(#{argument => {self(), self(), 1, #{}}}))#{id => {?ENDPOINT, http}}]
    }, {?ISLAND("Listener"), init, 1}).

island(Tree) ->
    started(server(Tree), {?ISLAND("Listener"), init, 1}).

server(#{argument := Argument} = Tree) ->
    Acceptor = #{began => {?ISLAND("Acceptor"), run, 1}, id => acceptor, argument => Argument, does => fun wait/0},
    Supervisor = #{
        began => {supervisor, ?ISLAND("AcceptorSupervisor"), 1},
        children => [#{began => {'Elixir.DynamicSupervisor', init, 1}, id => connection_sup, children => []}, Acceptor]
    },
    Listener = maps:merge(#{began => {?ISLAND("Listener"), init, 1}, id => listener, does => fun wait/0}, maps:with([label], Tree)),
    Pool = #{
        began => {supervisor, ?ISLAND("AcceptorPoolSupervisor"), 1},
        id => acceptor_pool_supervisor,
        children => lists:duplicate(?POOL, Supervisor)
    },
    (maps:with([name], Tree))#{began => {supervisor, ?ISLAND("Server"), 1}, children => [Listener, Pool]}.

esockd(Listener, Acceptor, Accept) ->
    L = sockets:listen(16),
    Acceptors = #{
        began => {supervisor, esockd_acceptor_sup, 1},
        id => acceptor_sup,
        children => lists:duplicate(?POOL, #{began => {Acceptor, init, 1}, does => fun() -> Accept(L) end})
    },
    Root = framework_tree:start(#{
        began => {supervisor, esockd_sup, 1},
        name => esockd_sup,
        children => [
            #{
                began => {supervisor, esockd_listener_sup, 1},
                id => {listener_sup, {'mqtt:tcp', 1883}},
                children => [#{began => {Listener, init, 1}, id => listener, does => fun wait/0}, Acceptors]
            }
        ]
    }),
    [Owner] = framework_tree:find(Root, {Listener, init, 1}),
    ok = gen_tcp:controlling_process(L, Owner),
    {L, Root}.

started(Tree, Owner) ->
    Root = framework_tree:start(Tree),
    L = sockets:listen(16),
    [Pid] = framework_tree:find(Root, Owner),
    ok = gen_tcp:controlling_process(L, Pid),
    {L, Root}.

mochiweb(Max) ->
    one_shot(stand_in_mochiweb, {mochiweb_socket_server, init, 1}, Max, fun(Self, Socket) ->
        mochiweb_acceptor:init(Self, Socket, fun(_, _) -> wait() end, [])
    end).

%% A server that starts an acceptor for each that has become a connection, up to so many in all.
one_shot(Name, Began, Max, Accept) ->
    Test = self(),
    Server = framework_tree:start(#{
        began => Began,
        name => Name,
        does => fun() ->
            L = sockets:listen(16),
            Test ! {listens, L},
            Self = self(),
            Start = fun() -> spawn_link(fun() -> Accept(Self, L) end) end,
            _ = [Start() || _ <- lists:seq(1, ?POOL)],
            gen_server:enter_loop(?MODULE, [], {Start, Max - ?POOL})
        end
    }),
    {receive {listens, L} -> L end, Server}.

handle_info(accepted, {Start, Left}) when Left > 0 ->
    _ = Start(),
    {noreply, {Start, Left - 1}};
handle_info(_, State) ->
    {noreply, State}.

handle_call(_, _, State) -> {noreply, State}.
handle_cast(_, State) -> {noreply, State}.

wait() ->
    receive stop -> ok end.

%% What is asked.

is_called(Server, L) ->
    eventually:is([Server], fun() ->
        ok = looks:look(),
        [Called || #{socket := Socket, server := Called} <- element(2, accept_queue:list()), Socket =:= L]
    end).

is_printed(Text, L) ->
    {_, Port} = sockets:address(L),
    Lines = [Line || Line <- string:split(lists:flatten(accept_queue_table:text()), "\n", all), string:find(Line, ":" ++ integer_to_list(Port) ++ " ") =/= nomatch],
    ?assertMatch([_], [Line || Line <- Lines, string:find(Line, Text) =/= nomatch]).

has_pool(Pool, L) ->
    ?assertEqual(?POOL, length(Pool)),
    Sorted = lists:sort(Pool),
    ?assertMatch({ok, #{pool := Sorted}}, accept_queue:acceptors(L)).

%% As soon as the last one to accept has left the acceptor's code.
has_pool_in_accept(L) ->
    {?POOL, InAccept} = accept_queue_backend:acceptors(L, [], no_search),
    Sorted = lists:sort(InAccept),
    eventually:is({ok, #{waiting_count => ?POOL, waiting => Sorted, pool => Sorted, busy => [], busy_count => 0}}, fun() ->
        accept_queue:acceptors(L)
    end).

parked(L) ->
    {ok, #{waiting_count := Waiting, busy := Busy}} = accept_queue:acceptors(L),
    {Waiting, [{Pid, case Parked of {Id, _} -> Id; undefined -> undefined end} || #{pid := Pid, parked := Parked} <- Busy]}.

established(L) ->
    {ok, #{established := Count}} = accept_queue:counts(L),
    Count.
