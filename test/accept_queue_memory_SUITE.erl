%% Nothing stays behind of what is made and dropped, and native code touches no memory but its own.
%%
%% The suite asks for a million handles. `make memcheck' asks for more: a million of each thing a NIF can make, and the NIFs
%% under valgrind, where a call is some fifty times slower.
-module(accept_queue_memory_SUITE).

-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

-define(MILLION, 1000000).
%% The carriers of the allocators come and go by half a megabyte to two. The smallest leak, eight bytes a time, is 8 MB.
-define(RESIDENT_MAX, 4 * 1024 * 1024).
-define(ALLOCATED_MAX, 1024 * 1024).

%% valgrind runs one thread at a time: schedulers that wait busily would only hold each other up.
-define(ONE_OF_EACH_THREAD, ["+S", "1:1", "+SDcpu", "1:1", "+SDio", "1", "+A", "1", "+sbwt", "none"]).
-define(WATCHED, [
    {accept_queue_faults_SUITE, [
        a_listener_that_has_been_closed_is_closed,
        a_handle_works_in_every_process,
        a_handle_sent_as_bytes_works_while_it_lives_and_is_badarg_afterwards,
        every_stub_refuses_what_its_spec_does_not_allow
    ]},
    {accept_queue_counts_SUITE, [
        six_queued_are_three_alive_two_closed_and_one_reset,
        a_handshake_that_is_not_finished_is_syn_recv,
        a_group_that_shares_an_address_is_answered_with_its_sum
    ]},
    {accept_queue_properties_SUITE, [
        any_arguments_of_a_stub_are_answered_or_badarg, any_settings_and_times_make_a_watch_that_works
    ]}
]).

all() ->
    [a_million_handles_leave_nothing_behind].

a_million_handles_leave_nothing_behind(_) ->
    flat(open, ?MILLION).

%% For `make memcheck' alone.

whatever_is_made_and_dropped_leaves_nothing_behind(_) ->
    [flat(What, Times) || {What, Times} <- [
        {open, ?MILLION}, {open_by_socket, ?MILLION}, {join, ?MILLION}, {watch, ?MILLION}, {refusal, ?MILLION},
        {counts, 20000}, {own, 20000}, {kernel, 20000}
    ]].

%% What the VM itself does is not judged: its JIT keeps the stacks of Erlang processes where valgrind takes memory below the
%% stack pointer for gone.
under_valgrind_the_nifs_touch_no_memory_but_their_own(Config) ->
    case os:find_executable("valgrind") of
        false -> {skip, "valgrind is not installed here"};
        _ -> under_valgrind(filename:join(proplists:get_value(priv_dir, Config), "valgrind"))
    end.

under_valgrind(Log) ->
    Vm = other_vm:start(#{under => valgrind(Log), args => ?ONE_OF_EACH_THREAD, boot_ms => 120000}),
    true = other_vm:call(Vm, os, putenv, ["ACCEPT_QUEUE_CASES", "200"]),
    Outcomes = [{Suite, Case, other_vm:call(Vm, ?MODULE, outcome, [Suite, Case])} || {Suite, Cases} <- ?WATCHED, Case <- Cases],
    other_vm:stop(Vm),
    eventually:is(judged, fun() -> summary(Log) end),
    {ok, Text} = file:read_file(Log),
    Errors = re:split(Text, "\n==\\d+== \n", [{return, binary}]),
    io:format(user, "~b cases under valgrind, ~b reports of the VM itself~n", [length(Outcomes), length(Errors)]),
    ?assertEqual([], [Outcome || {_, _, What} = Outcome <- Outcomes, What =/= ok]),
    ?assertEqual([], [Error || Error <- Errors, is_ours(Error)]).

%% --smc-check=all: the JIT writes code into a mapped file, where valgrind does not check for changes. Undefined values
%% are not reported where stacks are not known.
valgrind(Log) ->
    [
        "valgrind", "--smc-check=all", "--undef-value-errors=no", "--leak-check=full", "--show-leak-kinds=definite,indirect",
        "--error-limit=no", "--num-callers=40", "--trace-children=yes", "--trace-children-skip=*/erl_child_setup,*/inet_gethost",
        "--log-file=" ++ Log
    ].

outcome(Suite, Case) ->
    Config = [{priv_dir, "/nonexistent"}],
    try
        HasInit = erlang:function_exported(Suite, init_per_suite, 1),
        _ = Suite:Case(if HasInit -> Suite:init_per_suite(Config); true -> Config end),
        ok
    catch
        Class:Reason:Stack -> {Class, Reason, Stack}
    end.

summary(Log) ->
    {ok, Text} = file:read_file(Log),
    case string:find(Text, "ERROR SUMMARY") of
        nomatch -> still_running;
        _ -> judged
    end.

%% The innermost code that is neither libc's nor valgrind's own is the library's.
is_ours(Error) ->
    Objects = re:run(Error, "^==\\d+==    (?:at|by) .*\\(in (.*)\\)$", [multiline, global, {capture, all_but_first, list}]),
    case Objects of
        {match, Frames} ->
            Others = [File || [File] <- Frames, string:find(File, "vgpreload") =:= nomatch, string:find(File, "/libc.so") =:= nomatch],
            Others =/= [] andalso string:find(hd(Others), "accept_queue_nif") =/= nomatch;
        nomatch ->
            false
    end.

%% In a VM of its own, whose memory no other test changes. The first tenth fills what is kept for reuse.
flat(What, Times) ->
    Vm = other_vm:start(),
    {Before, After} = other_vm:call(Vm, ?MODULE, around, [What, Times]),
    other_vm:stop(Vm),
    Grown = maps:map(fun(Key, Figure) -> Figure - maps:get(Key, Before) end, After),
    Format = "~b times ~p: resident ~b to ~b KiB (~.2f bytes each), allocated ~b to ~b KiB, descriptors ~b to ~b~n",
    [#{resident := Resident, allocated := Allocated, descriptors := Descriptors}, Then] = [Before, After],
    io:format(user, Format, [
        Times, What, Resident div 1024, maps:get(resident, Then) div 1024, maps:get(resident, Grown) / Times,
        Allocated div 1024, maps:get(allocated, Then) div 1024, Descriptors, maps:get(descriptors, Then)
    ]),
    ?assertMatch(#{descriptors := 0}, Grown),
    ?assert(maps:get(resident, Grown) =< ?RESIDENT_MAX, {What, Grown}),
    ?assert(maps:get(allocated, Grown) =< ?ALLOCATED_MAX, {What, Grown}).

around(What, Times) ->
    L = sockets:listen(5),
    {ok, Fd} = inet:getfd(L),
    {ok, Handle} = accept_queue_nif:open(Fd),
    Make = maker(What, L, Fd, Handle, accept_queue_nif:default_settings()),
    ok = times(Times div 10, Make),
    Before = usage(),
    ok = times(Times, Make),
    {Before, usage()}.

maker(open, _L, Fd, _Handle, _) -> fun() -> {ok, _} = accept_queue_nif:open(Fd) end;
maker(open_by_socket, L, _Fd, _Handle, _) -> fun() -> {ok, _} = accept_queue:open(L) end;
maker(join, _L, _Fd, Handle, _) -> fun() -> accept_queue_nif:join([Handle, Handle]) end;
maker(watch, _L, _Fd, Handle, Settings) ->
    fun() -> #{depth := {0, 5, 0}} = accept_queue_nif:status(accept_queue_nif:watch(1, Handle, Settings)) end;
maker(refusal, _L, _Fd, Handle, _) ->
    fun() ->
        {error, closed} = accept_queue_nif:open(-1),
        ?assertError(badarg, accept_queue_nif:watch(1, Handle, #{}))
    end;
maker(counts, _L, _Fd, Handle, _) -> fun() -> {ok, _} = accept_queue_nif:counts(Handle) end;
maker(own, _L, _Fd, _Handle, _) -> fun() -> {ok, _} = accept_queue_nif:own() end;
maker(kernel, _L, _Fd, _Handle, _) -> fun() -> {ok, _} = accept_queue_nif:kernel() end.

times(0, _Make) -> ok;
times(Times, Make) ->
    _ = Make(),
    times(Times - 1, Make).

usage() ->
    #{
        allocated => vm_usage:allocated_bytes(),
        resident => vm_usage:resident_bytes(),
        descriptors => length(vm_usage:descriptors())
    }.
