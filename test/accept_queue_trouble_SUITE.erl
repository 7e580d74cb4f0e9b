%% What is for trouble works in trouble: in VMs whose dirty schedulers, processes, ports or descriptors are all taken, whose logger
%% hangs, or whose poller is held, `stuck' reaches a subscriber in time, and calls answer or say `{error, timeout}'.
-module(accept_queue_trouble_SUITE).

-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

%% `stuck' is due after so long, and may be that much later on a busy machine.
-define(STUCK_MS, 1000).
-define(LATE_MS, 3000).
%% For so long the resource is taken.
-define(TAKEN_MS, 12000).
%% Of a call.
-define(CALL_MS, 6000).

all() ->
    [
        with_all_dirty_io_schedulers_taken_stuck_is_reported_in_time_and_calls_answer,
        with_all_dirty_cpu_schedulers_taken_stuck_is_reported_in_time_and_calls_answer,
        with_no_process_left_stuck_is_reported_in_time_and_calls_answer,
        with_no_port_left_stuck_is_reported_in_time_and_calls_answer,
        with_no_descriptor_left_stuck_is_reported_in_time_and_calls_answer,
        with_a_logger_that_hangs_stuck_is_reported_in_time_and_calls_answer,
        the_monitor_starts_again_with_all_dirty_io_schedulers_taken,
        no_module_is_loaded_by_a_call_or_an_event,
        a_poller_that_is_held_is_seen_by_health,
        a_clock_that_is_stopped_by_a_preloaded_library_stops_no_wait,
        fifty_thousand_subscriptions_leave_no_monitor_behind,
        every_process_answers_what_it_does_not_know_and_goes_on
    ].

with_all_dirty_io_schedulers_taken_stuck_is_reported_in_time_and_calls_answer(_) ->
    in_trouble(dirty_io, #{args => ["+SDio", "3"]}).

with_all_dirty_cpu_schedulers_taken_stuck_is_reported_in_time_and_calls_answer(_) ->
    in_trouble(dirty_cpu, #{}).

with_no_process_left_stuck_is_reported_in_time_and_calls_answer(_) ->
    in_trouble(processes, #{args => ["+P", "1024"]}).

with_no_port_left_stuck_is_reported_in_time_and_calls_answer(_) ->
    in_trouble(ports, #{args => ["+Q", "1024"]}).

with_no_descriptor_left_stuck_is_reported_in_time_and_calls_answer(_) ->
    in_trouble(descriptors, #{under => other_vm:with_open_files(256)}).

with_a_logger_that_hangs_stuck_is_reported_in_time_and_calls_answer(_) ->
    in_trouble(logger, #{}).

in_trouble(What, Options) ->
    Vm = other_vm:start(Options),
    Address = other_vm:call(Vm, ?MODULE, listen_and_watch, []),
    ok = other_vm:call(Vm, ?MODULE, take_all, [What]),
    Client = sockets:client(Address),
    #{raised_ms := RaisedMs, answers := Answers} = other_vm:call(Vm, ?MODULE, what_it_says, []),
    ct:pal("~0p: stuck after ~b ms; ~0p", [What, RaisedMs, Answers]),
    sockets:close(Client),
    other_vm:stop(Vm),
    ?assert(RaisedMs >= ?STUCK_MS - 100, RaisedMs),
    ?assert(RaisedMs < ?STUCK_MS + ?LATE_MS, RaisedMs),
    [?assertMatch({_, Ms, {ok, _}} when Ms < ?CALL_MS, Answer) || {depth, _, _} = Answer <- Answers],
    [
        ?assert(Ms < ?CALL_MS andalso element(1, Said) =:= element(2, allowed(What)), Answer)
     || {_, Ms, Said} = Answer <- Answers, Said =/= {error, timeout}, not is_error_of(What, Said)
    ],
    [?assert(Ms < ?CALL_MS, Answer) || {_, Ms, _} = Answer <- Answers].

allowed(_) -> {calls, ok}.

%% Where there is no descriptor a netlink socket cannot be made.
is_error_of(descriptors, {error, {errno, emfile}}) -> true;
is_error_of(_, _) -> false.

%% In the other VM.

listen_and_watch() ->
    %% What this test itself calls there.
    _ = [{module, _} = code:ensure_loaded(Module) || Module <- [hanging_nif, eventually, timer, gen_udp, inet_udp, erts_debug]],
    {ok, _} = application:ensure_all_started(accept_queue),
    L = sockets:listen(5),
    put(listener, L),
    ok = accept_queue:watch(L, #{stuck_ms => ?STUCK_MS, for_ms => 500}),
    ok = accept_queue:subscribe(),
    sockets:address(L).

%% Nothing was read of the listener yet, from this process.
what_it_says() ->
    L = get(listener),
    BeganMs = erlang:monotonic_time(millisecond),
    receive
        {accept_queue, raised, stuck, _} -> ok
    after ?TAKEN_MS -> ok
    end,
    RaisedMs = erlang:monotonic_time(millisecond) - BeganMs,
    Calls = [
        {depth, fun() -> accept_queue:depth(L) end},
        {counts, fun() -> accept_queue:counts(L) end},
        {list, fun accept_queue:list/0},
        {kernel, fun accept_queue:kernel/0},
        {holders, fun() -> accept_queue:holders(L) end},
        {acceptors, fun() -> accept_queue:acceptors(L) end},
        {status, fun() -> accept_queue:status(L) end}
    ],
    #{raised_ms => RaisedMs, answers => [timed(Name, Call) || {Name, Call} <- Calls]}.

timed(Name, Call) ->
    {Us, Answer} = timer:tc(Call),
    {Name, Us div 1000, Answer}.

take_all(dirty_io) ->
    Taking = erlang:system_info(dirty_io_schedulers),
    _ = [spawn(fun() -> hanging_nif:sleep_dirty(?TAKEN_MS) end) || _ <- lists:seq(1, Taking)],
    are_taken(dirty_io, Taking);
take_all(dirty_cpu) ->
    Taking = erlang:system_info(dirty_cpu_schedulers),
    _ = [spawn(fun() -> erts_debug:dirty_cpu(wait, ?TAKEN_MS) end) || _ <- lists:seq(1, Taking)],
    are_taken(dirty_cpu, Taking);
take_all(processes) ->
    fill(fun() -> spawn(fun() -> receive after infinity -> ok end end) end);
take_all(ports) ->
    fill(fun() -> {ok, Udp} = gen_udp:open(0), Udp end);
take_all(descriptors) ->
    fill(fun() -> {ok, Udp} = gen_udp:open(0), Udp end);
take_all(logger) ->
    ok = logger:add_handler(?MODULE, ?MODULE, #{config => #{}}).

%% As a handler of logger.
log(_, _) ->
    receive after infinity -> ok end.

fill(Take) ->
    try Take() of
        Taken ->
            put({taken, Taken}, true),
            fill(Take)
    catch
        error:_ -> ok
    end.

are_taken(Type, Count) ->
    eventually:is(Count, fun() -> length(busy(Type)) end),
    ok.

%% A process on a dirty scheduler.
busy(Type) ->
    Function = element(1, lists:keyfind(Type, 2, [{sleep_dirty, dirty_io}, {dirty_cpu, dirty_cpu}])),
    [Pid || Pid <- processes(), {current_function, {_, Name, _}} <- [process_info(Pid, current_function)], Name =:= Function].

the_monitor_starts_again_with_all_dirty_io_schedulers_taken(_) ->
    Vm = other_vm:start(#{args => ["+SDio", "3"]}),
    Address = other_vm:call(Vm, ?MODULE, listen_and_watch, []),
    ok = other_vm:call(Vm, ?MODULE, take_all, [dirty_io]),
    ok = other_vm:call(Vm, ?MODULE, kill_the_monitor, []),
    Client = sockets:client(Address),
    #{raised_ms := RaisedMs} = other_vm:call(Vm, ?MODULE, what_it_says, []),
    ok = other_vm:call(Vm, ?MODULE, watch_another, []),
    sockets:close(Client),
    other_vm:stop(Vm),
    ?assert(RaisedMs < ?STUCK_MS + ?LATE_MS, RaisedMs).

kill_the_monitor() ->
    Killed = whereis(accept_queue_monitor),
    exit(Killed, kill),
    eventually:is(true, fun() -> not lists:member(whereis(accept_queue_monitor), [Killed, undefined]) end),
    ok.

watch_another() ->
    accept_queue:watch(sockets:listen(5)).

no_module_is_loaded_by_a_call_or_an_event(_) ->
    Vm = other_vm:start(),
    ?assertEqual([], other_vm:call(Vm, ?MODULE, loaded_by_calls, [])),
    other_vm:stop(Vm).

loaded_by_calls() ->
    {module, _} = code:ensure_loaded(eventually),
    L = sockets:listen(5),
    {ok, Socket} = gen_tcp:listen(0, [{inet_backend, socket}]),
    Address = sockets:address(L),
    {ok, _} = application:ensure_all_started(accept_queue),
    Before = code:all_loaded(),
    ok = accept_queue:watch(L, #{max_wait_ms => 20, for_ms => 100}),
    ok = accept_queue:subscribe(),
    {ok, Client} = gen_tcp:connect(element(1, Address), element(2, Address), []),
    receive {accept_queue, raised, behind, _} -> ok end,
    _ = [
        begin
            {ok, _} = accept_queue:depth(Listener),
            {ok, _} = accept_queue:counts(Listener),
            {ok, _} = accept_queue:acceptors(Listener),
            {ok, _} = accept_queue:holders(Listener),
            {ok, _} = accept_queue:advice(Listener)
        end
     || Listener <- [L, Socket]
    ],
    {ok, _} = accept_queue:list(),
    {ok, _} = accept_queue:kernel(),
    {ok, _} = accept_queue:status(L),
    _ = accept_queue:health(),
    ok = gen_tcp:close(Client),
    [Module || {Module, _} <- code:all_loaded() -- Before].

a_poller_that_is_held_is_seen_by_health(_) ->
    Vm = other_vm:start(),
    Address = other_vm:call(Vm, ?MODULE, listen_and_watch, []),
    OsPid = list_to_integer(other_vm:call(Vm, os, getpid, [])),
    ok = other_vm:call(Vm, ?MODULE, is_health, [ok]),
    hung_vm:with_stopped("^accept_queue$", #{os_pid => OsPid}, fun() ->
        ok = other_vm:call(Vm, ?MODULE, is_health, [{degraded, [monitor_not_running, {unreadable, Address, stale}]}])
    end),
    ok = other_vm:call(Vm, ?MODULE, is_health, [ok]),
    other_vm:stop(Vm).

is_health(Expected) ->
    {_, Port} = sockets:address(get(listener)),
    eventually:is(Expected, fun() -> of_port(Port, accept_queue:health()) end),
    ok.

%% This VM may have other listeners.
of_port(Port, {So, Reasons}) ->
    {So, [Reason || Reason <- Reasons, not is_tuple(Reason) orelse element(2, element(2, Reason)) =:= Port]};
of_port(_, ok) ->
    ok.

%% libfaketime answers the clock from the C library; what asks the kernel itself goes on.
a_clock_that_is_stopped_by_a_preloaded_library_stops_no_wait(Config) ->
    IsMusl = lists:suffix("musl", erlang:system_info(system_architecture)),
    case filelib:wildcard("/usr/lib/*/faketime/libfaketimeMT.so.1") of
        _ when IsMusl ->
            skipped:because(?FUNCTION_NAME, "Debian's libfaketime is one for glibc, and this VM has musl");
        [] ->
            skipped:because(?FUNCTION_NAME, "libfaketime is not installed");
        [Library | _] ->
            Clock = filename:join(proplists:get_value(priv_dir, Config), "clock"),
            ok = file:write_file(Clock, "+0"),
            Vm = other_vm:start(#{
                under => ["env", "LD_PRELOAD=" ++ Library, "FAKETIME_TIMESTAMP_FILE=" ++ Clock, "FAKETIME_NO_CACHE=1"]
            }),
            Address = other_vm:call(Vm, ?MODULE, listen_and_watch, []),
            Client = sockets:client(Address),
            ok = file:write_file(Clock, "2030-01-01 00:00:00"),
            ?assertMatch(#{oldest_wait_ms := _}, other_vm:call(Vm, ?MODULE, stuck, [])),
            sockets:close(Client),
            other_vm:stop(Vm)
    end.

%% The clock stands still: no time-out of this VM's ends.
stuck() ->
    receive {accept_queue, raised, stuck, Details} -> Details end.

fifty_thousand_subscriptions_leave_no_monitor_behind(_) ->
    {ok, _} = application:ensure_all_started(accept_queue),
    Before = monitored(),
    _ = [
        begin
            ok = accept_queue:subscribe(),
            ok = accept_queue:unsubscribe()
        end
     || _ <- lists:seq(1, 50000)
    ],
    eventually:is(Before, fun monitored/0),
    ok = application:stop(accept_queue).

monitored() ->
    {monitors, Monitors} = process_info(whereis(accept_queue_event), monitors),
    length(Monitors).

every_process_answers_what_it_does_not_know_and_goes_on(_) ->
    Vm = other_vm:start(),
    ok = other_vm:call(Vm, ?MODULE, unknown_to_all, []),
    other_vm:stop(Vm).

unknown_to_all() ->
    _ = [
        begin
            ok = application:set_env(accept_queue, source, Source),
            ok = application:set_env(accept_queue, watchdog, #{directory => "/tmp"}),
            {ok, _} = application:ensure_all_started(accept_queue),
            Processes = processes_of_the_application(),
            true = length(Processes) > 5,
            _ = [is_deaf_to_nonsense(Pid) || Pid <- Processes],
            Processes = processes_of_the_application(),
            ok = application:stop(accept_queue)
        end
     || Source <- [nif, port]
    ],
    ok.

%% Its supervisor and what is linked below it.
processes_of_the_application() ->
    Supervisor = whereis(accept_queue_sup),
    {links, [Master]} = {links, [Pid || {links, Pids} <- [process_info(Supervisor, links)], Pid <- Pids, not is_child(Pid)]},
    linked([Supervisor], [Master]) -- [Master].

is_child(Pid) ->
    lists:keymember(Pid, 2, supervisor:which_children(accept_queue_sup)).

linked([], Found) ->
    lists:sort(Found);
linked([Pid | Pids], Found) ->
    {links, Links} = process_info(Pid, links),
    New = [Link || Link <- Links, is_pid(Link), not lists:member(Link, Pids ++ [Pid | Found])],
    linked(New ++ Pids, [Pid | Found]).

is_deaf_to_nonsense(Pid) ->
    Pid ! nonsense,
    Pid ! {nonsense, self()},
    case proc_lib:translate_initial_call(Pid) of
        %% OTP's own, which ends by a cast that it does not know.
        {supervisor, _, _} ->
            ok;
        %% No process of a behaviour: what it does not know it drops.
        {proc_lib, init_p, 5} ->
            ok;
        {_, init, 1} ->
            gen_server:cast(Pid, nonsense),
            _ = gen_server:call(Pid, nonsense)
    end,
    {status, Pid, _, _} = sys:get_status(Pid).
