%% Each rule is made true on a real listener, and false again by its remedy. The kernel's limits are those of a network
%% namespace that a test has for itself.
-module(accept_queue_advice_SUITE).

-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

%% include/uapi/asm-generic/socket.h; gen_tcp has no name for it.
-define(SO_REUSEPORT, {raw, 1, 15, <<1:32/native>>}).

all() ->
    [
        a_listener_that_is_set_well_needs_no_advice,
        a_backlog_left_at_the_default_of_otp_is_reported_until_it_is_raised,
        a_backlog_that_wrapped_to_0_is_reported_until_it_is_raised,
        a_backlog_that_ranch_asked_for_and_that_wrapped_is_an_error,
        a_backlog_that_ranch_asked_for_and_that_was_clipped_is_reported_until_it_is_not,
        a_pool_of_one_is_reported_also_while_it_is_busy,
        a_backlog_at_somaxconn_is_reported_until_both_are_raised,
        a_queue_too_long_for_the_rate_at_which_it_drains_is_reported_until_it_is_shorter,
        one_acceptor_is_reported_until_there_are_more,
        more_than_32_acceptors_are_reported_on_the_socket_backend_alone,
        clients_that_are_reset_at_a_full_queue_are_reported_until_they_are_not,
        a_kernel_without_syncookies_is_reported_until_it_has_them,
        advice_without_a_listener_is_about_all_of_them,
        sockets_of_one_address_that_are_set_alike_are_advised_once,
        what_is_no_listener_any_more_gets_no_advice
    ].

init_per_suite(Config) ->
    {ok, _} = application:ensure_all_started(accept_queue),
    Config.

end_per_suite(_) ->
    ok = application:stop(accept_queue).

init_per_testcase(Case, Config) ->
    case lists:member(Case, of_ranch()) of
        true ->
            case components:load([ranch]) of
                ok ->
                    {ok, _} = application:ensure_all_started(ranch),
                    Config;
                {skip, _} = Skip ->
                    Skip
            end;
        false ->
            Config
    end.

%% ranch alone remembers what it asked for.
of_ranch() ->
    [
        a_backlog_that_ranch_asked_for_and_that_wrapped_is_an_error,
        a_backlog_that_ranch_asked_for_and_that_was_clipped_is_reported_until_it_is_not,
        a_pool_of_one_is_reported_also_while_it_is_busy
    ].

end_per_testcase(Case, _) ->
    _ = lists:member(Case, of_ranch()) andalso application:stop(ranch),
    ok.

a_listener_that_is_set_well_needs_no_advice(_) ->
    [
        begin
            L = Listen(1024),
            accept_with(10, L),
            eventually:is([], fun() -> advised(L) end)
        end
     || Listen <- [fun inet/1, fun gen_tcp_socket/1, fun socket/1]
    ].

a_backlog_left_at_the_default_of_otp_is_reported_until_it_is_raised(_) ->
    {ok, OnInet} = gen_tcp:listen(0, []),
    {ok, OnSocket} = gen_tcp:listen(0, [{inet_backend, socket}]),
    {ok, Socket} = socket:open(inet, stream, tcp),
    ok = socket:listen(Socket),
    [
        begin
            ?assertMatch([#{id := default_backlog, severity := warning, evidence := #{limit := 5}}], advice(L)),
            {ok, #{limit := 1024}} = accept_queue:resize(L, 1024),
            ?assertEqual([], advised(L))
        end
     || L <- [OnInet, OnSocket, Socket]
    ].

a_backlog_that_wrapped_to_0_is_reported_until_it_is_raised(_) ->
    L = inet(65536),
    ?assertMatch([#{id := backlog_wraps, severity := warning, evidence := #{limit := 0}}], advice(L)),
    {ok, #{limit := 1024}} = accept_queue:resize(L, 1024),
    ?assertEqual([], advised(L)),
    %% Here 0 is what was asked for.
    ?assertEqual([], advised(gen_tcp_socket(0))).

a_backlog_that_ranch_asked_for_and_that_wrapped_is_an_error(_) ->
    with_ranch(#{num_acceptors => 10, socket_opts => [{backlog, 65536}]}, fun(L) ->
        ?assertMatch([#{id := backlog_wraps, severity := error, evidence := #{requested := 65536, limit := 0}}], advice(L)),
        %% What is in force is right again, what is in the options is not: the next start would wrap.
        {ok, #{limit := 1024}} = accept_queue:resize(L, 1024),
        ?assertMatch([#{id := backlog_wraps, evidence := #{limit := 1024}}], advice(L))
    end),
    with_ranch(#{num_acceptors => 10, socket_opts => [{backlog, 1024}]}, fun(L) -> ?assertEqual([], advised(L)) end).

a_backlog_that_ranch_asked_for_and_that_was_clipped_is_reported_until_it_is_not(_) ->
    {ok, #{somaxconn := Somaxconn}} = accept_queue:kernel(),
    Requested = 65535,
    ?assert(Somaxconn < Requested),
    with_ranch(#{num_acceptors => 10, socket_opts => [{backlog, Requested}]}, fun(L) ->
        Expected = #{requested => Requested, limit => Somaxconn, somaxconn => Somaxconn},
        ?assertMatch([#{id := somaxconn_clips, severity := warning, evidence := Expected}], advice(L))
    end),
    with_ranch(#{num_acceptors => 10, socket_opts => [{backlog, Somaxconn}]}, fun(L) -> ?assertEqual([], advised(L)) end).

a_pool_of_one_is_reported_also_while_it_is_busy(_) ->
    with_ranch(#{num_acceptors => 1, max_connections => 1}, fun(L) ->
        ?assertMatch([#{id := one_acceptor, severity := info, evidence := #{pool := 1}}], advice(L)),
        [#{address := Address}] = listed(L),
        _ = sockets:clients(2, Address),
        eventually:is([0], fun() -> [Waiting || #{waiting_acceptors := Waiting} <- listed(L)] end),
        ?assertEqual([one_acceptor], advised(L))
    end),
    with_ranch(#{num_acceptors => 2}, fun(L) -> ?assertEqual([], advised(L)) end).

with_ranch(Options, Test) ->
    Ref = make_ref(),
    Socket = [{ip, {127, 0, 0, 1}} | maps:get(socket_opts, Options, [])],
    {ok, _} = ranch:start_listener(Ref, ranch_tcp, Options#{socket_opts => Socket}, ?MODULE, []),
    try
        Test({ranch, Ref})
    after
        ranch:stop_listener(Ref)
    end.

%% As ranch's protocol: holds its connection.
start_link(_Ref, _Transport, _Options) ->
    {ok, spawn_link(fun() -> receive stop -> ok end end)}.

listed({ranch, _} = Server) ->
    {ok, Listed} = accept_queue:list(),
    [Row || #{server := At} = Row <- Listed, At =:= Server].

a_backlog_at_somaxconn_is_reported_until_both_are_raised(_) ->
    in_own_network(fun() ->
        sysctl("core/somaxconn", 64),
        [
            begin
                L = Listen(128),
                Expected = #{limit => 64, somaxconn => 64},
                ?assertMatch([#{id := somaxconn_clips, severity := info, evidence := Expected}], advice(L)),
                sysctl("core/somaxconn", 256),
                ?assertEqual([], advised(L)),
                {ok, #{limit := 128}} = accept_queue:resize(L, 128),
                ?assertEqual([], advised(L)),
                sysctl("core/somaxconn", 64)
            end
         || Listen <- [fun inet/1, fun gen_tcp_socket/1, fun socket/1]
        ]
    end).

a_queue_too_long_for_the_rate_at_which_it_drains_is_reported_until_it_is_shorter(_) ->
    L = inet(2000),
    Clients = sockets:clients(20, sockets:address(L)),
    %% They have waited for 50 ms or more.
    eventually:is([drain_time], fun() -> advised(L) end),
    [#{severity := warning, evidence := Evidence}] = advice(L),
    #{limit := 2000, queued := 20, oldest_wait_ms := Oldest, drain_time_ms := Drain, patience_ms := Patience} = Evidence,
    ?assertEqual(2001 * Oldest div 20, Drain),
    ?assert(Drain > Patience),
    [{ok, _} = gen_tcp:accept(L) || _ <- Clients],
    ?assertEqual([], advised(L)).

one_acceptor_is_reported_until_there_are_more(_) ->
    [
        begin
            L = Listen(1024),
            ?assertEqual([], advised(L)),
            accept_with(1, L),
            eventually:is([one_acceptor], fun() -> advised(L) end),
            ?assertMatch([#{severity := info, evidence := #{waiting_acceptors := 1}}], advice(L)),
            accept_with(1, L),
            eventually:is([], fun() -> advised(L) end)
        end
     || Listen <- [fun inet/1, fun gen_tcp_socket/1, fun socket/1]
    ].

more_than_32_acceptors_are_reported_on_the_socket_backend_alone(_) ->
    [
        begin
            L = Listen(1024),
            [One | _] = accept_with(33, L),
            eventually:is([many_acceptors], fun() -> advised(L) end),
            ?assertMatch([#{severity := info, evidence := #{waiting_acceptors := 33}}], advice(L)),
            exit(One, kill),
            eventually:is([], fun() -> advised(L) end)
        end
     || Listen <- [fun gen_tcp_socket/1, fun socket/1]
    ],
    OnInet = inet(1024),
    accept_with(33, OnInet),
    eventually:is(33, fun() -> waiting(OnInet) end),
    ?assertEqual([], advised(OnInet)).

clients_that_are_reset_at_a_full_queue_are_reported_until_they_are_not(_) ->
    of_kernel("ipv4/tcp_abort_on_overflow", 1, abort_on_overflow, #{tcp_abort_on_overflow => 1}, 0).

a_kernel_without_syncookies_is_reported_until_it_has_them(_) ->
    of_kernel("ipv4/tcp_syncookies", 0, no_syncookies, #{tcp_syncookies => 0}, 1).

of_kernel(Sysctl, Wrong, Id, Evidence, Right) ->
    in_own_network(fun() ->
        L = inet(1024),
        sysctl(Sysctl, Wrong),
        {ok, [Advice]} = accept_queue:advice(),
        ?assertMatch(#{id := Id, severity := warning, listener := undefined, evidence := Evidence}, Advice),
        ?assertEqual({ok, [Advice]}, accept_queue:advice(L)),
        sysctl(Sysctl, Right),
        ?assertEqual({ok, []}, accept_queue:advice())
    end).

advice_without_a_listener_is_about_all_of_them(_) ->
    Listeners = [inet(5), gen_tcp_socket(5), inet(65536)],
    {ok, All} = accept_queue:advice(),
    [?assertEqual(advice(L), [Advice || #{listener := At} = Advice <- All, At =:= address(L)]) || L <- Listeners],
    [?assertMatch([_], advice(L)) || L <- Listeners].

sockets_of_one_address_that_are_set_alike_are_advised_once(_) ->
    One = sockets:listen(5, [?SO_REUSEPORT]),
    {_, Port} = Address = address(One),
    _ = sockets:listen(5, [?SO_REUSEPORT, {port, Port}]),
    ?assertMatch([#{id := default_backlog, evidence := #{limit := 5}}], advice(Address)),
    Other = sockets:listen(0, [?SO_REUSEPORT, {port, Port}]),
    ?assertEqual([backlog_wraps, default_backlog], lists:sort(advised(Address))),
    ?assertEqual([backlog_wraps], advised(Other)).

what_is_no_listener_any_more_gets_no_advice(_) ->
    L = inet(5),
    {ok, Handle} = accept_queue:open(L),
    {_, Port} = address(L),
    ok = gen_tcp:close(L),
    [?assertEqual({error, closed}, accept_queue:advice(Closed)) || Closed <- [L, Handle]],
    ?assertEqual({error, not_found}, accept_queue:advice({port, Port})),
    ?assertError(badarg, accept_queue:advice(nothing)).

%% A text for a person and not for a machine, with the figures it goes by.
advice(Listener) ->
    {ok, All} = accept_queue:advice(Listener),
    [
        begin
            ?assert(is_binary(Text) andalso byte_size(Text) > 0),
            [?assertNotEqual(nomatch, string:find(Text, integer_to_list(N))) || N <- maps:values(Evidence), N > 1],
            Advice
        end
     || #{listener := At, text := Text, evidence := Evidence} = Advice <- All, At =/= undefined
    ].

advised(Listener) ->
    [Id || #{id := Id} <- advice(Listener)].

inet(Backlog) ->
    sockets:listen(Backlog).

gen_tcp_socket(Backlog) ->
    {ok, L} = gen_tcp:listen(0, [{inet_backend, socket}, {backlog, Backlog}, {ip, {127, 0, 0, 1}}]),
    L.

socket(Backlog) ->
    {ok, L} = socket:open(inet, stream, tcp),
    ok = socket:bind(L, #{family => inet, addr => {127, 0, 0, 1}, port => 0}),
    ok = socket:listen(L, Backlog),
    L.

address({'$socket', _} = Socket) ->
    {ok, #{addr := Ip, port := Port}} = socket:sockname(Socket),
    {Ip, Port};
address(L) ->
    {ok, Address} = inet:sockname(L),
    Address.

accept_with(Count, L) ->
    Accept =
        case L of
            {'$socket', _} -> fun socket:accept/1;
            _ -> fun gen_tcp:accept/1
        end,
    [spawn(fun() -> Accept(L) end) || _ <- lists:seq(1, Count)].

waiting(L) ->
    {ok, Listed} = accept_queue:list(),
    [Waiting] = [Waiting || #{socket := Socket, waiting_acceptors := Waiting} <- Listed, Socket =:= L],
    Waiting.

in_own_network(Test) ->
    Vm = other_vm:start(#{under => other_vm:in_own_network()}),
    try
        other_vm:call(Vm, erlang, apply, [Test, []])
    after
        other_vm:stop(Vm)
    end.

%% Of this VM's namespace.
sysctl(Name, Value) ->
    ok = file:write_file("/proc/sys/net/" ++ Name, integer_to_list(Value)).
