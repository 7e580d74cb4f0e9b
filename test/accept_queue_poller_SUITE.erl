%% The poller thread in the VM: which processes it wakes, and when it ends. native/core tests what it reports, and
%% accept_queue_monitor_SUITE what is made of that.
-module(accept_queue_poller_SUITE).

-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

all() ->
    [
        the_monitor_gets_no_message_while_nothing_changes,
        there_is_one_thread_however_often_the_monitor_is_killed_and_none_when_the_application_has_stopped,
        a_thread_that_still_runs_survives_that_its_module_is_purged,
        a_vm_whose_schedulers_are_all_held_up_gets_the_condition_afterwards
    ].

the_monitor_gets_no_message_while_nothing_changes(_) ->
    {ok, _} = application:ensure_all_started(accept_queue),
    L = sockets:listen(5),
    ok = accept_queue:watch(L, #{interval_ms => 10}),
    1 = erlang:trace(whereis(accept_queue_monitor), true, ['receive']),
    %% Longer than the poller takes for hundreds of polls.
    Began = erlang:monotonic_time(millisecond),
    eventually:passes(Began + 3000),
    1 = erlang:trace(whereis(accept_queue_monitor), false, ['receive']),
    {messages, Messages} = process_info(self(), messages),
    Received = [Message || {trace, _, 'receive', Message} <- Messages],
    ?assertEqual([], [Message || Message <- Received, not is_its_own(Message)]),
    gen_tcp:close(L),
    application:stop(accept_queue).

%% A timer, and two reports that are no change of a listener: other sockets listen, and a poll came late on this machine.
is_its_own(search_now_and_then) -> true;
is_its_own({accept_queue_poller, listeners_changed}) -> true;
is_its_own({accept_queue_poller, {late, _}}) -> true;
%% What it asks where other sockets listen than before.
is_its_own({[alias | _], {answer, _}}) -> true;
is_its_own({Alias, Info}) when is_reference(Alias), is_list(Info) -> true;
%% A receive that was not waited for, in a trace of OTP 29.
is_its_own(timeout) -> true;
is_its_own(_) -> false.

there_is_one_thread_however_often_the_monitor_is_killed_and_none_when_the_application_has_stopped(_) ->
    {ok, _} = application:ensure_all_started(accept_queue),
    ?assertEqual(1, threads()),
    [
        begin
            Before = whereis(accept_queue_monitor),
            exit(Before, kill),
            eventually:is(true, fun() -> not lists:member(whereis(accept_queue_monitor), [Before, undefined]) end),
            ?assertEqual(1, threads())
        end
     || _ <- lists:seq(1, 10)
    ],
    ok = application:stop(accept_queue),
    eventually:is(0, fun threads/0).

threads() ->
    length([File || File <- filelib:wildcard("/proc/self/task/*/comm"), {ok, <<"accept_queue\n">>} =:= file:read_file(File)]).

a_thread_that_still_runs_survives_that_its_module_is_purged(_) ->
    Vm = other_vm:start(),
    ok = other_vm:call(Vm, ?MODULE, purge_under_the_thread, []),
    other_vm:stop(Vm).

%% The library would be unmapped with the module and the last reference, while the thread is still on its way out.
purge_under_the_thread() ->
    lists:foreach(
        fun(_) ->
            {ok, Poller} = accept_queue_nif:poller_start(self()),
            true = accept_queue_nif:poller_is_running(Poller)
        end,
        lists:seq(1, 20)
    ),
    true = code:delete(accept_queue_nif),
    _ = code:purge(accept_queue_nif),
    true = erlang:garbage_collect(),
    eventually:is(0, fun threads/0),
    {module, accept_queue_nif} = code:ensure_loaded(accept_queue_nif),
    undefined = accept_queue_nif:load_error(),
    ok.

%% An idle VM of one scheduler, which a native call holds up for longer than `stuck_ms'. The condition is raised meanwhile, and not
%% only afterwards.
a_vm_whose_schedulers_are_all_held_up_gets_the_condition_afterwards(_) ->
    Vm = other_vm:start(#{args => ["+S", "1"]}),
    Address = other_vm:call(Vm, ?MODULE, listen_and_watch, [#{stuck_ms => 1000, for_ms => 1000, clear_ms => 1000}]),
    Test = self(),
    Holder = spawn_link(fun() -> Test ! {self(), other_vm:call(Vm, ?MODULE, hold_up_and_receive, [3000])} end),
    Client = sockets:client(Address),
    receive
        {Holder, #{queued := Queued, oldest_wait_ms := WaitedMs}} ->
            ?assertEqual(1, Queued),
            ?assert(WaitedMs < 3000, "it is the evidence of the time when it was raised")
    after 20000 -> error(nothing_was_published)
    end,
    sockets:close(Client),
    other_vm:stop(Vm).

listen_and_watch(Options) ->
    {module, _} = code:ensure_loaded(hanging_nif),
    {ok, _} = application:ensure_all_started(accept_queue),
    L = sockets:listen(5),
    ok = accept_queue:watch(L, Options),
    ok = accept_queue:subscribe(),
    sockets:address(L).

%% A client that connects now is queued by the kernel alone.
hold_up_and_receive(Ms) ->
    _ = hanging_nif:sleep(Ms),
    receive
        {accept_queue, raised, stuck, Details} -> Details
    after 10000 -> nothing
    end.
