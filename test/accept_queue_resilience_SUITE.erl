%% The application survives what is done to it: its code is loaded again, its library or program is missing or broken, its tables are
%% deleted, its processes are suspended, killed or not there. Each case runs in a VM of its own.
-module(accept_queue_resilience_SUITE).

-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

-define(MINUTE_MS, 60_000).
-define(LINES_MAX, 20).

all() ->
    [
        {group, code},
        {group, faults},
        {group, calls}
    ].

%% The second waits most of the time.
groups() ->
    [
        {code, [], [
            a_module_that_is_loaded_again_changes_nothing,
            a_reload_that_finds_no_library_keeps_the_loaded_one,
            a_module_that_is_purged_and_loaded_again_starts_anew,
            a_cover_compiled_application_works,
            the_appup_has_every_module,
            a_release_is_upgraded_and_downgraded_while_it_watches
        ]},
        {faults, [parallel], [
            without_library_and_program_the_application_stays_up,
            a_program_that_never_starts_is_not_loaded,
            a_program_of_another_processor_is_not_loaded,
            a_program_of_another_libc_is_not_loaded,
            a_program_that_says_hello_and_ends_is_logged_once_a_minute,
            a_watchdog_whose_program_never_starts_degrades_health,
            a_program_that_ends_twice_at_boot_is_used_by_the_monitor,
            a_library_that_came_back_is_used_after_a_restart,
            a_table_that_is_deleted_is_made_again,
            a_child_that_fails_at_each_start_is_tried_again
        ]},
        {calls, [], [
            calls_without_the_application_say_so,
            calls_to_a_suspended_process_say_so,
            calls_while_everything_is_killed_never_exit,
            a_watcher_watches_again_after_a_restart,
            a_watcher_starts_before_the_application_and_while_it_is_slow
        ]}
    ].

%% The code.

a_module_that_is_loaded_again_changes_nothing(_) ->
    in_vm(fun watched_with_handle/0, fun loads_again/0).

loads_again() ->
    Pids = pids(),
    [
        begin
            {error, on_load_failure} = code:load_file(accept_queue_nif),
            unchanged(Pids)
        end
     || _ <- lists:seq(1, 3)
    ],
    {_, Beam, File} = code:get_object_code(accept_queue_nif),
    {error, on_load_failure} = code:load_binary(accept_queue_nif, File, Beam),
    %% As l/1 does, which purges what is old; there is nothing old.
    {error, on_load_failure} = c:l(accept_queue_nif),
    unchanged(Pids).

a_reload_that_finds_no_library_keeps_the_loaded_one(Config) ->
    Ebin = copy(Config, ?FUNCTION_NAME),
    Vm = start(Ebin),
    other_vm:call(Vm, ?MODULE, watched_with_handle, []),
    ok = file:delete(filename:join([filename:dirname(Ebin), "priv", "accept_queue_nif.so"])),
    other_vm:call(Vm, ?MODULE, loads_again, []),
    other_vm:stop(Vm).

a_module_that_is_purged_and_loaded_again_starts_anew(_) ->
    in_vm(fun watched_with_handle/0, fun is_purged/0).

is_purged() ->
    Handle = get(handle),
    Supervisor = whereis(accept_queue_sup),
    [
        begin
            _ = code:purge(accept_queue_nif),
            true = code:delete(accept_queue_nif),
            _ = code:purge(accept_queue_nif),
            {module, accept_queue_nif} = code:ensure_loaded(accept_queue_nif),
            %% Of the instance before.
            ?assertError(badarg, accept_queue:depth(Handle)),
            {ok, New} = accept_queue:open(get(listener)),
            {ok, #{limit := 5}} = accept_queue:depth(New),
            {ok, [#{limit := 5}]} = accept_queue:list(),
            is_watched()
        end
     || _ <- lists:seq(1, 3)
    ],
    Supervisor = whereis(accept_queue_sup),
    ok.

a_cover_compiled_application_works(_) ->
    in_vm(fun watched_with_handle/0, fun is_covered/0).

is_covered() ->
    {ok, _} = cover:start(),
    {ok, Modules} = application:get_key(accept_queue, modules),
    Results = [{Module, cover:compile_beam(Module)} || Module <- Modules],
    ?assertEqual([accept_queue_nif], [Module || {Module, {error, _}} <- Results]),
    Handle = get(handle),
    {ok, #{limit := 5}} = accept_queue:depth(Handle),
    is_watched(),
    ok = cover:stop(),
    {ok, #{limit := 5}} = accept_queue:depth(Handle),
    is_watched().

the_appup_has_every_module(_) ->
    Ebin = repository:application("ebin"),
    {ok, [{Version, [{From, Up}], [{From, Down}]}]} = file:consult(filename:join(Ebin, "accept_queue.appup")),
    {ok, [{application, accept_queue, Keys}]} = file:consult(filename:join(Ebin, "accept_queue.app")),
    ?assertEqual(proplists:get_value(vsn, Keys), Version),
    ?assertEqual(Up, Down),
    ?assertEqual(lists:sort(proplists:get_value(modules, Keys)), lists:sort([accept_queue_nif | [Module || {load_module, Module, soft_purge, soft_purge, []} <- Up]])).

%% Two releases of OTP's own making, with this version and a copy that is called 0.1.1.
a_release_is_upgraded_and_downgraded_while_it_watches(Config) ->
    Dir = filename:join(proplists:get_value(priv_dir, Config), "releases"),
    [Old, New] = [release(Dir, Version) || Version <- ["0.1.0", "0.1.1"]],
    Path = [{path, [filename:join([Dir, "lib", "*", "ebin"])]}],
    {ok, _, _, []} = systools:make_relup(New, [Old], [Old], [{outdir, filename:dirname(New)}, silent | Path]),
    Releases = filename:join(Dir, "releases"),
    LibDirs = [{App, version(App), filename:dirname(code:lib_dir(App))} || App <- [kernel, stdlib, sasl]],
    Lib = fun(Version) -> {accept_queue, Version, filename:join(Dir, "lib")} end,
    ok = release_handler:create_RELEASES(Dir, Releases, Old ++ ".rel", [Lib("0.1.0") | LibDirs]),
    Vm = other_vm:start(#{
        paths => [filename:dirname(code:which(?MODULE))],
        boot_ms => 60000,
        args => [
            "-boot", filename:join(filename:dirname(Old), "start"), "-boot_var", "REL", Dir,
            "-sasl", "releases_dir", lists:flatten(io_lib:format("~tp", [Releases]))
        ]
    }),
    {ok, "0.1.1"} = other_vm:call(Vm, release_handler, set_unpacked, [New ++ ".rel", [Lib("0.1.1")]]),
    other_vm:call(Vm, ?MODULE, watched_with_handle, []),
    Watcher = other_vm:call(Vm, ?MODULE, with_watcher, []),
    [
        begin
            Before = other_vm:call(Vm, ?MODULE, pids, []),
            {ok, _, _} = other_vm:call(Vm, release_handler, install_release, [To]),
            ?assertEqual([], [Pid || Pid <- other_vm:call(Vm, ?MODULE, pids, []), lists:member(Pid, Before)]),
            ?assertEqual({ok, To}, other_vm:call(Vm, application, get_key, [accept_queue, vsn])),
            ?assertNotEqual(nomatch, string:find(other_vm:call(Vm, accept_queue_nif, priv_dir, []), "accept_queue-" ++ To)),
            %% The library of this version is the one that reads.
            ?assertEqual(undefined, other_vm:call(Vm, accept_queue_nif, load_error, [])),
            ok = other_vm:call(Vm, ?MODULE, is_upgraded, []),
            ?assertEqual(Watcher, other_vm:call(Vm, ?MODULE, with_watcher, []), "the watcher of a user's goes on")
        end
     || To <- ["0.1.1", "0.1.0", "0.1.1"]
    ],
    other_vm:stop(Vm).

is_upgraded() ->
    ?assertError(badarg, accept_queue:depth(get(handle))),
    {ok, Handle} = accept_queue:open(get(listener)),
    put(handle, Handle),
    {ok, #{limit := 5}} = accept_queue:depth(Handle),
    is_watched(),
    eventually:is(true, fun() -> is_pid(get(watcher)) andalso is_process_alive(get(watcher)) end),
    ok.

release(Dir, Version) ->
    Lib = filename:join([Dir, "lib", "accept_queue-" ++ Version]),
    [
        begin
            {ok, Text} = file:read_file(File),
            Copy = filename:join([Lib, Sub, filename:basename(File)]),
            ok = filelib:ensure_dir(Copy),
            IsText = lists:member(filename:extension(File), [".app", ".appup"]),
            Bytes = case IsText of true -> string:replace(Text, "\"0.1.0\"", ["\"", Version, "\""]); false -> Text end,
            ok = file:write_file(Copy, Bytes),
            ok = file:change_mode(Copy, 8#755)
        end
     || Sub <- ["ebin", "priv"], File <- filelib:wildcard(filename:join(repository:application(Sub), "*"))
    ],
    Base = filename:join([Dir, "releases", Version, "node"]),
    ok = filelib:ensure_dir(Base),
    Apps = [{App, version(App)} || App <- [kernel, stdlib, sasl]] ++ [{accept_queue, Version}],
    Release = {release, {"node", Version}, {erts, erlang:system_info(version)}, Apps},
    ok = file:write_file(Base ++ ".rel", io_lib:format("~tp.~n", [Release])),
    ok = file:write_file(filename:join(filename:dirname(Base), "sys.config"), "[].\n"),
    Options = [{path, [filename:join(Lib, "ebin")]}, {variables, [{"REL", Dir}]}, {outdir, filename:dirname(Base)}, silent],
    {ok, _, []} = systools:make_script(Base, Options),
    {ok, _} = file:copy(Base ++ ".boot", filename:join(filename:dirname(Base), "start.boot")),
    Base.

version(App) ->
    _ = application:load(App),
    {ok, Version} = application:get_key(App, vsn),
    Version.

%% Faults that last. Each is a minute long.

without_library_and_program_the_application_stays_up(Config) ->
    Ebin = copy(Config, ?FUNCTION_NAME),
    ok = file:delete(library(Ebin)),
    ok = file:delete(program(Ebin)),
    Lines = minute(Ebin, [], {error, not_loaded}),
    [{warning, Line}] = Lines,
    said(Line, ["cannot be loaded", "accept_queue_nif.so", "No such file", "no port program either"]).

a_program_that_never_starts_is_not_loaded(Config) ->
    Ebin = copy(Config, ?FUNCTION_NAME),
    ok = file:write_file(library(Ebin), "not ELF"),
    ok = file:write_file(program(Ebin), "#!/bin/sh\nexit 3\n"),
    never_starts(Ebin, "exit status 3").

%% An ELF file of a machine that is none.
a_program_of_another_processor_is_not_loaded(Config) ->
    Ebin = copy(Config, ?FUNCTION_NAME),
    ok = file:write_file(library(Ebin), "not ELF"),
    {ok, <<Before:18/binary, _:16, After/binary>>} = file:read_file(program(Ebin)),
    ok = file:write_file(program(Ebin), <<Before/binary, 16#fefe:16, After/binary>>),
    never_starts(Ebin, "exit status 8").

%% Its loader is not on this machine.
a_program_of_another_libc_is_not_loaded(Config) ->
    Ebin = copy(Config, ?FUNCTION_NAME),
    ok = file:write_file(library(Ebin), "not ELF"),
    {ok, Before} = file:read_file(program(Ebin)),
    case binary:replace(Before, <<"/ld-linux">>, <<"/ld-muslx">>, [global]) of
        Before ->
            skipped:because(?FUNCTION_NAME, "the program is static: it needs no loader");
        After ->
            ok = file:write_file(program(Ebin), After),
            never_starts(Ebin, "exit status 2")
    end.

never_starts(Ebin, Status) ->
    Lines = minute(Ebin, [], {error, not_loaded}),
    [First | _] = [Line || {warning, Line} <- Lines],
    said(First, ["cannot be loaded", "accept_queue_nif.so", "the port program reads instead"]),
    [_] = [Line || {warning, Line} <- Lines, string:find(Line, Status) =/= nomatch],
    [_] = [Line || {error, Line} <- Lines, string:find(Line, "no listener is watched") =/= nomatch].

a_program_that_says_hello_and_ends_is_logged_once_a_minute(Config) ->
    Ebin = copy(Config, ?FUNCTION_NAME),
    Hello = [io_lib:format("\\~3.8.0b", [Byte]) || <<Byte>> <= frame({accept_queue, 3})],
    ok = file:write_file(program(Ebin), ["#!/bin/sh\nprintf '", Hello, "'\nexit 4\n"]),
    Lines = minute(Ebin, ["-accept_queue", "source", "port"], {error, timeout}),
    ?assert(length([Line || {warning, Line} <- Lines, string:find(Line, "exit status 4") =/= nomatch]) =< 2, Lines).

frame(Term) ->
    Bytes = term_to_binary(Term),
    <<(byte_size(Bytes)):32, Bytes/binary>>.

%% What is logged in a minute, by level and text; at the end it runs and says what it lacks.
minute(Ebin, Arguments, Answer) ->
    Vm = start(Ebin, Arguments),
    ok = other_vm:call(Vm, ?MODULE, logs, []),
    {ok, _} = other_vm:call(Vm, application, ensure_all_started, [accept_queue]),
    Supervisor = other_vm:call(Vm, erlang, whereis, [accept_queue_sup]),
    eventually:passes(erlang:monotonic_time(millisecond) + ?MINUTE_MS),
    ?assertEqual(Supervisor, other_vm:call(Vm, erlang, whereis, [accept_queue_sup])),
    ?assertEqual({degraded, [monitor_not_running]}, other_vm:call(Vm, accept_queue, health, [])),
    case Answer of
        {error, timeout} -> ?assertMatch({error, _}, other_vm:call(Vm, accept_queue, kernel, []));
        _ -> ?assertEqual(Answer, other_vm:call(Vm, accept_queue, kernel, []))
    end,
    Lines = other_vm:call(Vm, ?MODULE, logged, []),
    other_vm:stop(Vm),
    ct:pal("~b lines of text in a minute: ~tp", [text_lines(Lines), Lines]),
    ?assert(text_lines(Lines) < ?LINES_MAX, Lines),
    Lines.

text_lines(Lines) ->
    length([Line || {_, Text} <- Lines, Line <- string:split(Text, "\n", all), Line =/= []]).

said(Line, Words) ->
    [?assertNotEqual(nomatch, string:find(Line, Word), {Word, Line}) || Word <- Words].

%% Whoever relies on its evidence will have none. Until it has sent its first frame nothing is written to it, also no heartbeat: the VM would
%% have its exit status no longer.
a_watchdog_whose_program_never_starts_degrades_health(Config) ->
    Ebin = copy(Config, ?FUNCTION_NAME),
    ok = file:write_file(program(Ebin), "#!/bin/sh\nexec <&-\nsleep 1\nexit 3\n"),
    Vm = start(Ebin, ["-accept_queue", "source", "nif"]),
    Watchdog = #{directory => filename:join(proplists:get_value(priv_dir, Config), "evidence"), heartbeat_ms => 100, hang_after_ms => 1000},
    ok = other_vm:call(Vm, ?MODULE, logs, []),
    ok = other_vm:call(Vm, application, set_env, [accept_queue, watchdog, Watchdog]),
    {ok, _} = other_vm:call(Vm, application, ensure_all_started, [accept_queue]),
    eventually:is({degraded, [watchdog_not_running]}, fun() -> other_vm:call(Vm, accept_queue, health, []) end),
    [Line] = [Line || {warning, Line} <- other_vm:call(Vm, ?MODULE, logged, [])],
    said(Line, ["the port program has ended (exit status 3)"]),
    other_vm:stop(Vm).

a_program_that_ends_twice_at_boot_is_used_by_the_monitor(Config) ->
    Ebin = copy(Config, ?FUNCTION_NAME),
    Program = program(Ebin),
    Real = Program ++ ".real",
    ok = file:rename(Program, Real),
    ok = file:write_file(Program, ["#!/bin/sh\nn=$(cat \"$0.n\" 2>/dev/null || echo 0); echo $((n + 1)) >\"$0.n\"\n",
        "[ $n -lt 2 ] && exit 3\nexec ", commands:quoted([Real]), " \"$@\"\n"]),
    ok = file:change_mode(Program, 8#755),
    Vm = start(Ebin, ["-accept_queue", "source", "port"]),
    {ok, _} = other_vm:call(Vm, application, ensure_all_started, [accept_queue]),
    other_vm:call(Vm, ?MODULE, becomes_watched, []),
    other_vm:stop(Vm).

becomes_watched() ->
    put(listener, sockets:listen(5)),
    eventually:is(ok, fun() -> accept_queue:watch(get(listener)) end),
    eventually:is(ok, fun accept_queue:health/0),
    is_watched().

a_library_that_came_back_is_used_after_a_restart(Config) ->
    Ebin = copy(Config, ?FUNCTION_NAME),
    Library = library(Ebin),
    ok = file:rename(Library, Library ++ ".away"),
    Vm = start(Ebin),
    {ok, _} = other_vm:call(Vm, application, ensure_all_started, [accept_queue]),
    ?assertEqual(fallback, other_vm:call(Vm, accept_queue_source, source, [])),
    ok = file:rename(Library ++ ".away", Library),
    ok = other_vm:call(Vm, application, stop, [accept_queue]),
    ok = other_vm:call(Vm, application, start, [accept_queue]),
    ?assertEqual(nif, other_vm:call(Vm, accept_queue_source, source, [])),
    ?assertEqual(undefined, other_vm:call(Vm, accept_queue_nif, load_error, [])),
    other_vm:call(Vm, ?MODULE, becomes_watched, []),
    other_vm:stop(Vm).

a_table_that_is_deleted_is_made_again(_) ->
    in_vm(fun watched_with_handle/0, fun tables_are_deleted/0).

tables_are_deleted() ->
    Supervisor = whereis(accept_queue_sup),
    ok = logs(),
    Tables = [Table || Table <- ets:all(), is_atom(Table), lists:prefix("accept_queue", atom_to_list(Table))],
    ?assert(length(Tables) >= 5, Tables),
    %% The one that the monitor notes in that it runs; then all.
    [
        begin
            [true = ets:delete(Table) || Table <- Deleted],
            eventually:is([], fun() -> [Table || Table <- Deleted, ets:whereis(Table) =:= undefined] end),
            eventually:is(ok, fun() -> accept_queue:watch(get(listener)) end),
            is_watched()
        end
     || Deleted <- [[accept_queue_monitor], Tables]
    ],
    ?assertEqual(Supervisor, whereis(accept_queue_sup)),
    ?assert(length(logged()) < ?LINES_MAX, logged()).

%% The second line of defence, against a fault that was not thought of: here, a row that is none.
a_child_that_fails_at_each_start_is_tried_again(Config) ->
    Ebin = copy(Config, ?FUNCTION_NAME),
    Vm = start(Ebin),
    ok = other_vm:call(Vm, ?MODULE, logs, []),
    other_vm:call(Vm, ?MODULE, watched_with_handle, []),
    [Supervisor | _] = other_vm:call(Vm, ?MODULE, pids, []),
    true = other_vm:call(Vm, ?MODULE, fails_to_start, []),
    eventually:passes(erlang:monotonic_time(millisecond) + ?MINUTE_MS),
    [Supervisor, _, undefined] = other_vm:call(Vm, ?MODULE, pids, []),
    ?assertEqual({degraded, [monitor_not_running]}, other_vm:call(Vm, accept_queue, health, [])),
    %% One event of the log, of which the header is a line of its own.
    Events = other_vm:call(Vm, ?MODULE, logged, []),
    Lines = [Line || {_, Text} <- Events, Line <- string:split(string:trim(Text), "\n", all)],
    ct:comment("~b lines", [length(Lines)]),
    ?assert(length(Lines) < 20, Events),
    [Ours] = [Text || {error, Text} <- Events, string:find(Text, "accept_queue_monitor has ended") =/= nomatch],
    %% What has failed, and where.
    [?assertNotEqual(nomatch, string:find(Ours, Part), Ours) || Part <- ["{accept_queue_monitor,init,1,"]],
    other_vm:stop(Vm).

fails_to_start() ->
    [Size | _] = [tuple_size(Row) || Row <- ets:tab2list(accept_queue_monitor), element(1, Row) =:= row],
    true = ets:insert(accept_queue_monitor, erlang:make_tuple(Size, none, [{1, row}])),
    exit(whereis(accept_queue_monitor), kill).

%% Calls.

calls_without_the_application_say_so(_) ->
    in_vm(fun() -> put(listener, sockets:listen(5)) end, fun not_running/0).

not_running() ->
    L = get(listener),
    _ = application:stop(accept_queue),
    ?assertEqual(
        [{error, not_running}, {error, not_running}, {error, not_running}, {error, not_running}, {error, not_running},
            {error, not_running}, [], {degraded, [monitor_not_running]}],
        [
            accept_queue:watch(L), accept_queue:unwatch(L), accept_queue:subscribe(), accept_queue:unsubscribe(),
            accept_queue_event:dropped_samples(), accept_queue:status(L), accept_queue:watched(), accept_queue:health()
        ]
    ).

calls_to_a_suspended_process_say_so(_) ->
    in_vm(fun watched_with_handle/0, fun suspended/0).

suspended() ->
    L = get(listener),
    ok = sys:suspend(accept_queue_monitor),
    ok = sys:suspend(accept_queue_event),
    ?assertEqual(
        [{error, timeout}, {error, timeout}, {error, timeout}, {error, timeout}, 0],
        [
            accept_queue:watch(L), accept_queue:unwatch(L), accept_queue:subscribe(), accept_queue:unsubscribe(),
            accept_queue_event:dropped_samples()
        ]
    ),
    {ok, _} = accept_queue:status(L),
    [_ | _] = accept_queue:watched(),
    ok = sys:resume(accept_queue_monitor),
    ok = sys:resume(accept_queue_event),
    ?assertEqual({messages, []}, process_info(self(), messages)).

calls_while_everything_is_killed_never_exit(_) ->
    in_vm(fun watched_with_handle/0, fun while_killed/0).

while_killed() ->
    L = get(listener),
    Supervisor = whereis(accept_queue_sup),
    Names = [accept_queue_monitor, accept_queue_event],
    Killer = spawn_link(fun Kill() ->
        _ = [exit(Pid, kill) || Name <- Names, Pid <- [whereis(Name)], Pid =/= undefined],
        receive
            stop -> ok
        after 20 -> Kill()
        end
    end),
    Answers = lists:usort([
        kind(Call())
     || _ <- lists:seq(1, 100),
        Call <- [
            fun() -> accept_queue:watch(L) end, fun() -> accept_queue:unwatch(L) end, fun accept_queue:subscribe/0,
            fun accept_queue:unsubscribe/0, fun() -> accept_queue:status(L) end, fun accept_queue:watched/0,
            fun accept_queue:health/0, fun accept_queue_event:dropped_samples/0
        ]
    ]),
    eventually:ends(Killer, stop),
    ?assertEqual([], Answers -- [ok, list, number, degraded, not_found, not_watched, not_running, timeout]),
    ?assertEqual(Supervisor, whereis(accept_queue_sup)),
    eventually:is(ok, fun() -> accept_queue:watch(L) end),
    is_watched().

kind({error, Reason}) -> Reason;
kind(List) when is_list(List) -> list;
kind(Number) when is_integer(Number) -> number;
kind(Tuple) when is_tuple(Tuple) -> element(1, Tuple);
kind(Other) -> Other.

a_watcher_watches_again_after_a_restart(_) ->
    in_vm(fun watched_with_handle/0, fun watcher_and_restarts/0).

watcher_and_restarts() ->
    ok = application:set_env(accept_queue, watch, none, [{persistent, true}]),
    ok = application:stop(accept_queue),
    ok = application:start(accept_queue),
    Watcher = with_watcher(),
    is_watched(),
    Restarts = [
        fun() -> ok = application:stop(accept_queue), ok = application:start(accept_queue) end,
        fun() ->
            ok = application:stop(accept_queue),
            eventually:passes(erlang:monotonic_time(millisecond) + 2500),
            ok = application:start(accept_queue)
        end,
        fun() ->
            exit(whereis(accept_queue_sup), kill),
            eventually:is(undefined, fun() -> whereis(accept_queue_sup) end),
            eventually:is(ok, fun() -> application:start(accept_queue) end)
        end,
        fun() -> true = ets:delete(accept_queue_monitor) end,
        fun() -> true = ets:delete(accept_queue_event_store) end
    ],
    [
        begin
            Restart(),
            eventually:is(undefined, fun() -> case ets:whereis(accept_queue_monitor) of undefined -> gone; _ -> undefined end end),
            is_watched(),
            %% It learns of what closes.
            closes_and_opens()
        end
     || Restart <- Restarts
    ],
    ?assertEqual(Watcher, with_watcher()).

closes_and_opens() ->
    Address = {_, Port} = sockets:address(get(listener)),
    ok = gen_tcp:close(get(listener)),
    eventually:is(false, fun() -> lists:member(Address, accept_queue:watched()) end),
    put(listener, sockets:listen(5, [{port, Port}])),
    is_watched().

a_watcher_starts_before_the_application_and_while_it_is_slow(_) ->
    in_vm(fun() -> put(listener, sockets:listen(5)) end, fun watcher_first/0).

watcher_first() ->
    ok = application:set_env(accept_queue, watch, none, [{persistent, true}]),
    _ = application:stop(accept_queue),
    First = with_watcher(),
    {ok, Ranch} = accept_queue_ranch_watcher:start_link(#{}),
    {ok, _} = application:ensure_all_started(accept_queue),
    is_watched(),
    ok = sys:suspend(accept_queue_monitor),
    {Us, {ok, Second}} = timer:tc(fun() ->
        accept_queue_watcher:start_link([get(listener) | [{port, Port} || Port <- lists:seq(1, 9)]], #{})
    end),
    ?assert(Us < 1_000_000, Us),
    ok = sys:resume(accept_queue_monitor),
    ?assert(lists:all(fun is_process_alive/1, [First, Ranch, Second])).

%% In the other VM.

in_vm(Prepare, Do) ->
    Vm = other_vm:start(),
    {name, Name} = erlang:fun_info(Do, name),
    {ok, _} = other_vm:call(Vm, application, ensure_all_started, [accept_queue]),
    _ = other_vm:call(Vm, erlang, apply, [Prepare, []]),
    _ = other_vm:call(Vm, ?MODULE, Name, []),
    other_vm:stop(Vm).

watched_with_handle() ->
    {ok, _} = application:ensure_all_started(accept_queue),
    L = sockets:listen(5),
    {ok, Handle} = accept_queue:open(L),
    put(listener, L),
    put(handle, Handle),
    is_watched().

is_watched() ->
    eventually:is(true, fun() -> lists:member(sockets:address(get(listener)), accept_queue:watched()) end),
    eventually:is(ok, fun accept_queue:health/0).

unchanged(Pids) ->
    ?assertEqual(Pids, pids()),
    ?assertMatch({ok, #{limit := 5}}, accept_queue:depth(get(handle))),
    ?assertMatch({ok, #{limit := 5}}, accept_queue:counts(get(listener))),
    is_watched().

pids() ->
    [whereis(Name) || Name <- [accept_queue_sup, accept_queue_event, accept_queue_monitor]].

%% As a child of a supervisor of a user's, which allows it no failure.
with_watcher() ->
    case get(watcher) of
        undefined ->
            Address = sockets:address(get(listener)),
            {ok, Supervisor} = supervisor:start_link(?MODULE, [Address]),
            [{_, Watcher, _, _}] = supervisor:which_children(Supervisor),
            put(watcher, Watcher);
        _ ->
            ok
    end,
    true = is_process_alive(get(watcher)),
    get(watcher).

%% A supervisor.
init([Address]) ->
    Child = #{id => watcher, start => {accept_queue_watcher, start_link, [[Address], #{for_ms => 2000}]}},
    {ok, {#{intensity => 0, period => 1}, [Child]}}.

%% What a default handler shows, as text of its formatter.
logs() ->
    Table = ets:new(lines, [named_table, public, ordered_set]),
    logger:add_handler(?MODULE, ?MODULE, #{level => notice, filter_default => stop, filters => logged:filters(), config => #{to => Table}}).

log(#{level := Level} = Event, #{config := #{to := Table}}) ->
    Text = unicode:characters_to_list(logger_formatter:format(Event, #{single_line => false, legacy_header => true})),
    ets:insert(Table, {erlang:unique_integer([monotonic]), Level, Text}).

logged() ->
    [{Level, Text} || {_, Level, Text} <- ets:tab2list(lines)].

%% A copy of the application to be broken.

start(Ebin) ->
    start(Ebin, []).

start(Ebin, Arguments) ->
    other_vm:start(#{paths => [Ebin, filename:dirname(code:which(?MODULE))], args => Arguments}).

copy(Config, Name) ->
    To = filename:join([proplists:get_value(priv_dir, Config), Name, "accept_queue"]),
    [
        begin
            Copy = filename:join([To, Sub, filename:basename(File)]),
            ok = filelib:ensure_dir(Copy),
            {ok, _} = file:copy(File, Copy),
            ok = file:change_mode(Copy, 8#755)
        end
     || Sub <- ["ebin", "priv"], File <- filelib:wildcard(filename:join(repository:application(Sub), "*"))
    ],
    filename:join(To, "ebin").

library(Ebin) -> filename:join([filename:dirname(Ebin), "priv", "accept_queue_nif.so"]).
program(Ebin) -> filename:join([filename:dirname(Ebin), "priv", "accept-queue"]).
