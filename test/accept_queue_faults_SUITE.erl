%% Bad input and things that break: a defined error or `badarg', never a figure, and the VM goes on.
-module(accept_queue_faults_SUITE).

-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

%% include/uapi/asm-generic/socket.h; gen_tcp has no name for it.
-define(SO_REUSEPORT, {raw, 1, 15, <<1:32/native>>}).
-define(READINGS, [fun accept_queue:open/1, fun accept_queue:depth/1, fun accept_queue:counts/1]).

all() ->
    [
        a_listener_that_has_been_closed_is_closed,
        a_socket_that_does_not_listen_is_not_listening,
        an_sctp_socket_is_not_listening,
        a_descriptor_number_that_another_socket_or_file_has_now_is_closed,
        a_term_that_is_no_listener_is_badarg,
        a_handle_works_in_every_process,
        a_handle_sent_as_bytes_works_while_it_lives_and_is_badarg_afterwards,
        a_handle_of_another_vm_is_badarg,
        every_stub_refuses_what_its_spec_does_not_allow,
        a_panic_stays_in_its_call,
        without_sock_diag_counts_are_unsupported_and_the_depth_is_read,
        without_the_native_library_the_depth_is_read_and_the_rest_says_so,
        a_native_library_that_is_no_library_is_the_same_as_none,
        library_and_program_are_found_whatever_other_folder_is_called_accept_queue,
        every_row_of_the_table_of_faults_has_its_test
    ].

a_listener_that_has_been_closed_is_closed(_) ->
    L = sockets:listen(5),
    {ok, Handle} = accept_queue:open(L),
    gen_tcp:close(L),
    [?assertEqual({error, closed}, Read(Closed)) || Read <- ?READINGS, Closed <- [L, Handle]].

a_socket_that_does_not_listen_is_not_listening(_) ->
    L = sockets:listen(5),
    {Ip, Port} = sockets:address(L),
    {ok, Client} = gen_tcp:connect(Ip, Port, []),
    {ok, Accepted} = gen_tcp:accept(L, 60000),
    {ok, Udp} = gen_udp:open(0),
    [?assertEqual({error, not_listening}, Read(Socket)) || Read <- ?READINGS, Socket <- [Client, Accepted, Udp]].

an_sctp_socket_is_not_listening(_) ->
    try gen_sctp:open() of
        {ok, Sctp} ->
            ok = gen_sctp:listen(Sctp, true),
            [?assertEqual({error, not_listening}, Read(Sctp)) || Read <- ?READINGS];
        {error, Reason} ->
            {skip, {"no SCTP in this kernel", Reason}}
    catch
        _:Reason -> {skip, {"no SCTP in this VM", Reason}}
    end.

%% The nearest to a wrong figure that there is: what has the number now is a listener, even on the same port.
a_descriptor_number_that_another_socket_or_file_has_now_is_closed(Config) ->
    File = filename:join(proplists:get_value(priv_dir, Config), "file"),
    Others = [
        fun(_) -> sockets:listen(5) end,
        fun(Port) -> sockets:listen(5, [{port, Port}, ?SO_REUSEPORT]) end,
        fun(_) -> {ok, Udp} = gen_udp:open(0), Udp end,
        fun(_) -> {ok, Opened} = file:open(File, [raw, write]), Opened end
    ],
    [takes_the_number(Other) || Other <- Others].

takes_the_number(Other) ->
    L = sockets:listen(5, [?SO_REUSEPORT]),
    {_, Port} = sockets:address(L),
    {ok, Handle} = accept_queue:open(L),
    {ok, Fd} = inet:getfd(L),
    gen_tcp:close(L),
    eventually:is(undefined, fun() -> sockets:descriptor_target(Fd) end),
    %% The kernel gives out the lowest number that is free.
    Holding = hold(Fd, fun() -> Other(Port) end, 100),
    [?assertEqual({error, closed}, Read(Handle)) || Read <- ?READINGS],
    ?assertNotEqual(undefined, sockets:descriptor_target(Fd), "held throughout"),
    [close(Held) || Held <- Holding].

hold(Fd, Open, Tries) when Tries > 0 ->
    Opened = Open(),
    case sockets:descriptor_target(Fd) of
        undefined -> [Opened | hold(Fd, Open, Tries - 1)];
        _ -> [Opened]
    end.

close(Port) when is_port(Port) -> inet:close(Port);
close(File) -> ok = file:close(File).

a_term_that_is_no_listener_is_badarg(_) ->
    NoInet = open_port({spawn, "cat"}, []),
    Others = [
        0, -1, 8080, undefined, <<"listener">>, "0.0.0.0:80", self(), make_ref(), #{}, {}, {port, 0}, {port, 65536}, NoInet
    ],
    [?assertError(badarg, Read(Other)) || Read <- ?READINGS, Other <- Others],
    port_close(NoInet),
    %% What kind of port it was is forgotten.
    [?assertEqual({error, closed}, Read(NoInet)) || Read <- ?READINGS].

a_handle_works_in_every_process(_) ->
    L = sockets:listen(5),
    _ = sockets:clients(2, sockets:address(L)),
    {ok, Handle} = accept_queue:open(L),
    eventually:is({ok, #{queued => 2, limit => 5, drops => 0}}, fun() -> accept_queue:depth(Handle) end),
    Test = self(),
    _ = spawn_link(fun() -> Test ! {accept_queue:depth(Handle), accept_queue:counts(Handle)} end),
    receive
        {Depth, Counts} ->
            ?assertEqual({ok, #{queued => 2, limit => 5, drops => 0}}, Depth),
            ?assertMatch({ok, #{queued := 2, queued_alive := 2}}, Counts)
    end.

a_handle_sent_as_bytes_works_while_it_lives_and_is_badarg_afterwards(_) ->
    L = sockets:listen(5),
    Test = self(),
    Holder = spawn_link(fun() ->
        {ok, Handle} = accept_queue:open(L),
        Test ! term_to_binary(Handle),
        receive
            finish -> Handle
        end
    end),
    Bytes =
        receive
            Binary -> Binary
        end,
    ?assertMatch({ok, #{limit := 5}}, accept_queue:depth(binary_to_term(Bytes))),
    Holder ! finish,
    eventually:is(badarg, fun() ->
        erlang:garbage_collect(),
        answer(fun() -> accept_queue:depth(binary_to_term(Bytes)) end)
    end),
    [?assertError(badarg, Read(binary_to_term(Bytes))) || Read <- ?READINGS].

a_handle_of_another_vm_is_badarg(_) ->
    Vm = other_vm:start(),
    undefined = other_vm:call(Vm, ?MODULE, open_there, []),
    Handle = other_vm:call(Vm, erlang, get, [handle]),
    ?assert(is_reference(Handle)),
    [?assertError(badarg, Read(Handle)) || Read <- ?READINGS],
    other_vm:stop(Vm).

open_there() ->
    {ok, Handle} = accept_queue:open(sockets:listen(5)),
    put(handle, Handle).

%% Dialyzer does not check what is behind a stub, so each is called here with right and with wrong arguments.
every_stub_refuses_what_its_spec_does_not_allow(_) ->
    L = sockets:listen(5),
    {ok, Address} = inet:sockname(L),
    {ok, Fd} = inet:getfd(L),
    {ok, Handle} = accept_queue_nif:open(Fd),
    {ok, Listening} = accept_queue_nif:listening(),
    [#{cookie := Cookie}] = [Row || #{address := Where} = Row <- Listening, Where =:= Address],
    ?assertMatch({ok, #{somaxconn := _, listen_drops := _}}, accept_queue_nif:kernel()),
    ?assertEqual(undefined, accept_queue_nif:load_error()),
    NoFd = 1 bsl 20,
    StandardInput = 0,
    BadIntegers = [{[Bad], badarg} || Bad <- [fd, 1.0, <<>>, 1 bsl 31, 1 bsl 80]],
    NoHandle = [Fd, make_ref(), undefined],
    BadHandles = [{[Bad], badarg} || Bad <- NoHandle],
    Standing = #{
        queued => 6,
        limit => 5,
        queued_closed => 0,
        queued_reset => 0,
        oldest_wait_ms => 5000,
        close_wait => 0,
        waiting_acceptors => 0
    },
    Settings = accept_queue_nif:default_settings(),
    Watch = accept_queue_nif:watch(1, Handle, Settings),
    ?assertMatch(#{conditions := [], depth := {0, 5, 0}, counts := undefined}, accept_queue_nif:status(Watch)),
    {ok, Poller} = accept_queue_nif:poller_start(self()),
    {ok, Reader} = accept_queue_nif:reader_start(),
    {ok, Own} = accept_queue_nif:own(),
    ?assertMatch([_], [Row || #{cookie := Which} = Row <- Own, Which =:= Cookie]),
    Stubs = #{
        {open, 1} => [
            {[-1], {error, closed}},
            {[NoFd], {error, closed}},
            {[StandardInput], {error, not_listening}}
            | [{[Handle], badarg} | BadIntegers]
        ],
        {depth, 1} => [{[Handle], {ok, {0, 5, 0}}} | BadHandles],
        {depth_at, 1} => [
            {[Fd], {ok, {0, 5, 0}}},
            {[-1], {error, closed}},
            {[NoFd], {error, closed}},
            {[StandardInput], {error, not_listening}}
            | [{[Handle], badarg} | BadIntegers]
        ],
        {depth_from_dump, 1} => [{[Handle], {ok, {0, 5, 0}}} | BadHandles],
        {counts, 1} => [{[Handle], accept_queue:counts(L)} | BadHandles],
        {cookies, 1} => [{[Handle], [Cookie]} | BadHandles],
        {is_open, 1} => [{[Handle], true} | BadHandles],
        {has_first_tier, 1} => [{[Handle], true} | BadHandles],
        {held, 1} => [{[Handle], {ok, []}} | BadHandles],
        {join, 1} => [{[[Bad]], badarg} || Bad <- NoHandle] ++ BadHandles,
        {resize, 2} => [
            {[Handle, 5], {ok, 5}},
            {[Handle, 1 bsl 31], {error, {errno, einval}}}
            | [{[Handle, Bad], badarg} || Bad <- [-1, five, 1 bsl 32]] ++ [{[Bad, 5], badarg} || Bad <- NoHandle]
        ],
        {waited, 1} => [{[NoFd], {error, closed}}, {[StandardInput], {error, {errno, enotsock}}} | BadIntegers],
        {peer_closed, 1} => [{[NoFd], {error, closed}}, {[StandardInput], {error, {errno, enotsock}}} | BadIntegers],
        {accepted, 1} => [{[NoFd], {error, closed}}, {[StandardInput], {error, {errno, enotsock}}} | BadIntegers],
        {add_wait, 2} => [{[Handle, 3], true}, {[Handle, -1], badarg}, {[Handle, three], badarg}] ++ [{[Bad, 3], badarg} || Bad <- NoHandle],
        {waits, 1} => BadHandles ++ [{[Watch], badarg}],
        {watch_waits, 1} => BadHandles ++ [{[Handle], badarg}],
        {allow_ptrace, 1} => BadIntegers,
        {inode, 1} => [{[NoFd], {error, {errno, ebadf}}}, {[StandardInput], {error, {errno, enotsock}}} | BadIntegers],
        {verdict, 1} => [{[Standing], [full, nobody_accepts]} | [{[Bad], badarg} || Bad <- [#{}, [], full]]],
        {default_settings, 0} => [{[], Settings}],
        {reopen_ms, 0} => [{[], 2000}],
        {watch, 3} => [{[1, Bad, Settings], badarg} || Bad <- NoHandle] ++ [{[1, Handle, #{}], badarg}, {[-1, Handle, Settings], badarg}],
        {watch_sockets, 2} => [{[Watch, Handle], ok}, {[Handle, Handle], badarg}, {[Watch, Watch], badarg}],
        {status, 1} => BadHandles ++ [{[Handle], badarg}],
        {poller_start, 1} => [{[Bad], badarg} || Bad <- [monitor, Handle, 1]],
        {poller_report_to, 2} => [{[Poller, self()], ok}, {[Watch, self()], badarg}, {[Poller, monitor], badarg}],
        {poller_watch, 3} => [
            {[Poller, [Watch], false], ok},
            {[Poller, [Handle], false], badarg},
            {[Poller, Watch, false], badarg},
            {[Poller, [], all], badarg},
            {[Watch, [], false], badarg}
        ],
        {poller_is_running, 1} => [{[Poller], true}, {[Watch], badarg}],
        {poller_silence_ms, 1} => [{[Watch], badarg}],
        {poller_samples_taken, 1} => [{[Poller], 0}, {[Watch], badarg}],
        {reader_request, 5} => [
            {[Reader, self(), 1, 5000, {kernel, []}], ok},
            {[Watch, self(), 1, 5000, {kernel, []}], badarg},
            {[Reader, self(), 1, 5000, {counts, [make_ref()]}], badarg},
            {[Reader, self(), 1, 5000, nonsense], badarg}
        ],
        {advise, 1} => [{[#{}], []} | [{[Bad], badarg} || Bad <- [[], #{limit => five}]]]
    },
    ?assertEqual(
        lists:sort(
            [{reader_start, 0}, {listening, 0}, {own, 0}, {kernel, 0}, {load, 0}, {load_error, 0}, {priv_dir, 0}]
            ++ [{module_info, 0}, {module_info, 1} | maps:keys(Stubs)]
        ),
        lists:sort(accept_queue_nif:module_info(exports)),
        "every stub has its call in this test"
    ),
    [
        ?assertEqual(Expected, answer(fun() -> apply(accept_queue_nif, Name, Arguments) end), {Name, Arguments})
     || {{Name, _}, Calls} <- maps:to_list(Stubs), {Arguments, Expected} <- Calls
    ].

a_panic_stays_in_its_call(_) ->
    %% Rust says each panic on the standard error.
    Vm = other_vm:start(#{under => other_vm:in_silence()}),
    [
        begin
            %% What leaks does so each time; what a scheduler or an allocator takes for itself does not.
            Rounds = [other_vm:call(Vm, ?MODULE, panics, [Nif, 1000]) || _ <- lists:seq(1, 5)],
            ?assertEqual([[nif_panicked]], lists:usort([Raised || {Raised, _} <- Rounds])),
            ?assert(lists:min([Bytes || {_, Bytes} <- Rounds]) < 1000 * 1024, {Nif, Rounds})
        end
     || Nif <- [normal, dirty]
    ],
    ?assertMatch({ok, #{somaxconn := _}}, other_vm:call(Vm, accept_queue, kernel, [])),
    other_vm:stop(Vm).

panics(Nif, Times) ->
    Raise = fun(_) -> answer(fun panicking_nif:Nif/0) end,
    _ = lists:map(Raise, lists:seq(1, 100)),
    Before = vm_usage:resident_bytes(),
    Raised = lists:usort(lists:map(Raise, lists:seq(1, Times))),
    {Raised, vm_usage:resident_bytes() - Before}.

without_sock_diag_counts_are_unsupported_and_the_depth_is_read(_) ->
    Vm = other_vm:start(#{under => [repository:target("debug/examples/without_sock_diag")]}),
    ?assertMatch(
        #{
            load_error := undefined,
            depth := {ok, #{queued := 2, limit := 5, drops := 0}},
            depth_of_client := {error, not_listening},
            open := {ok, _},
            counts := {error, unsupported},
            list := {ok, [#{queued := 2, limit := 5, drops := 0}]},
            kernel := {ok, #{somaxconn := _}}
        },
        other_vm:call(Vm, ?MODULE, everything, [])
    ),
    other_vm:stop(Vm).

without_the_native_library_the_depth_is_read_and_the_rest_says_so(Config) ->
    Ebin = copy_of_the_application(Config, "none"),
    #{load_error := {load_failed, Why}} = without_library(Ebin),
    ?assertNotEqual(nomatch, string:find(Why, "accept_queue_nif.so")).

a_native_library_that_is_no_library_is_the_same_as_none(Config) ->
    Ebin = copy_of_the_application(Config, "broken"),
    Library = filename:join([filename:dirname(Ebin), "priv", "accept_queue_nif.so"]),
    ok = filelib:ensure_dir(Library),
    ok = file:write_file(Library, "not ELF"),
    #{load_error := {load_failed, Why}} = without_library(Ebin),
    ?assertNotEqual(nomatch, string:find(Why, "accept_queue_nif.so")).

%% rebar3 has the folder it runs in in its code path: the project of a user, or a clone, whatever it is called.
library_and_program_are_found_whatever_other_folder_is_called_accept_queue(Config) ->
    Other = filename:join([proplists:get_value(priv_dir, Config), "other", "accept_queue"]),
    ok = filelib:ensure_path(filename:join(Other, "priv")),
    [
        begin
            Vm = other_vm:start(#{paths => Paths}),
            ?assertMatch(#{load_error := undefined, counts := {ok, #{queued := 2}}}, other_vm:call(Vm, ?MODULE, everything, [])),
            ?assertNotEqual(undefined, other_vm:call(Vm, accept_queue_port, program, [])),
            other_vm:stop(Vm)
        end
     || Paths <- [[Other | other_vm:code_path()], other_vm:code_path() ++ [Other]]
    ].

without_library(Ebin) ->
    Vm = other_vm:start(#{paths => [Ebin, filename:dirname(code:which(?MODULE))]}),
    Answers = other_vm:call(Vm, ?MODULE, everything, []),
    other_vm:stop(Vm),
    ?assertMatch(
        #{
            depth := {ok, #{queued := 2, limit := 5, drops := 0}},
            depth_of_client := {error, not_listening},
            depth_of_closed := {error, closed},
            depth_of_term := badarg,
            open := {error, not_loaded},
            counts := {error, not_loaded},
            list := {error, not_loaded},
            kernel := {error, not_loaded}
        },
        Answers
    ),
    Answers.

copy_of_the_application(Config, Name) ->
    Ebin = filename:join([proplists:get_value(priv_dir, Config), Name, "accept_queue", "ebin"]),
    Source = repository:application("ebin"),
    {ok, Files} = file:list_dir(Source),
    [
        begin
            Copy = filename:join(Ebin, File),
            ok = filelib:ensure_dir(Copy),
            {ok, _} = file:copy(filename:join(Source, File), Copy)
        end
     || File <- Files
    ],
    Ebin.

%% docs/proof/faults.md.
every_row_of_the_table_of_faults_has_its_test(_) ->
    Read = fun(Path) -> {ok, Text} = file:read_file(repository:path(filename:join(Path))), Text end,
    %% Behind it are figures.
    [Faults, _] = binary:split(Read(["docs", "proof", "faults.md"]), <<"\n## Under load">>),
    Rows = [Row || <<"| ", Row/binary>> <- binary:split(Faults, <<"\n">>, [global]), not lists:prefix("what |", binary_to_list(Row))],
    ?assert(length(Rows) > 20),
    [
        begin
            {match, [Where, Test]} = re:run(Row, "`([a-z_/]+\\.rs|[a-zA-Z_]+_SUITE):([a-z_0-9]+)`", [{capture, all_but_first, binary}]),
            {Path, Definition} =
                case filename:extension(Where) of
                    <<".rs">> -> {[Where], ["fn ", Test, "()"]};
                    <<>> -> {["test", [Where, ".erl"]], [Test, "("]}
                end,
            ?assertNotEqual(nomatch, string:find(Read([unicode:characters_to_list(Part) || Part <- Path]), iolist_to_binary(Definition)), Row)
        end
     || Row <- Rows
    ].

%% In the other VM: what each function says there of a listener with two clients, and of what is none.
everything() ->
    {ok, _} = application:ensure_all_started(accept_queue),
    L = sockets:listen(5),
    {Ip, Port} = Address = sockets:address(L),
    _ = sockets:client(Address),
    {ok, Client} = gen_tcp:connect(Ip, Port, []),
    Closed = sockets:listen(5),
    gen_tcp:close(Closed),
    eventually:is(2, fun() ->
        {ok, #{queued := Queued}} = accept_queue:depth(L),
        Queued
    end),
    #{
        load_error => accept_queue_nif:load_error(),
        depth => accept_queue:depth(L),
        depth_of_client => accept_queue:depth(Client),
        depth_of_closed => accept_queue:depth(Closed),
        depth_of_term => answer(fun() -> accept_queue:depth(8080) end),
        open => accept_queue:open(L),
        counts => accept_queue:counts(L),
        list => accept_queue:list(),
        kernel => accept_queue:kernel()
    }.

%% What a call returns or raises.
answer(Call) ->
    try
        Call()
    catch
        error:Reason -> Reason
    end.
