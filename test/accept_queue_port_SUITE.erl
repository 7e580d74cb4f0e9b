%% The port program as a process: what becomes of calls when it ends, is stopped or is sent nonsense, and of it when the VM ends.
-module(accept_queue_port_SUITE).

-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

-define(HELLO, {accept_queue, 3}).
-define(FRAME_MS, 10000).

all() ->
    [
        a_program_that_is_killed_is_started_again_once_a_second_at_most,
        that_the_program_has_ended_is_a_line_of_the_log,
        an_end_that_a_write_meets_is_a_line_of_the_log,
        a_server_that_is_killed_does_not_start_the_program_more_often,
        what_a_stopped_program_does_not_answer_is_a_timeout_and_leaves_nothing_behind,
        what_the_program_watched_starts_again_with_the_next_one,
        the_program_ends_with_a_vm_that_is_killed,
        a_stopped_program_ends_with_its_vm,
        a_frame_that_lies_is_reported_and_the_next_one_answered,
        a_frame_that_is_too_large_ends_the_program,
        another_version_ends_the_program,
        a_vm_that_has_not_started_it_is_refused,
        a_vm_that_does_not_read_holds_up_only_itself,
        ten_thousand_calls_leave_nothing_behind,
        without_the_native_library_the_program_reads,
        every_word_of_the_program_is_known_to_the_vm,
        a_source_that_is_none_is_refused_in_a_sentence
    ].

init_per_testcase(_, Config) ->
    _ = application:stop(accept_queue),
    _ = application:load(accept_queue),
    ok = application:set_env(accept_queue, source, port),
    ok = application:start(accept_queue),
    %% It has answered.
    {ok, _} = accept_queue:kernel(),
    Config.

end_per_testcase(_, _Config) ->
    _ = application:stop(accept_queue),
    case over_port:vm_arguments() of
        [] -> application:unset_env(accept_queue, source);
        _ -> ok
    end.

a_program_that_is_killed_is_started_again_once_a_second_at_most(_) ->
    L = sockets:listen(5),
    {ok, Handle} = accept_queue:open(L),
    {Starts, WereAway} = lists:unzip([
        begin
            Pid = program(),
            signal("KILL", Pid),
            eventually:is({error, timeout}, fun() -> accept_queue:depth(Handle) end),
            %% Meanwhile they say so, and none waits for an answer: all of them take less than one time-out. On a busy machine the next
            %% program may be there before the last of them.
            {Us, Answers} = timer:tc(fun() -> [Read(Handle) || Read <- readings()] end),
            IsAway = lists:member(program(), [Pid, undefined]),
            [?assertEqual({[{error, timeout}], true}, {lists:usort(Answers), Us < 5000000}) || IsAway],
            eventually:is(true, fun() -> not lists:member(program(), [Pid, undefined]) end),
            Started = started(program()),
            eventually:is({ok, #{queued => 0, limit => 5, drops => 0}}, fun() -> accept_queue:depth(Handle) end),
            {Started, IsAway}
        end
     || _ <- lists:seq(1, 3)
    ]),
    ?assert(lists:member(true, WereAway)),
    %% As the kernel has noted it, in hundredths of a second.
    [?assert(Later - Sooner >= 99, Starts) || {Sooner, Later} <- lists:zip(lists:droplast(Starts), tl(Starts))].

%% The default handler shows it. A heartbeat or a request may meet the end before the VM has the exit status.
that_the_program_has_ended_is_a_line_of_the_log(_) ->
    ok = logged:start(),
    signal("KILL", program()),
    ?assert(lists:member(logged_end(), ["exit status 137", "a write to it failed: epipe"])),
    ok = logged:stop().

%% As the VM says it then.
an_end_that_a_write_meets_is_a_line_of_the_log(_) ->
    ok = logged:start(),
    Pid = program(),
    {links, Links} = process_info(whereis(accept_queue_port), links),
    [Port] = [Link || Link <- Links, is_port(Link)],
    accept_queue_port ! {'EXIT', Port, epipe},
    ?assertEqual("a write to it failed: epipe", logged_end()),
    ends(Pid),
    eventually:is(true, fun() -> program() =/= undefined end),
    ok = logged:stop().

logged_end() ->
    receive
        {logged, warning, "accept_queue: the port program has ended (" ++ Said} ->
            [Why, ""] = string:split(Said, "); it is started again"),
            Why
    after ?FRAME_MS -> error({not_logged, process_info(self(), messages)})
    end.

%% Also when it is killed before the program has sent anything. What the kernel notes of a program's start does not tell when it was
%% asked for, so the time is taken here: from the first kill on, each program but the first waits for a second.
a_server_that_is_killed_does_not_start_the_program_more_often(_) ->
    Count = 4,
    {Us, Programs} = timer:tc(fun() ->
        [
            begin
                Pid = program(),
                exit(whereis(accept_queue_port), kill),
                ends(Pid),
                eventually:is(true, fun() -> whereis(accept_queue_port) =/= undefined andalso program() =/= undefined end),
                program()
            end
         || _ <- lists:seq(1, Count)
        ]
    end),
    ?assertEqual(Count, length(lists:usort(Programs))),
    ?assert(Us >= (Count - 1) * 1000000, Us).

what_a_stopped_program_does_not_answer_is_a_timeout_and_leaves_nothing_behind(_) ->
    L = sockets:listen(5),
    {ok, Handle} = accept_queue:open(L),
    %% No other process is to ask meanwhile.
    [ok = supervisor:terminate_child(accept_queue_sup, Child) || Child <- [accept_queue_monitor, accept_queue_pools]],
    Pid = program(),
    signal("STOP", Pid),
    %% More than are let out at once, and more than the pipe takes.
    Self = self(),
    Callers = [
        spawn_link(fun() ->
            Answer = accept_queue:depth(Handle),
            {messages, Messages} = process_info(self(), messages),
            Self ! {self(), Answer, Messages},
            receive stay -> ok end
        end)
     || _ <- lists:seq(1, 2000)
    ],
    ?assertEqual([{{error, timeout}, []}], lists:usort([receive {Caller, Answer, Left} -> {Answer, Left} end || Caller <- Callers])),
    signal("CONT", Pid),
    eventually:is({ok, #{queued => 0, limit => 5, drops => 0}}, fun() -> accept_queue:depth(Handle) end),
    ?assertEqual(Pid, program()),
    %% A late answer has reached no process, and is not kept.
    ?assertEqual([0], lists:usort([Length || Caller <- Callers, {_, Length} <- [process_info(Caller, message_queue_len)]])),
    [Waiting, Sent, Calls | _] = lists:reverse(tuple_to_list(sys:get_state(accept_queue_port))),
    ?assertEqual({#{}, #{}, true}, {Calls, Sent, queue:is_empty(Waiting)}),
    [begin unlink(Caller), exit(Caller, kill) end || Caller <- Callers].

what_the_program_watched_starts_again_with_the_next_one(_) ->
    L = sockets:listen(5),
    ok = accept_queue:subscribe(),
    ok = accept_queue:watch(L, #{interval_ms => 20, max_wait_ms => 1, for_ms => 100, census_ms => 100}),
    _ = sockets:client(sockets:address(L)),
    await(raised, L),
    signal("KILL", program()),
    await(cleared, L),
    %% With the same settings: by the defaults it would take a second.
    await(raised, L),
    {ok, #{conditions := Conditions}} = accept_queue:status(L),
    ?assert(lists:member(behind, Conditions)),
    accept_queue:unsubscribe().

await(What, L) ->
    Address = sockets:address(L),
    receive
        {accept_queue, What, behind, #{address := Address}} -> ok
    after ?FRAME_MS -> erlang:error({not_published, What})
    end.

the_program_ends_with_a_vm_that_is_killed(_) ->
    {Vm, Program} = vm_with_program(),
    signal("KILL", Vm),
    ends(Program).

a_stopped_program_ends_with_its_vm(_) ->
    {Vm, Program} = vm_with_program(),
    signal("STOP", Program),
    signal("KILL", Vm),
    ends(Program).

vm_with_program() ->
    Vm = other_vm:start(#{args => ["-accept_queue", "source", "port"]}),
    {ok, _} = other_vm:call(Vm, application, ensure_all_started, [accept_queue]),
    {ok, _} = other_vm:call(Vm, accept_queue, kernel, []),
    Pids = {other_vm:call(Vm, os, getpid, []), other_vm:call(Vm, accept_queue_port, os_pid, [])},
    %% It does not take this test with it.
    unlink(Vm),
    Pids.

%% By hand.

a_frame_that_lies_is_reported_and_the_next_one_answered(_) ->
    Port = by_hand(),
    Long = binary:copy(<<108, 1:32>>, 100000),
    [
        begin
            true = port_command(Port, Frame),
            {event, malformed, Why} = frame(Port),
            ?assert(is_binary(Why)),
            true = port_command(Port, term_to_binary({Frame, default_settings, []})),
            {Frame, {ok, #{interval_ms := 100}}} = frame(Port)
        end
     || Frame <- [
            <<>>, <<131>>, <<130, 106>>, <<131, 106, 106>>, <<131, 105, 255, 255, 255, 255>>, <<131, 109, 255, 255, 255, 255>>,
            <<131, Long/binary>>, <<131, 80, 1000:32, 1, 2, 3>>, <<131, 68, 0>>, <<131, 82, 0>>, <<0:800000>>,
            term_to_binary(self()), term_to_binary(fun() -> ok end), term_to_binary(1 bsl 2000), term_to_binary([a | b]),
            term_to_binary({}), term_to_binary({1, depth}), term_to_binary({1, "depth", []}),
            term_to_binary(lists:duplicate(10000, 0), [compressed]),
            term_to_binary(lists:foldl(fun(_, Term) -> [Term] end, [], lists:seq(1, 10000)))
        ]
    ],
    %% A frame that is none, named in the event.
    [
        begin
            true = port_command(Port, term_to_binary({7, Command, Arguments})),
            ?assertEqual({7, Answer}, frame(Port), {Command, Arguments})
        end
     || {Command, Arguments, Answer} <- [
            {no_such_command, [], {error, unsupported}},
            {depth, [], {error, badarg}},
            {depth, [junk], {error, badarg}},
            {depth, [[]], {error, closed}},
            {depth, [[{-1, 1, 1, {{127, 0, 0, 1}, 80}}]], {error, closed}},
            {depth, [[{1 bsl 40, 1, 1, {{127, 0, 0, 1}, 80}}]], {error, badarg}},
            {depth, [[{5, 1, 1, {{127, 0, 0, 256}, 80}}]], {error, badarg}},
            {open, [-1], {error, closed}},
            {inode, [0.5], {error, badarg}},
            {read, [[1, 2], 5, news], {ok, [{1, {error, lost}}, {2, {error, lost}}]}},
            {census, [[1], 5], {ok, [{error, lost}]}},
            {status, [1, 5], {error, lost}},
            {watch, [1, [], #{}, 0], {error, badarg}},
            {unwatch, [1], ok},
            {verdict, [#{}], {error, badarg}},
            {advise, [#{limit => five}], {error, badarg}}
        ]
    ],
    ends(Port).

a_frame_that_is_too_large_ends_the_program(_) ->
    %% Only its head: the program does not wait for the rest.
    Port = open_port({spawn_executable, accept_queue_port:program()}, [{args, ["port", "--vm", os:getpid()]}, stream, binary, exit_status]),
    true = port_command(Port, <<(1024 * 1024 + 1):32>>),
    ?assertNotEqual(nomatch, string:find(until_exit(Port, 1), <<"a frame of 1048577 bytes was announced">>)).

until_exit(Port, Status) ->
    receive
        {Port, {data, Bytes}} -> <<Bytes/binary, (until_exit(Port, Status))/binary>>;
        {Port, {exit_status, Status}} -> <<>>
    end.

another_version_ends_the_program(_) ->
    Port = start_by_hand(os:getpid()),
    true = port_command(Port, term_to_binary({accept_queue, 1})),
    ?HELLO = frame(Port),
    {event, malformed, <<"the first frame is not {accept_queue, 3}">>} = frame(Port),
    receive
        {Port, {exit_status, 1}} -> ok
    end.

a_vm_that_has_not_started_it_is_refused(_) ->
    [
        ?assertEqual(
            "accept-queue: --vm is " ++ Pid ++ "; allowed is the pid of the VM that has started this program\n",
            element(2, commands:run(accept_queue_port:program(), ["port", "--vm", Pid]))
        )
     || Pid <- ["2147483647", integer_to_list(program())]
    ].

%% Its standard output is a pipe that a process holds open and never reads.
a_vm_that_does_not_read_holds_up_only_itself(Config) ->
    Fifo = filename:join(proplists:get_value(priv_dir, Config), "fifo"),
    {0, ""} = commands:run("mkfifo", [Fifo]),
    Silent = open_port({spawn_executable, "/bin/sh"}, [{args, ["-c", "exec sleep 1000 <\"$0\"", Fifo]}, exit_status]),
    {os_pid, SilentPid} = erlang:port_info(Silent, os_pid),
    Command = ["-c", "exec \"$1\" port --vm \"$2\" >\"$0\"", Fifo, accept_queue_port:program(), os:getpid()],
    Port = open_port({spawn_executable, "/bin/sh"}, [{args, Command}, {packet, 4}, binary, exit_status]),
    {os_pid, Pid} = erlang:port_info(Port, os_pid),
    eventually:is(true, fun() -> lists:suffix("accept-queue", executable(Pid)) end),
    true = port_command(Port, term_to_binary(?HELLO)),
    %% Far more than pipe and queue take.
    Request = term_to_binary({1, kernel, []}),
    [true = port_command(Port, Request) || _ <- lists:seq(1, 60000)],
    %% The port lets the last one through when the program has read what was before it.
    ?assert(resident_bytes(Pid) < 100 * 1024 * 1024),
    true = port_close(Port),
    ends(Pid),
    signal("KILL", SilentPid).

ten_thousand_calls_leave_nothing_behind(_) ->
    L = sockets:listen(5),
    {ok, Handle} = accept_queue:open(L),
    %% Walks over the kernel's tables are rare: on a busy machine each takes milliseconds.
    Round = fun(Count) ->
        _ = [{ok, #{queued := 0}} = accept_queue:depth(Handle) || _ <- lists:seq(1, Count)],
        _ = [{ok, _} = accept_queue:open(L) || _ <- lists:seq(1, Count div 10)],
        _ = [{ok, #{queued := 0}} = accept_queue:counts(L) || _ <- lists:seq(1, Count div 100)],
        [{ok, []} = accept_queue:holders(Handle) || _ <- lists:seq(1, Count div 100)]
    end,
    Usage = fun() -> {resident_bytes(program()), length(descriptors(program())), vm_usage:allocated_bytes()} end,
    _ = Round(1000),
    {Resident, Descriptors, Allocated} = Usage(),
    _ = Round(9000),
    {ResidentAfter, DescriptorsAfter, AllocatedAfter} = Usage(),
    ?assertEqual(Descriptors, DescriptorsAfter),
    ?assert(ResidentAfter - Resident < 1024 * 1024, {Resident, ResidentAfter}),
    ?assert(AllocatedAfter - Allocated < 1024 * 1024, {Allocated, AllocatedAfter}).

without_the_native_library_the_program_reads(Config) ->
    Ebin = accept_queue_faults_SUITE:copy_of_the_application(Config, "program_alone"),
    Program = filename:join([filename:dirname(Ebin), "priv", "accept-queue"]),
    ok = filelib:ensure_dir(Program),
    {ok, _} = file:copy(accept_queue_port:program(), Program),
    ok = file:change_mode(Program, 8#755),
    Vm = other_vm:start(#{paths => [Ebin, filename:dirname(code:which(?MODULE))]}),
    Answers = other_vm:call(Vm, accept_queue_faults_SUITE, everything, []),
    ?assertMatch(
        #{
            load_error := {load_failed, _},
            depth := {ok, #{queued := 2, limit := 5, drops := 0}},
            depth_of_client := {error, not_listening},
            depth_of_closed := {error, closed},
            depth_of_term := badarg,
            open := {ok, _},
            counts := {ok, #{queued := 2, queued_alive := 2}},
            list := {ok, [#{queued := 2, limit := 5}]},
            kernel := {ok, #{somaxconn := _}}
        },
        Answers
    ),
    ?assertMatch({ok, _}, other_vm:call(Vm, accept_queue, advice, [])),
    eventually:is(1, fun() -> length(other_vm:call(Vm, accept_queue, watched, [])) end),
    other_vm:stop(Vm).

%% An unknown atom would not be decoded, and its caller would wait.
every_word_of_the_program_is_known_to_the_vm(_) ->
    Words =
        words("native/cli/src/port/term.rs", "atom\\(\"([a-z_]+)\"") ++
        words("native/cli/src/port/answers.rs", "(?:atom\\(|\\(|=> )\"([a-z_]+)\"") ++
        words("native/cli/src/port/watchdog/hang_event.rs", "(?:atom\\(|\\()\"([a-z_]+)\"") ++
        words("native/cli/src/port/commands.rs", "atom\\(\"([a-z_]+)\"") ++
        words("native/cli/src/port/watchdog.rs", "(?:atom|event)\\(\"([a-z_]+)\"") ++
        words("native/core/src/error.rs", "=> \"([a-z_]+)\"") ++
        words("native/core/src/linux/counters.rs", "\\(\"([a-z_]+)\", self") ++
        lists:append([
            words("native/core/src/rules/diagnosis/" ++ Subject ++ ".rs", "=> (?:\\{\\s*)?\"([a-z_]+)\"")
         || Subject <- ["process", "threads", "accepting", "queue", "coverage"]
        ]) ++
        words("native/core/src/rules/advice.rs", "(?:id: |\\()\"([a-z_]+)\""),
    ?assert(length(Words) > 100),
    Known = [atom_to_list(Word) || Word <- accept_queue_port:words()],
    ?assertEqual([], lists:usort(Words) -- Known).

words(File, Pattern) ->
    {ok, Source} = file:read_file(repository:path(File)),
    [Written | _] = binary:split(Source, <<"#[cfg(test)]">>),
    {match, Words} = re:run(Written, Pattern, [global, {capture, all_but_first, list}]),
    [Word || [Word] <- Words].

a_source_that_is_none_is_refused_in_a_sentence(_) ->
    ok = application:stop(accept_queue),
    ok = application:set_env(accept_queue, source, ftp),
    {error, Reason} = application:start(accept_queue),
    ?assertNotEqual(nomatch, string:find(lists:flatten(io_lib:format("~p", [Reason])), "source is ftp; allowed is nif or port")).

%% Helpers.

readings() ->
    [fun accept_queue:depth/1, fun accept_queue:counts/1, fun accept_queue:holders/1, fun(_) -> accept_queue:list() end].

program() ->
    accept_queue_port:os_pid().

by_hand() ->
    Port = start_by_hand(os:getpid()),
    true = port_command(Port, term_to_binary(?HELLO)),
    ?HELLO = frame(Port),
    Port.

start_by_hand(Vm) ->
    open_port({spawn_executable, accept_queue_port:program()}, [{args, ["port", "--vm", Vm]}, {packet, 4}, binary, exit_status]).

frame(Port) ->
    receive
        {Port, {data, Frame}} -> binary_to_term(Frame);
        {Port, Other} -> erlang:error(Other)
    after ?FRAME_MS -> erlang:error(no_frame)
    end.

signal(Name, Pid) ->
    "" = os:cmd(lists:flatten(io_lib:format("kill -~s ~s", [Name, text(Pid)]))).

ends(Port) when is_port(Port) ->
    {os_pid, Pid} = erlang:port_info(Port, os_pid),
    true = port_close(Port),
    ends(Pid);
ends(Pid) ->
    eventually:is({error, enoent}, fun() -> file:read_link(proc(Pid, "exe")) end).

%% Since the machine started.
started(Pid) ->
    {ok, Stat} = file:read_file(proc(Pid, "stat")),
    [_, Fields] = binary:split(Stat, <<") ">>),
    binary_to_integer(lists:nth(20, binary:split(Fields, <<" ">>, [global]))).

executable(Pid) ->
    case file:read_link(proc(Pid, "exe")) of
        {ok, Path} -> Path;
        {error, _} -> ""
    end.

resident_bytes(Pid) ->
    {ok, Status} = file:read_file(proc(Pid, "status")),
    {match, [KiB]} = re:run(Status, "^VmRSS:\\s+(\\d+) kB$", [multiline, {capture, all_but_first, binary}]),
    binary_to_integer(KiB) * 1024.

descriptors(Pid) ->
    {ok, Fds} = file:list_dir(proc(Pid, "fd")),
    Fds.

proc(Pid, File) ->
    filename:join(["/proc", text(Pid), File]).

text(Pid) when is_integer(Pid) -> integer_to_list(Pid);
text(Pid) -> Pid.
