%% Listeners of a real ranch, alone and under cowboy, by their references.
-module(accept_queue_ranch_SUITE).

-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

-define(POOL, 4).

all() ->
    [
        a_listener_is_read_by_its_reference,
        several_listening_sockets_are_answered_together,
        a_listener_is_listed_with_its_reference,
        a_listener_of_cowboy_is_one_of_ranch,
        the_pool_is_what_ranch_says_it_is,
        the_pool_of_one_socket_is_only_its_own_acceptors,
        a_pool_at_max_connections_is_named,
        a_pool_without_descriptors_is_named,
        a_restarted_acceptor_is_in_the_pool,
        the_options_that_a_listener_was_started_with_are_known,
        a_listener_on_a_socket_that_another_process_owns_is_known,
        a_suspended_listener_does_not_listen,
        a_stopped_listener_is_not_found,
        a_listener_is_read_while_its_supervisor_is_stuck,
        a_listener_laid_out_as_by_ranch_1_is_found,
        without_ranch_nothing_is_found
    ].

init_per_suite(Config) ->
    case components:load([ranch, cowboy, cowlib]) of
        ok ->
            {ok, _} = application:ensure_all_started(accept_queue),
            {ok, _} = application:ensure_all_started(cowboy),
            Config;
        {skip, _} = Skip ->
            Skip
    end.

end_per_suite(_) ->
    [ok = application:stop(Application) || Application <- [cowboy, ranch, accept_queue]].

end_per_testcase(_, _) ->
    [ranch:stop_listener(Ref) || Ref <- accept_queue_ranch:refs()].

%% As ranch's protocol: holds its connection.
start_link(_Ref, _Transport, _Options) ->
    {ok, spawn_link(fun() -> receive stop -> ok end end)}.

transports() ->
    #{server := Certificate} = tls:options(),
    [{tcp, ranch_tcp, []}, {tls, ranch_ssl, Certificate}].

started(Ref) ->
    started(Ref, ranch_tcp, #{}).

started(Ref, Transport, #{} = Options) ->
    Socket = [{ip, {127, 0, 0, 1}} | maps:get(socket_opts, Options, [])],
    All = maps:merge(#{num_acceptors => ?POOL}, Options#{socket_opts => Socket}),
    {ok, _} = ranch:start_listener(Ref, Transport, All, ?MODULE, []),
    ranch:get_addr(Ref).

a_listener_is_read_by_its_reference(_) ->
    [
        begin
            %% Any term is a reference.
            Ref = {?FUNCTION_NAME, Name},
            Address = started(Ref, Transport, #{socket_opts => [{backlog, 20} | Options], max_connections => 1}),
            %% Each acceptor takes one and is parked with it.
            Clients = sockets:clients(?POOL + 3, Address),
            eventually:is({ok, #{queued => 3, limit => 20, drops => 0}}, fun() -> accept_queue:depth({ranch, Ref}) end),
            ?assertMatch({ok, #{queued_alive := 3, sockets := 1}}, accept_queue:counts({ranch, Ref})),
            {ok, Handle} = accept_queue:open({ranch, Ref}),
            ?assertMatch({ok, #{queued := 3}}, accept_queue:depth(Handle)),
            [sockets:close(Client) || Client <- Clients]
        end
     || {Name, Transport, Options} <- transports()
    ].

several_listening_sockets_are_answered_together(_) ->
    [
        begin
            Ref = {?FUNCTION_NAME, Name},
            _ = started(Ref, Transport, reuse_port(Options)),
            ?assertMatch({ok, #{sockets := 2, limit := 40}}, accept_queue:counts({ranch, Ref})),
            {sockets, Sockets} = accept_queue_ranch:sockets(Ref),
            ?assertMatch([_, _], Sockets)
        end
     || {Name, Transport, Options} <- transports()
    ].

reuse_port(Options) ->
    %% include/uapi/asm-generic/socket.h
    #{num_listen_sockets => 2, socket_opts => [{raw, 1, 15, <<1:32/native>>}, {backlog, 20} | Options]}.

a_listener_is_listed_with_its_reference(_) ->
    [
        begin
            Ref = {?FUNCTION_NAME, Name},
            Address = started(Ref, Transport, #{socket_opts => Options}),
            {ok, Listed} = accept_queue:list(),
            ?assertEqual([{ranch, Ref}], [Server || #{address := Where, server := Server} <- Listed, Where =:= Address])
        end
     || {Name, Transport, Options} <- transports()
    ],
    ct:capture_start(),
    ok = accept_queue:i(),
    ct:capture_stop(),
    %% A long reference is cut short there.
    ?assertMatch({match, [_, _]}, re:run(ct:capture_get([]), "ranch \\{a_listener_is", [global])).

a_listener_of_cowboy_is_one_of_ranch(_) ->
    {ok, _} = cowboy:start_clear(http, [{ip, {127, 0, 0, 1}}, {port, 0}], #{env => #{dispatch => []}}),
    Address = ranch:get_addr(http),
    ?assertMatch({ok, #{limit := 1024}}, accept_queue:depth({ranch, http})),
    ?assertMatch({ok, #{pool := [_ | _]}}, accept_queue:acceptors(Address)),
    {ok, Listed} = accept_queue:list(),
    ?assertMatch([_], [Row || #{server := {ranch, http}} = Row <- Listed]).

the_pool_is_what_ranch_says_it_is(_) ->
    [
        begin
            Ref = {?FUNCTION_NAME, Name},
            Address = started(Ref, Transport, #{socket_opts => Options}),
            Pool = lists:sort(ranch:procs(Ref, acceptors)),
            ?assertEqual(?POOL, length(Pool)),
            Expected = #{waiting_count => ?POOL, waiting => Pool, pool => Pool, busy => [], busy_count => 0},
            eventually:is({ok, Expected}, fun() -> accept_queue:acceptors({ranch, Ref}) end),
            eventually:is({ok, Expected}, fun() -> accept_queue:acceptors(Address) end)
        end
     || {Name, Transport, Options} <- transports()
    ].

the_pool_of_one_socket_is_only_its_own_acceptors(_) ->
    Ref = ?FUNCTION_NAME,
    _ = started(Ref, ranch_tcp, reuse_port([])),
    {sockets, Sockets} = accept_queue_ranch:sockets(Ref),
    Half = ?POOL div 2,
    Pools = [
        begin
            eventually:is({Half, 0}, fun() ->
                {ok, #{waiting_count := Waiting, busy_count := Busy}} = accept_queue:acceptors(Socket),
                {Waiting, Busy}
            end),
            {ok, #{pool := Pool}} = accept_queue:acceptors(Socket),
            Pool
        end
     || Socket <- Sockets
    ],
    ?assertEqual(lists:sort(ranch:procs(Ref, acceptors)), lists:sort(lists:append(Pools))).

a_pool_at_max_connections_is_named(_) ->
    [
        begin
            Ref = {?FUNCTION_NAME, Name},
            Address = started(Ref, Transport, #{max_connections => 1, socket_opts => Options}),
            _ = sockets:clients(?POOL, Address),
            eventually:is({0, lists:duplicate(?POOL, max_connections)}, fun() -> parked(Ref) end)
        end
     || {Name, Transport, Options} <- transports()
    ].

%% An acceptor pauses when accept returns emfile: a transport in between returns it.
a_pool_without_descriptors_is_named(_) ->
    Ref = ?FUNCTION_NAME,
    _ = started(Ref, ?MODULE, #{}),
    eventually:is(true, fun() -> lists:member(no_descriptors, element(2, parked(Ref))) end).

name() -> tcp.
listen(#{socket_opts := SocketOptions} = Options) ->
    case lists:keyfind(opened, 1, SocketOptions) of
        {opened, L} -> {ok, L};
        false -> ranch_tcp:listen(Options)
    end.
sockname(L) -> ranch_tcp:sockname(L).
accept(_, _) -> {error, emfile}.
cleanup(_) -> ok.

a_restarted_acceptor_is_in_the_pool(_) ->
    Ref = ?FUNCTION_NAME,
    _ = started(Ref),
    [First | Others] = ranch:procs(Ref, acceptors),
    exit(First, kill),
    eventually:is(true, fun() ->
        {ok, #{waiting_count := Count, pool := Pool, busy := []}} = accept_queue:acceptors({ranch, Ref}),
        Count =:= ?POOL andalso not lists:member(First, Pool) andalso Others -- Pool =:= []
    end).

the_options_that_a_listener_was_started_with_are_known(_) ->
    _ = started(defaults),
    _ = started(given, ranch_tcp, #{socket_opts => [{backlog, 7}], max_connections => 50}),
    ?assertEqual(
        {ok, #{max_connections => 1024, num_acceptors => ?POOL, backlog => 1024}}, accept_queue_ranch:info(defaults)
    ),
    ?assertEqual({ok, #{max_connections => 50, num_acceptors => ?POOL, backlog => 7}}, accept_queue_ranch:info(given)),
    ?assertEqual({error, not_found}, accept_queue_ranch:info(missing)),
    ?assertEqual([defaults, given], lists:sort(accept_queue_ranch:refs())).

%% Its transport got the socket from another process, which still owns it.
a_listener_on_a_socket_that_another_process_owns_is_known(_) ->
    Ref = ?FUNCTION_NAME,
    L = sockets:listen(16),
    _ = started(Ref, ?MODULE, #{socket_opts => [{opened, L}]}),
    ?assertEqual(self(), accept_queue_backend:owner(L)),
    eventually:is([{ranch, Ref}], fun() ->
        accept_queue_pools ! look,
        [Server || #{socket := Socket, server := Server} <- element(2, accept_queue:list()), Socket =:= L]
    end),
    Pool = lists:sort(ranch:procs(Ref, acceptors)),
    ?assertMatch({ok, #{pool := Pool}}, accept_queue:acceptors(L)).

a_suspended_listener_does_not_listen(_) ->
    Ref = ?FUNCTION_NAME,
    _ = started(Ref),
    ok = ranch:suspend_listener(Ref),
    ?assertEqual({error, not_listening}, accept_queue:depth({ranch, Ref})),
    ?assertEqual({error, not_listening}, accept_queue:acceptors({ranch, Ref})),
    ok = ranch:resume_listener(Ref),
    ?assertMatch({ok, #{queued := 0}}, accept_queue:depth({ranch, Ref})).

a_stopped_listener_is_not_found(_) ->
    Ref = ?FUNCTION_NAME,
    _ = started(Ref),
    {sockets, [Socket]} = accept_queue_ranch:sockets(Ref),
    ok = ranch:stop_listener(Ref),
    ?assertEqual({error, not_found}, accept_queue:depth({ranch, Ref})),
    ?assertEqual({error, not_found}, accept_queue:acceptors({ranch, Ref})),
    ?assertEqual({error, closed}, accept_queue:acceptors(Socket)).

a_listener_is_read_while_its_supervisor_is_stuck(_) ->
    Ref = ?FUNCTION_NAME,
    Address = started(Ref),
    Waiting = fun() ->
        {ok, #{waiting_count := Count}} = accept_queue:acceptors(Address),
        Count
    end,
    eventually:is(?POOL, Waiting),
    {_, Supervisor} = lists:keyfind(Ref, 1, ranch_server:get_listener_sups()),
    ok = sys:suspend(Supervisor),
    ?assertEqual({error, timeout}, accept_queue_ranch:sockets(Ref)),
    ?assertMatch({ok, #{queued := 0}}, accept_queue:depth({ranch, Ref})),
    ?assertMatch({ok, #{waiting_count := ?POOL}}, accept_queue:acceptors({ranch, Ref})),
    ?assertEqual(?POOL, Waiting()),
    {ok, Listed} = accept_queue:list(),
    ?assertMatch([#{address := Address}], [Row || #{server := {ranch, Of}} = Row <- Listed, Of =:= Ref]),
    ok = sys:resume(Supervisor).

%% No Debian package carries a ranch 1.x: these are the supervisors and arguments of its source, under the table of 2.1.
a_listener_laid_out_as_by_ranch_1_is_found(_) ->
    Ref = ?FUNCTION_NAME,
    {ok, Supervisor} = supervisor:start_link(?MODULE, listener),
    ok = ranch_server:set_listener_sup(Ref, Supervisor),
    {sockets, [L]} = accept_queue_ranch:sockets(Ref),
    Address = sockets:address(L),
    eventually:is({?POOL, ?POOL}, fun() ->
        {ok, #{waiting_count := Waiting, pool := Pool}} = accept_queue:acceptors({ranch, Ref}),
        {Waiting, length(Pool)}
    end),
    {ok, Listed} = accept_queue:list(),
    ?assertMatch([#{server := {ranch, Ref}}], [Row || #{address := Where} = Row <- Listed, Where =:= Address]),
    unlink(Supervisor),
    exit(Supervisor, shutdown),
    eventually:is([], fun accept_queue_ranch:refs/0).

init(listener) ->
    Acceptors = #{id => ranch_acceptors_sup, type => supervisor, start => {supervisor, start_link, [?MODULE, acceptors]}},
    {ok, {#{}, [Acceptors]}};
init(acceptors) ->
    Start = {?MODULE, start_acceptor, [sockets:listen(5), ranch_tcp, error_logger, self()]},
    {ok, {#{}, [#{id => {acceptor, self(), N}, start => Start, shutdown => brutal_kill} || N <- lists:seq(1, ?POOL)]}}.

start_acceptor(L, Transport, _Logger, _ConnectionsSupervisor) ->
    {ok, spawn_link(fun() -> Transport:accept(L, infinity) end)}.

without_ranch_nothing_is_found(_) ->
    Vm = other_vm:start(#{paths => other_vm:code_path_without(ranch)}),
    ?assertEqual(non_existing, other_vm:call(Vm, code, which, [ranch])),
    ?assertEqual([], other_vm:call(Vm, accept_queue_ranch, refs, [])),
    ?assertEqual({error, not_found}, other_vm:call(Vm, accept_queue, depth, [{ranch, ref}])),
    ?assertEqual({error, not_found}, other_vm:call(Vm, accept_queue, acceptors, [{ranch, ref}])),
    other_vm:stop(Vm).

parked(Ref) ->
    {ok, #{waiting_count := Waiting, busy := Busy}} = accept_queue:acceptors({ranch, Ref}),
    {Waiting, [Id || #{parked := {Id, _Text}} <- Busy]}.
