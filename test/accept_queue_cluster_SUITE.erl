%% The same question to several nodes: each of them a VM of its own, with its own listeners and its own troubles. The node
%% `a' is the one that asks; this VM controls them from outside, over the standard input and output of each.
-module(accept_queue_cluster_SUITE).

-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

%% More than any healthy node takes here, however busy the machine is; no test waits for its end but in vain.
-define(PATIENT_MS, 60000).
%% For those that a node will not answer in.
-define(SHORT_MS, 8000).
%% A cookie that no other node has.
-define(BACKLOG, 7).

suite() ->
    [{timetrap, {minutes, 10}}].

all() ->
    [
        every_node_answers_for_its_own_listeners,
        a_call_may_have_arguments,
        a_node_that_does_not_run_the_application_is_left_out,
        a_hidden_node_is_not_asked,
        a_node_without_distribution_asks_itself,
        every_function_but_these_may_be_asked_of_a_node,
        a_call_that_is_no_reading_is_the_callers_mistake,
        an_exception_on_a_node_is_its_answer,
        a_function_that_a_node_does_not_know_is_unsupported_there,
        a_stopped_node_is_named_while_it_is_stopped,
        a_stopped_node_whose_channel_is_full_holds_up_no_other,
        a_node_killed_during_the_call_is_named
    ].

init_per_suite(Config) ->
    case erl_epmd:names({127, 0, 0, 1}) of
        {ok, _} ->
            [{epmd, found} | Config];
        {error, _} ->
            "" = epmd("-address 127.0.0.1 -daemon"),
            [{epmd, started} | Config]
    end.

end_per_suite(Config) ->
    case proplists:get_value(epmd, Config) of
        found -> ok;
        %% It refuses where another suite's nodes have come to need it meanwhile.
        started -> ct:log("~ts", [epmd("-kill")])
    end.

epmd(Arguments) ->
    os:cmd(filename:join([code:root_dir(), "bin", "epmd"]) ++ " " ++ Arguments).

every_node_answers_for_its_own_listeners(_) ->
    [A | _] = Vms = cluster([a, b, c]),
    Listening = [{node_of(Vm), listening(Vm, Count)} || {Vm, Count} <- lists:zip(Vms, [1, 2, 0])],
    Answered = [
        %% Without that of the distribution itself.
        {Node, [Address || #{address := Address, limit := ?BACKLOG} <- Listed]}
     || {Node, {ok, Listed}} <- maps:to_list(ask(A, list))
    ],
    ?assertEqual(lists:sort(Listening), lists:sort(Answered)),
    ok = stop(Vms).

a_call_may_have_arguments(_) ->
    [A, B] = Vms = cluster([a, b]),
    [{_, Port}] = listening(B, 1),
    Depth = {ok, #{queued => 0, limit => ?BACKLOG, drops => 0}},
    ?assertEqual(#{node_of(A) => {error, not_found}, node_of(B) => Depth}, ask(A, {depth, [{port, Port}]})),
    ok = stop(Vms).

a_node_that_does_not_run_the_application_is_left_out(_) ->
    TestsAlone = [filename:dirname(code:which(?MODULE))],
    [A, B, C] = Vms = cluster([a, {b, #{run => false}}, {c, #{run => false, paths => TestsAlone}}]),
    ?assertEqual(lists:sort([node_of(B), node_of(C)]), lists:sort(other_vm:call(A, erlang, nodes, []))),
    ?assertEqual(non_existing, other_vm:call(C, code, which, [accept_queue])),
    ?assertEqual([node_of(A)], maps:keys(ask(A, list))),
    ok = other_vm:call(A, application, stop, [accept_queue]),
    ?assertEqual(#{}, ask(A, list)),
    ok = stop(Vms).

a_hidden_node_is_not_asked(_) ->
    [A, B] = Vms = cluster([a, {b, #{args => ["-hidden"]}}]),
    ?assertEqual([node_of(B)], other_vm:call(A, erlang, nodes, [hidden])),
    ?assertEqual([node_of(A)], maps:keys(ask(A, list))),
    ok = stop(Vms).

a_node_without_distribution_asks_itself(_) ->
    Vm = other_vm:start(),
    ok = other_vm:call(Vm, application, start, [accept_queue]),
    ?assertMatch(#{nonode@nohost := {ok, #{somaxconn := _}}}, ask(Vm, kernel)),
    ok = stop([Vm]).

every_function_but_these_may_be_asked_of_a_node(_) ->
    Functions = accept_queue:module_info(exports) -- [{module_info, 0}, {module_info, 1}],
    Refused = [Function || {Name, Arity} = Function <- Functions, not is_asked({Name, lists:duplicate(Arity, nothing)})],
    %% They take a socket in hand, answer with a handle, change something, print, or ask for too much.
    These = [
        {wait_ms, 1},
        {peer_closed, 1},
        {accepted, 2},
        {open, 1},
        {resize, 2},
        {i, 0},
        {cluster, 1},
        {cluster, 2},
        {watch, 1},
        {watch, 2},
        {unwatch, 1},
        {subscribe, 0},
        {unsubscribe, 0}
    ],
    ?assertEqual(lists:sort(These), lists:sort(Refused)).

%% The time-out is over before anybody can answer.
is_asked(Call) ->
    try accept_queue:cluster(Call, 0) of
        #{} -> true
    catch
        error:badarg -> false
    end.

a_call_that_is_no_reading_is_the_callers_mistake(_) ->
    NoReadings = [
        halt, depth, 17, {os, getpid, []}, {halt, []}, {list, [1]}, {list, list}, {depth, [x | y]}, {"list", []}, {list}
    ],
    [?assertError(badarg, accept_queue:cluster(Call)) || Call <- NoReadings],
    [?assertError(badarg, accept_queue:cluster(list, Timeout)) || Timeout <- [-1, infinity, 1.5, 1 bsl 32]].

an_exception_on_a_node_is_its_answer(_) ->
    [A, B] = Vms = cluster([a, b]),
    Answer = {error, {exception, badarg}},
    ?assertEqual(#{node_of(A) => Answer, node_of(B) => Answer}, ask(A, {depth, [no_listener]})),
    ok = stop(Vms).

a_function_that_a_node_does_not_know_is_unsupported_there(_) ->
    ok = application:start(accept_queue),
    ?assertEqual({error, unsupported}, accept_queue_cluster:answer({of_a_later_release, []})),
    ok = application:stop(accept_queue).

a_stopped_node_is_named_while_it_is_stopped(_) ->
    [A, B, C] = Vms = cluster([a, b, c]),
    Stopped = stop_process(B),
    {Answers, Messages} = other_vm:call(A, ?MODULE, asked_twice, [kernel, Stopped]),
    ?assertMatch([{ok, _}, {error, timeout}, {ok, _}], [maps:get(node_of(Vm), Answers) || Vm <- [A, B, C]]),
    ?assertEqual([], Messages),
    ok = stop(Vms).

%% On the node that asks. When all nodes go on, the answer of the one that was stopped comes behind its late answer to the
%% first question.
asked_twice(Call, Stopped) ->
    Answers = accept_queue:cluster(Call, ?SHORT_MS),
    ok = continue_process(Stopped),
    Again = accept_queue:cluster(Call, ?PATIENT_MS),
    [] = [Error || {_, {error, _}} = Error <- maps:to_list(Again)],
    {messages, Messages} = process_info(self(), messages),
    {Answers, Messages}.

a_stopped_node_whose_channel_is_full_holds_up_no_other(_) ->
    [A, B | _] = Vms = cluster([a, b, c, d]),
    Names = [node_of(Vm) || Vm <- Vms],
    Stopped = stop_process(B),
    Filler = other_vm:call(A, ?MODULE, fill_channel, [lists:nth(2, Names)]),
    FillerStatus = fun() -> other_vm:call(A, erlang, process_info, [Filler, status]) end,
    eventually:is({status, suspended}, FillerStatus),
    Answers = other_vm:call(A, accept_queue, cluster, [kernel, ?SHORT_MS]),
    ?assertEqual({status, suspended}, FillerStatus()),
    ?assertMatch([{ok, _}, {error, timeout}, {ok, _}, {ok, _}], [maps:get(Name, Answers) || Name <- Names]),
    true = other_vm:call(A, erlang, exit, [Filler, kill]),
    ok = continue_process(Stopped),
    ok = stop(Vms).

%% Until it is suspended: the channel takes a megabyte, and the two ends of its connection some more.
fill_channel(Node) ->
    Bytes = binary:copy(<<0>>, 1 bsl 20),
    spawn(fun() -> fill(Node, Bytes) end).

fill(Node, Bytes) ->
    _ = {no_such_process, Node} ! Bytes,
    fill(Node, Bytes).

a_node_killed_during_the_call_is_named(_) ->
    [A, B, C] = cluster([a, b, c]),
    Names = [node_of(Vm) || Vm <- [A, B, C]],
    Stopped = stop_process(B),
    Test = self(),
    %% Beside the process that does the other calls there.
    Asking = spawn_link(fun() ->
        Test ! {self(), peer:call(A, accept_queue, cluster, [kernel, ?PATIENT_MS], infinity)}
    end),
    eventually:is(true, fun() -> other_vm:call(A, ?MODULE, is_waiting_for_answers, []) end),
    true = unlink(B),
    "" = os:cmd("kill -KILL " ++ Stopped),
    receive
        {Asking, Answers} ->
            ?assertMatch([{ok, _}, {error, nodedown}, {ok, _}], [maps:get(Name, Answers) || Name <- Names])
    end,
    ok = stop([A, C]).

is_waiting_for_answers() ->
    Stacks = [process_info(Pid, current_stacktrace) || Pid <- processes()],
    lists:any(fun({current_stacktrace, Stack}) -> lists:keymember(accept_queue_cluster, 1, Stack); (_) -> false end, Stacks).

%% The first one is connected to each of the others, and runs the application as they do, where nothing else is said.
cluster(Names) ->
    [First | Others] = Vms = [started(Name) || Name <- Names],
    [true = other_vm:call(First, net_kernel, connect_node, [node_of(Vm)]) || Vm <- Others],
    Vms.

started({Name, Options}) ->
    Unique = io_lib:format("~s_~s_~b@127.0.0.1", [Name, os:getpid(), erlang:unique_integer([positive])]),
    Vm = other_vm:start(Options#{node => list_to_atom(lists:flatten(Unique))}),
    maps:get(run, Options, true) andalso (ok = other_vm:call(Vm, application, start, [accept_queue])),
    Vm;
started(Name) ->
    started({Name, #{}}).

stop(Vms) ->
    lists:foreach(fun other_vm:stop/1, Vms).

node_of(Vm) ->
    other_vm:call(Vm, erlang, node, []).

ask(Vm, Call) ->
    other_vm:call(Vm, accept_queue, cluster, [Call, ?PATIENT_MS]).

%% So many listeners, open until the VM ends; their addresses, in the order of the list.
listening(Vm, Count) ->
    lists:sort([other_vm:call(Vm, ?MODULE, listen, []) || _ <- lists:seq(1, Count)]).

listen() ->
    sockets:address(sockets:listen(?BACKLOG)).

%% Its operating system process, which goes on when the test says so, and in any case when the test has ended.
stop_process(Vm) ->
    Pid = other_vm:call(Vm, os, getpid, []),
    Test = self(),
    _ = spawn(fun() ->
        Monitor = monitor(process, Test),
        receive
            {'DOWN', Monitor, process, Test, _} -> continue_process(Pid)
        end
    end),
    "" = os:cmd("kill -STOP " ++ Pid),
    eventually:is("T", fun() -> state(Pid) end),
    Pid.

continue_process(Pid) ->
    _ = os:cmd("kill -CONT " ++ Pid),
    ok.

%% proc_pid_stat(5): behind the command in its parentheses.
state(Pid) ->
    {ok, Stat} = file:read_file("/proc/" ++ Pid ++ "/stat"),
    [_, Rest] = string:split(Stat, ") ", trailing),
    binary_to_list(binary:part(Rest, 0, 1)).
