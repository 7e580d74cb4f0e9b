%% The watchdog beside VMs that really hang: what it writes, when, and which event they get when they are back.
%%
%% A VM under test is another than this one, and subscribes to its own events.
-module(accept_queue_watchdog_SUITE).

-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

-define(HUNG_MS, 10000).
-define(QUICK_HANG_MS, 2500).

all() ->
    [
        ten_seconds_of_an_idle_vm_leave_one_file_that_names_the_library,
        whichever_scheduler_is_blocked_it_is_noticed,
        a_scheduler_that_spins_is_named,
        a_vm_that_is_stopped_hangs_and_one_that_was_asleep_with_its_program_does_not,
        a_vm_that_has_a_lot_to_do_is_left_alone,
        the_oldest_evidence_makes_room,
        a_folder_that_cannot_be_written_is_reported_and_survived,
        a_full_disk_is_reported_and_survived,
        a_program_that_is_killed_meanwhile_is_started_again_and_watches,
        a_vm_that_dies_while_it_hangs_leaves_its_evidence,
        a_vm_that_ends_is_no_hang,
        without_the_program_the_vm_says_so_and_goes_on,
        the_memory_can_be_read_with_allow_ptrace
    ].

%% The measure of the issue: the defaults, and the NIF as the source. Of one scheduler, for another that wakes up in between may
%% take the clients.
ten_seconds_of_an_idle_vm_leave_one_file_that_names_the_library(Config) ->
    with(Config, #{}, ["+S", "1"], fun(#{directory := Directory, address := Address} = Vm) ->
        {HungMs, WithinMs} = hang(Vm, sleep, [10000], fun() ->
            %% Later than the program's first samples.
            eventually:passes(erlang:monotonic_time(millisecond) + 1500),
            _ = sockets:clients(2, Address),
            eventually:is(1, fun() -> length(documents(Directory)) end)
        end),
        %% While it hangs.
        ?assert(WithinMs < HungMs, {WithinMs, HungMs}),
        #{duration_ms := Ms, file := File, reason := undefined, finding := Finding} = hung(Vm),
        ?assert(Ms >= 9000 andalso Ms =< HungMs + 5000, {Ms, HungMs}),
        ?assertEqual(scheduler_blocked, Finding),
        Document = unicode:characters_to_list(File),
        ?assertEqual([Document], documents(Directory)),
        Page = filename:rootname(Document) ++ ".txt",
        ?assertEqual([8#600, 8#600], [mode(Path) || Path <- [Document, Page]]),
        {ok, Json} = file:read_file(Document),
        has("^{\"hang\":{\"written_at\":[0-9]+,\"last_heartbeat_at\":[0-9]+,\"silent_ms\":[5-9][0-9]{3},\"heartbeat_ms\":1000,\"hang_after_ms\":5000},\"schema\":1,", Json),
        has("\"findings\":\\[{\"id\":\"scheduler_blocked\"", Json),
        has("\"role\":\"scheduler [0-9]+\",\"state\":\"sleeping\",\"doing\":\"is held up\"[^}]*\"system_call\":\"clock_nanosleep\"[^}]*\"library\":\"libhanging_nif.so\"", Json),
        %% The pollset, and the kernel's counters.
        has("\"epoll\":\\[{\"descriptor\":[0-9]+,\"set\":\"poll_thread\",\"events\":\"[0-9a-f]+\"}", Json),
        has("\"kernel\":{[^}]*\"listen_overflows\":[0-9]+", Json),
        %% The depth over time: before, and since.
        Depths = depths(Address, Json),
        ?assert(length(Depths) >= 5, Depths),
        ?assertMatch({[0 | _], [2 | _]}, {Depths, lists:reverse(Depths)}),
        {ok, Text} = file:read_file(Page),
        has("no heartbeat of VM [0-9]+ for [5-9]\\.[0-9] s; one is due every 1\\.0 s", Text),
        has("libhanging_nif\\.so", Text),
        has("queued, every 0\\.5 s, the oldest first:\n(?s:.*)" ++ text(Address) ++ ": (?:-(?: x[0-9]+)?, )?0(?: x[0-9]+)?(?:, 1)?, 2 x[0-9]+\n", Text),
        %% A line of the log, and telemetry.
        Line = logged_error(Vm),
        has("^this VM hung for [0-9.]+ s\\. Finding: .*libhanging_nif\\.so.* \\(scheduler_blocked\\) The evidence: " ++ Document ++ "$", Line),
        {Measured, Metadata} = measured(Vm),
        ?assertEqual({#{duration_ms => Ms}, File, scheduler_blocked}, {Measured, maps:get(file, Metadata), maps:get(finding, Metadata)}),
        ?assertNot(is_map_key(reason, Metadata))
    end).

%% One is enough, also while the others go on, over either source.
whichever_scheduler_is_blocked_it_is_noticed(Config) ->
    with(Config, quick(#{keep => 100}), ["-accept_queue", "source", "port"], fun(#{vm := Node, directory := Directory} = Vm) ->
        Online = min(4, other_vm:call(Node, erlang, system_info, [schedulers_online])),
        [
            begin
                {HungMs, WithinMs} = hang(Vm, sleep_on, [Scheduler, ?QUICK_HANG_MS], fun() ->
                    eventually:is(Scheduler, fun() -> length(documents(Directory)) end)
                end),
                ?assert(WithinMs < HungMs, {WithinMs, HungMs}),
                ?assertMatch(#{file := <<_/binary>>}, hung(Vm))
            end
         || Scheduler <- lists:seq(1, Online)
        ],
        %% As many as there were hangs.
        ?assertEqual(Online, length(documents(Directory)))
    end).

a_scheduler_that_spins_is_named(Config) ->
    %% Also while no client waits.
    with(Config, quick(), [], fun(Vm) ->
        _ = hang(Vm, spin, [?QUICK_HANG_MS], fun() -> ok end),
        ?assertMatch(#{finding := scheduler_spinning, file := <<_/binary>>}, hung(Vm))
    end).

a_vm_that_is_stopped_hangs_and_one_that_was_asleep_with_its_program_does_not(Config) ->
    with(Config, quick(), [], fun(#{os_pid := OsPid, vm := Node, directory := Directory} = Vm) ->
        Program = integer_to_list(other_vm:call(Node, accept_queue_port, os_pid, [])),
        %% As a machine that sleeps, or a control group that is frozen. Its heartbeat is back before the program reads again.
        signal("STOP", Program),
        signal("STOP", OsPid),
        timer:sleep(2000),
        signal("CONT", OsPid),
        signal("CONT", Program),
        %% The VM alone.
        signal("STOP", OsPid),
        eventually:is(1, fun() -> length(documents(Directory)) end),
        signal("CONT", OsPid),
        ?assertMatch(#{finding := process_stopped}, hung(Vm)),
        ?assertEqual(none, hung(Vm, 0))
    end).

%% Nor is it missed by a program that has a lot to do.
a_vm_that_has_a_lot_to_do_is_left_alone(Config) ->
    with(Config, #{heartbeat_ms => 300, hang_after_ms => 2000}, ["-accept_queue", "source", "port"], fun(#{vm := Node, directory := Directory} = Vm) ->
        _ = other_vm:call(Node, ?MODULE, much_to_do, []),
        eventually:passes(erlang:monotonic_time(millisecond) + 6000),
        ?assertEqual({[], none}, {documents(Directory), hung(Vm, 0)})
    end).

the_oldest_evidence_makes_room(Config) ->
    with(Config, quick(#{keep => 2}), [], fun(#{directory := Directory} = Vm) ->
        Files = [
            begin
                _ = hang(Vm, sleep, [1500], fun() -> ok end),
                #{file := File} = hung(Vm),
                unicode:characters_to_list(File)
            end
         || _ <- lists:seq(1, 3)
        ],
        ?assertEqual(tl(Files), documents(Directory)),
        ?assertEqual(4, length(files(Directory)))
    end).

a_folder_that_cannot_be_written_is_reported_and_survived(Config) ->
    %% The user of the test may be root, so that a mode does not forbid it: a file is in the way.
    File = filename:join(proplists:get_value(priv_dir, Config), "file"),
    ok = file:write_file(File, ""),
    with(Config, quick(#{directory => File ++ "/evidence"}), [], fun(Vm) ->
        Soon = logged_error(Vm),
        has("^accept_queue: the port program reports watchdog: evidence cannot be written to .*/file/evidence: Not a directory", Soon),
        _ = hang(Vm, sleep, [?QUICK_HANG_MS], fun() -> ok end),
        #{file := undefined, reason := Reason, finding := scheduler_blocked} = hung(Vm),
        has("^evidence cannot be written to .*/file/evidence: Not a directory", Reason),
        Line = logged_error(Vm),
        has("There is no evidence: evidence cannot be written to ", Line)
    end).

a_full_disk_is_reported_and_survived(Config) ->
    Directory = directory(Config, "full"),
    ok = filelib:ensure_path(Directory),
    case commands:run("unshare", ["--mount", "mount", "-t", "tmpfs", "none", Directory]) of
        {0, _} ->
            Full = ["unshare", "--mount", "/bin/sh", "-c", "mount -t tmpfs -o size=4k none \"$0\" && exec \"$@\"", Directory],
            with(Config, quick(#{directory => Directory}), {Full, []}, fun(#{vm := Node} = Vm) ->
                _ = hang(Vm, sleep, [?QUICK_HANG_MS], fun() -> ok end),
                #{file := undefined, reason := Reason} = hung(Vm),
                has("No space left on device", Reason),
                ?assertEqual({ok, []}, other_vm:call(Node, prim_file, list_dir, [Directory]))
            end);
        {_, Refused} ->
            skipped:because(?FUNCTION_NAME, "no file system may be mounted: " ++ Refused)
    end.

a_program_that_is_killed_meanwhile_is_started_again_and_watches(Config) ->
    with(Config, quick(), [], fun(#{vm := Node, directory := Directory} = Vm) ->
        Program = other_vm:call(Node, accept_queue_port, os_pid, []),
        _ = hang(Vm, sleep, [?QUICK_HANG_MS], fun() ->
            eventually:is(1, fun() -> length(documents(Directory)) end),
            signal("KILL", integer_to_list(Program))
        end),
        eventually:is(true, fun() ->
            not lists:member(other_vm:call(Node, accept_queue_port, os_pid, []), [Program, undefined])
        end),
        %% The new one has had a heartbeat.
        eventually:is(sent, fun() -> other_vm:call(Node, accept_queue_port, heartbeat, []) end),
        _ = hang(Vm, sleep, [?QUICK_HANG_MS], fun() -> ok end),
        #{file := File} = hung(Vm),
        ?assertEqual(unicode:characters_to_list(File), lists:last(documents(Directory))),
        ?assertEqual(2, length(documents(Directory)))
    end).

a_vm_that_dies_while_it_hangs_leaves_its_evidence(Config) ->
    Vm = start(Config, quick(), []),
    #{vm := Node, os_pid := OsPid, directory := Directory} = Vm,
    Program = other_vm:call(Node, accept_queue_port, os_pid, []),
    unlink(Node),
    _ = spawn(fun() -> other_vm:call(Node, hanging_nif, sleep, [20000]) end),
    eventually:is(1, fun() -> length(documents(Directory)) end),
    signal("KILL", OsPid),
    ends(Program),
    ?assertEqual(2, length(files(Directory))).

a_vm_that_ends_is_no_hang(Config) ->
    %% Longer than a busy machine holds up a VM that starts.
    Vm = start(Config, (quick())#{hang_after_ms => 20000}, []),
    #{vm := Node, directory := Directory} = Vm,
    Program = other_vm:call(Node, accept_queue_port, os_pid, []),
    %% The application first: it takes its time to end.
    ok = other_vm:call(Node, application, stop, [accept_queue]),
    ends(Program),
    other_vm:stop(Node),
    ?assertEqual([], files(Directory)).

without_the_program_the_vm_says_so_and_goes_on(Config) ->
    Ebin = accept_queue_faults_SUITE:copy_of_the_application(Config, "no_program"),
    Library = filename:join([filename:dirname(Ebin), "priv", "accept_queue_nif.so"]),
    ok = filelib:ensure_dir(Library),
    {ok, _} = file:copy(filename:join(accept_queue_nif:priv_dir(), "accept_queue_nif.so"), Library),
    Others = #{paths => [Ebin, filename:dirname(code:which(?MODULE))]},
    Vm = start(Config, quick(), {[], []}, Others),
    {warning, Line} = logged(Vm),
    has("^accept_queue: there is no watchdog: the program accept-queue is not in .*/no_program/accept_queue/priv$", Line),
    #{vm := Node} = Vm,
    eventually:is(1, fun() -> length(other_vm:call(Node, accept_queue, watched, [])) end),
    other_vm:stop(Node).

%% Where the kernel has no Yama, there is nothing to allow, and the VM does not complain.
the_memory_can_be_read_with_allow_ptrace(Config) ->
    with(Config, quick(#{allow_ptrace => true}), [], fun(#{vm := Node} = Vm) ->
        Program = other_vm:call(Node, accept_queue_port, os_pid, []),
        Expected =
            case file:read_file("/proc/sys/kernel/yama/ptrace_scope") of
                {ok, _} -> {ok, Program};
                {error, enoent} -> {error, {errno, einval}}
            end,
        ?assertEqual(Expected, other_vm:call(Node, accept_queue_nif, allow_ptrace, [Program])),
        ?assertEqual({error, not_found}, other_vm:call(Node, accept_queue_nif, allow_ptrace, [0])),
        _ = hang(Vm, sleep, [?QUICK_HANG_MS], fun() -> ok end),
        #{file := File} = hung(Vm),
        {ok, Json} = file:read_file(File),
        has("\"library\":\"libhanging_nif.so\"", Json),
        _ = logged_error(Vm),
        ?assertEqual(none, logged(Vm, 0))
    end).

%% A VM with a watchdog.

quick() -> quick(#{}).

%% As short as is allowed.
quick(Others) -> Others#{heartbeat_ms => 100, hang_after_ms => 1000}.

with(Config, Watchdog, Arguments, Test) when is_list(Arguments) ->
    with(Config, Watchdog, {[], Arguments}, Test);
with(Config, Watchdog, Started, Test) ->
    #{vm := Node} = Vm = start(Config, Watchdog, Started),
    Test(Vm),
    other_vm:stop(Node).

start(Config, Watchdog, Arguments) when is_list(Arguments) -> start(Config, Watchdog, {[], Arguments});
start(Config, Watchdog, Started) -> start(Config, Watchdog, Started, #{}).

start(Config, Watchdog, {Under, Arguments}, Others) ->
    Directory = maps:get(directory, Watchdog, directory(Config, integer_to_list(erlang:unique_integer([positive])))),
    Term = lists:flatten(io_lib:format("~w", [Watchdog#{directory => Directory}])),
    StandIns = repository:path("test/stand_ins"),
    Node = other_vm:start(Others#{
        under => Under, args => ["-accept_queue", "watchdog", Term, "-kernel", "logger_level", "notice" | Arguments]
    }),
    Address = other_vm:call(Node, ?MODULE, begin_there, [StandIns]),
    #{vm => Node, os_pid => other_vm:call(Node, os, getpid, []), directory => Directory, address => Address}.

directory(Config, Name) ->
    filename:join([proplists:get_value(priv_dir, Config), ?MODULE_STRING, Name]).

%% How long it took, and how long what is done meanwhile took.
hang(#{vm := Node}, Way, Arguments, Meanwhile) ->
    {Module, Function} = if Way =:= sleep_on -> {?MODULE, sleep_on}; true -> {hanging_nif, Way} end,
    {module, hanging_nif} = other_vm:call(Node, code, ensure_loaded, [hanging_nif]),
    BeganMs = erlang:monotonic_time(millisecond),
    Self = self(),
    Caller = spawn_link(fun() ->
        _ = other_vm:call(Node, Module, Function, Arguments),
        Self ! {self(), erlang:monotonic_time(millisecond)}
    end),
    _ = Meanwhile(),
    MeanwhileMs = erlang:monotonic_time(millisecond) - BeganMs,
    receive {Caller, EndedMs} -> {EndedMs - BeganMs, MeanwhileMs} end.

hung(Vm) -> hung(Vm, ?HUNG_MS).
hung(#{vm := Node}, WithinMs) -> other_vm:call(Node, ?MODULE, next, [hung, WithinMs]).

logged(Vm) -> logged(Vm, ?HUNG_MS).
logged(#{vm := Node}, WithinMs) -> other_vm:call(Node, ?MODULE, next, [logged, WithinMs]).

%% On a busy machine a queue may be behind meanwhile, which is a warning.
logged_error(Vm) ->
    case logged(Vm) of
        {error, Line} -> Line;
        {warning, _} -> logged_error(Vm)
    end.

measured(#{vm := Node}) -> other_vm:call(Node, ?MODULE, next, [measured, ?HUNG_MS]).

%% In the other VM.

begin_there(StandIns) ->
    {ok, telemetry, Telemetry} = compile:file(filename:join(StandIns, "telemetry.erl"), [binary]),
    {module, telemetry} = code:load_binary(telemetry, "telemetry.erl", Telemetry),
    Self = self(),
    ok = logger:add_handler(?MODULE, ?MODULE, #{filter_default => stop, filters => logged:filters(), config => #{to => Self}}),
    {ok, _} = application:ensure_all_started(accept_queue),
    ok = accept_queue:subscribe(),
    ok = telemetry:attach(?MODULE, [accept_queue, vm, hung], fun(_, Measured, Metadata, _) -> Self ! {measured, {Measured, Metadata}} end, none),
    L = sockets:listen(30),
    _ = [spawn(fun() -> hung_vm:serve(L) end) || _ <- lists:seq(1, 3)],
    eventually:is(3, fun() -> hung_vm:waiting(L) end),
    case whereis(accept_queue_watchdog) of
        undefined -> ok;
        %% The program has got it.
        _ -> eventually:is(sent, fun accept_queue_port:heartbeat/0)
    end,
    sockets:address(L).

log(#{level := Level, msg := Message, meta := Meta}, #{config := #{to := To}}) when Level =:= error; Level =:= warning ->
    Text =
        case Message of
            {report, Report} ->
                {Format, Arguments} = (maps:get(report_cb, Meta, fun logger:format_report/1))(Report),
                io_lib:format(Format, Arguments);
            {string, String} -> String;
            {Format, Arguments} -> io_lib:format(Format, Arguments)
        end,
    To ! {logged, {Level, lists:flatten(Text)}};
log(_, _) ->
    ok.

next(hung, WithinMs) -> receive {accept_queue, vm, hung, Details} -> Details after WithinMs -> none end;
next(Kind, WithinMs) -> receive {Kind, What} -> What after WithinMs -> none end.

sleep_on(Scheduler, Ms) ->
    {_, Monitor} = spawn_opt(fun() -> hanging_nif:sleep(Ms) end, [monitor, {scheduler, Scheduler}]),
    receive {'DOWN', Monitor, process, _, _} -> ok end.

much_to_do() ->
    _ = hung_vm:work(),
    _ = [spawn(fun() -> hung_vm:tick(N) end) || N <- lists:seq(1, 5000)],
    _ = [spawn(fun ask/0) || _ <- lists:seq(1, 32)],
    %% One that collects a large heap again and again.
    spawn(fun() -> garbage([]) end).

ask() ->
    _ = accept_queue:list(),
    ask().

garbage(Kept) ->
    garbage(lists:sublist([lists:seq(1, 100000) | Kept], 20)).

%% Files.

files(Directory) ->
    case file:list_dir(Directory) of
        {ok, Names} -> [filename:join(Directory, Name) || Name <- lists:sort(Names)];
        {error, enoent} -> []
    end.

documents(Directory) ->
    [Path || Path <- files(Directory), filename:extension(Path) =:= ".json"].

mode(Path) ->
    {ok, Info} = file:read_file_info(Path),
    element(8, Info) band 8#777.

has(Pattern, Text) ->
    ?assertMatch({match, _}, re:run(Text, Pattern, [unicode]), {Pattern, Text}).

%% Of this listener in each sample. There is no JSON in OTP 25.
depths(Address, Json) ->
    [_, Samples] = binary:split(Json, <<"\"samples\":">>),
    {match, Found} = re:run(Samples, "\"address\":\"" ++ text(Address) ++ "\",\"queued\":([0-9]+)", [global, {capture, [1], binary}]),
    [binary_to_integer(Depth) || [Depth] <- Found].

text(Address) ->
    lists:flatten(io_lib:format("~ts", [accept_queue_text:address(Address)])).

signal(Name, Pid) ->
    "" = os:cmd("kill -" ++ Name ++ " " ++ Pid).

ends(Pid) ->
    eventually:is({error, enoent}, fun() -> file:read_link("/proc/" ++ integer_to_list(Pid) ++ "/exe") end).
