%% `accept-queue diagnose' beside VMs that hang, each in its own way, and beside VMs that are well.
%%
%% The first finding has to be what is wrong. A healthy VM is never reported as hanging.
-module(accept_queue_diagnose_SUITE).

-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

%% Long enough for a hang to be one: see the detector's `for_ms'.
-define(WINDOW, "1500ms").
-define(LONG_ENOUGH, "1100ms").
-define(SCHEDULERS, "^([0-9]+_scheduler|erts_sched_)").
-define(HANGS, [
    "process_ended", "cgroup_frozen", "process_stopped", "scheduler_blocked", "scheduler_spinning", "event_not_handled",
    "unattended_pollset", "nobody_polls", "never_accepted", "nobody_in_accept"
]).
%% At each healthy VM: rounds of so many calls side by side.
-define(ROUNDS, 8).
-define(LOOKS, 25).

all() ->
    [
        accept_was_never_called,
        all_acceptors_are_busy,
        all_acceptors_of_a_socket_are_busy,
        all_acceptors_have_exited,
        one_of_four_sockets_of_a_group_has_no_acceptor,
        a_native_call_sleeps_on_a_scheduler,
        a_native_call_waits_for_a_lock_on_a_scheduler,
        a_native_call_spins_on_a_scheduler,
        a_close_lingers_on_a_scheduler,
        a_vm_is_stopped,
        a_control_group_is_frozen,
        no_descriptor_is_left,
        a_debugger_has_stopped_the_poll_thread,
        a_debugger_has_stopped_the_schedulers,
        a_debugger_has_stopped_the_schedulers_and_their_set_is_unattended,
        a_queue_that_is_not_served_is_full_and_its_clients_have_left,
        acceptors_are_slow,
        connections_are_held_that_their_peers_have_closed,
        somaxconn_clips_a_backlog,
        all_dirty_io_schedulers_are_held_up_and_accept_goes_on,
        a_vm_of_another_network_namespace_hangs,
        a_vm_of_another_user_hangs,
        a_healthy_vm_is_never_reported_as_hanging,
        a_process_that_only_calls_itself_a_beam_is_no_danger
    ].

accept_was_never_called(_) -> says_first("never_accepted", never).

all_acceptors_are_busy(_) ->
    %% As they are when a pool has as many connections as it may.
    ?assert(lists:member("pool_at_limit", findings(says_first("nobody_in_accept", busy)))).

all_acceptors_of_a_socket_are_busy(_) -> says_first("nobody_in_accept", busy_socket).
all_acceptors_have_exited(_) -> says_first("nobody_in_accept", exited).

%% The others wait in accept, and serve what comes to them: the sum of the queues stands, and the address is armed.
one_of_four_sockets_of_a_group_has_no_acceptor(_) ->
    with(dead_member, #{}, fun(#{os_pid := OsPid, address := Address}) ->
        _ = sockets:clients(40, Address),
        Json = diagnose(OsPid),
        ?assertMatch(["never_accepted" | _], findings(Json), Json),
        ?assertEqual(["never_accepted"], hangs(findings(Json)), Json),
        {match, [Fd, Queued]} = re:run(Json, "\"id\":\"never_accepted\".*?\\(descriptor ([0-9]+)\\).*?\"queued\":([0-9]+)", [
            {capture, all_but_first, list}
        ]),
        Sockets = ["\"fd\":", Fd, ",\"inode\":[0-9]+,\"queued\":", Queued, ",\"limit\":30,\"accepting\":\"never_accepted\""],
        ?assertMatch({match, _}, re:run(Json, Sockets), Json)
    end).

a_native_call_sleeps_on_a_scheduler(_) ->
    %% The library is named where the memory may be read.
    ?assertMatch({match, _}, re:run(says_first("scheduler_blocked", sleep), "libhanging_nif")).

a_native_call_waits_for_a_lock_on_a_scheduler(_) ->
    ?assertMatch({match, _}, re:run(says_first("scheduler_blocked", lock), "libhanging_nif")).

%% It is the only scheduler: a second one may take the clients, and then nobody waits for the one that spins.
a_native_call_spins_on_a_scheduler(_) ->
    says_first("scheduler_spinning", spin, #{args => ["+S", "1"]}).

a_close_lingers_on_a_scheduler(_) -> says_first("scheduler_blocked", linger).

a_vm_is_stopped(_) ->
    with(idle, #{}, fun(#{os_pid := OsPid} = Vm) ->
        "" = os:cmd(io_lib:format("kill -STOP ~b", [OsPid])),
        _ = clients(Vm),
        ?assertMatch(["process_stopped" | _], findings(diagnose(OsPid))),
        "" = os:cmd(io_lib:format("kill -CONT ~b", [OsPid])),
        eventually:is(["healthy"], fun() -> findings(diagnose(OsPid)) end)
    end).

a_control_group_is_frozen(_) ->
    case freezer() of
        {ok, Group, {File, Freeze, Thaw}} ->
            try
                with(idle, #{}, fun(#{os_pid := OsPid}) ->
                    ok = file:write_file(Group ++ "/cgroup.procs", integer_to_list(OsPid)),
                    ok = file:write_file(Group ++ File, Freeze),
                    try
                        eventually:is("cgroup_frozen", fun() -> hd(findings(diagnose(OsPid, "100ms"))) end)
                    after
                        ok = file:write_file(Group ++ File, Thaw)
                    end
                end)
            after
                eventually:is(ok, fun() -> file:del_dir(Group) end)
            end;
        none ->
            {skip, "no control group may be made here"}
    end.

%% A group of our own, in which a process can be frozen: version 1 or 2.
freezer() ->
    freezer([
        {"/sys/fs/cgroup/freezer", {"/freezer.state", "FROZEN", "THAWED"}},
        {"/sys/fs/cgroup", {"/cgroup.freeze", "1", "0"}},
        {"/sys/fs/cgroup/unified", {"/cgroup.freeze", "1", "0"}}
    ]).

freezer([]) ->
    none;
freezer([{Mount, {File, _, _} = How} | Others]) ->
    Group = Mount ++ "/accept_queue_" ++ os:getpid(),
    case file:make_dir(Group) of
        ok ->
            case filelib:is_file(Group ++ File) of
                true ->
                    {ok, Group, How};
                false ->
                    ok = file:del_dir(Group),
                    freezer(Others)
            end;
        {error, _} ->
            freezer(Others)
    end.

no_descriptor_is_left(_) ->
    says_first("descriptors_exhausted", descriptors, #{under => ["prlimit", "--nofile=200:200"]}).

a_debugger_has_stopped_the_poll_thread(_) ->
    with(idle, #{}, fun(Vm) -> stopped_says_first("nobody_polls", "poll", Vm) end).

%% The poll thread has handed the event to a scheduler, which does not handle it.
a_debugger_has_stopped_the_schedulers(_) ->
    with(idle, #{}, fun(Vm) -> stopped_says_first("event_not_handled", ?SCHEDULERS, Vm) end).

a_debugger_has_stopped_the_schedulers_and_their_set_is_unattended(_) ->
    with(idle, #{}, fun(#{os_pid := OsPid, address := Address} = Vm) ->
        %% A descriptor that has been ready often enough is polled by the schedulers themselves.
        eventually:is(match, fun() ->
            ok = sockets:close(sockets:client(Address)),
            re:run(diagnose(OsPid, "100ms"), "\"set\":\"schedulers\",\"events\":\"19\"", [{capture, none}])
        end),
        stopped_says_first("unattended_pollset", ?SCHEDULERS, Vm)
    end).

stopped_says_first(Finding, Threads, #{os_pid := OsPid} = Vm) ->
    hung_vm:with_stopped(Threads, Vm, fun() ->
        _ = clients(Vm),
        Json = diagnose(OsPid),
        ?assertMatch({Finding, [Finding | _]}, {Finding, findings(Json)}, Json),
        ?assertMatch({match, _}, re:run(Json, "a debugger has stopped"))
    end),
    eventually:is([], fun() -> hangs(findings(diagnose(OsPid))) end).

a_queue_that_is_not_served_is_full_and_its_clients_have_left(_) ->
    with(never, #{}, fun(#{os_pid := OsPid, address := Address}) ->
        [ok = sockets:close(Client) || Client <- lists:nthtail(10, sockets:clients(31, Address))],
        ?assertMatch(["never_accepted", "queue_full", "clients_gone" | _], findings(diagnose(OsPid)))
    end).

acceptors_are_slow(_) ->
    with(slow, #{}, fun(#{os_pid := OsPid, address := Address}) ->
        _ = sockets:clients(20, Address),
        ?assertEqual(["behind"], findings(diagnose(OsPid)))
    end).

connections_are_held_that_their_peers_have_closed(_) ->
    with(leak, #{}, fun(#{os_pid := OsPid, address := Address}) ->
        [ok = sockets:close(sockets:client(Address)) || _ <- lists:seq(1, 1001)],
        eventually:is(["close_wait_held"], fun() -> findings(diagnose(OsPid)) end)
    end).

somaxconn_clips_a_backlog(_) ->
    with(clipped, #{}, fun(#{os_pid := OsPid}) ->
        ?assertEqual(["healthy", "backlog_clipped"], findings(diagnose(OsPid)))
    end).

all_dirty_io_schedulers_are_held_up_and_accept_goes_on(_) ->
    with(dirty_io, #{}, fun(#{os_pid := OsPid}) ->
        Said = findings(diagnose(OsPid)),
        ?assert(lists:member("dirty_schedulers_exhausted", Said)),
        ?assertEqual([], hangs(Said))
    end).

a_vm_of_another_network_namespace_hangs(_) ->
    unless_root("a VM in another network namespace can only be looked at by root", fun() ->
        with(never, #{under => other_vm:in_own_network()}, fun(#{os_pid := OsPid, address := {_, Number}}) ->
            Connect = io_lib:format("exec 3<>/dev/tcp/127.0.0.1/~b && exec sleep 60", [Number]),
            Inside = ["--net", "--target", integer_to_list(OsPid), "bash", "-c", lists:flatten(Connect)],
            Client = open_port({spawn_executable, os:find_executable("nsenter")}, [{args, Inside}]),
            {os_pid, ClientPid} = erlang:port_info(Client, os_pid),
            try
                eventually:is("never_accepted", fun() -> hd(findings(diagnose(OsPid))) end)
            after
                os:cmd(io_lib:format("kill -KILL ~b", [ClientPid]))
            end
        end)
    end).

a_vm_of_another_user_hangs(_) ->
    unless_root("only root can start a VM as another user", fun() ->
        says_first("never_accepted", never, #{under => ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]})
    end).

%% All of them serve clients meanwhile, on processors that one of them keeps busy.
a_healthy_vm_is_never_reported_as_hanging(_) ->
    ?assertEqual([], lists:append(at_once(fun hangs_of_the_well/1, [idle, socket, load, crowd]))).

hangs_of_the_well(Way) ->
    with(Way, #{}, fun(#{os_pid := OsPid, address := Address}) ->
        Visitor = spawn_link(fun() -> come_again(Address) end),
        Diagnose = fun(_) -> [{Way, Finding} || Finding <- hangs(findings(diagnose(OsPid, ?LONG_ENOUGH)))] end,
        Found = lists:append([lists:append(at_once(Diagnose, lists:seq(1, ?LOOKS))) || _ <- lists:seq(1, ?ROUNDS)]),
        true = unlink(Visitor),
        true = exit(Visitor, kill),
        Found
    end).

come_again(Address) ->
    ok = sockets:close(sockets:client(Address)),
    timer:sleep(20),
    come_again(Address).

at_once(Ask, Of) ->
    Self = self(),
    [receive {Pid, Answer} -> Answer end || Pid <- [spawn_link(fun() -> Self ! {self(), Ask(Each)} end) || Each <- Of]].

a_process_that_only_calls_itself_a_beam_is_no_danger(_) ->
    Name = "beam.smp\e[2J\nroot) S 1",
    Port = open_port({spawn_executable, os:find_executable("bash")}, [
        {args, ["-c", "exec -a \"$0\" sleep 60", Name]}, exit_status
    ]),
    {os_pid, OsPid} = erlang:port_info(Port, os_pid),
    try
        eventually:is(true, fun() ->
            {ok, CommandLine} = file:read_file(io_lib:format("/proc/~b/cmdline", [OsPid])),
            binary:match(CommandLine, <<"beam.smp">>) =:= {0, 8}
        end),
        Text = diagnose(OsPid, "200ms", []),
        ?assertEqual([], [Control || Control <- Text, Control < $\s, Control =/= $\n])
    after
        os:cmd(io_lib:format("kill -KILL ~b", [OsPid]))
    end.

%% Two clients wait.
says_first(Finding, Way) ->
    says_first(Finding, Way, #{}).

says_first(Finding, Way, Options) ->
    with(Way, Options, fun(#{os_pid := OsPid} = Vm) ->
        _ = clients(Vm),
        Json = diagnose(OsPid),
        ?assertMatch({Finding, [Finding | _]}, {Finding, findings(Json)}, Json),
        Json
    end).

with(Way, Options, Diagnose) ->
    Vm = hung_vm:start(Way, Options),
    try
        Diagnose(Vm)
    after
        hung_vm:stop(Vm)
    end.

clients(#{address := Address}) ->
    sockets:clients(2, Address).

diagnose(OsPid) ->
    diagnose(OsPid, ?WINDOW).

diagnose(OsPid, Window) ->
    diagnose(OsPid, Window, ["--json"]).

diagnose(OsPid, Window, Options) ->
    {_Severity, Text} = commands:run(program(), ["diagnose", "--pid", integer_to_list(OsPid), "--for", Window | Options]),
    Text.

%% In order. There is no JSON in OTP 25.
findings(Json) ->
    case re:run(Json, "\"id\":\"([a-z_]+)\"", [global, {capture, [1], list}]) of
        {match, Found} -> [Id || [Id] <- Found];
        nomatch -> error({no_findings, Json})
    end.

hangs(Findings) ->
    [Finding || Finding <- Findings, lists:member(Finding, ?HANGS)].

program() ->
    repository:target("release/accept-queue").

unless_root(Reason, Test) ->
    case os:cmd("id -u") of
        "0\n" -> Test();
        _ -> {skip, Reason}
    end.
