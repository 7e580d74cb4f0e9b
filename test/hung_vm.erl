%% A VM in an operating system process of its own that is made to hang in one way, or to be well; for looking at it from
%% outside. It has a listener, and a process that accepts on it unless the way says otherwise.
%%
%% It is not talked to: one that hangs does not answer. It says on its standard output that it is ready.
-module(hung_vm).

-export([start/1, start/2, stop/1, with_stopped/3]).
-export([main/1]).
-export([serve/1, waiting/1, work/0, tick/1]).

-include_lib("stdlib/include/assert.hrl").

-define(READY_MS, 60000).
%% PTRACE_SEIZE and PTRACE_INTERRUPT, which sends no signal (include/uapi/linux/ptrace.h), and a wait for all of them
%% (__WALL): a thread may be fetching an event meanwhile.
-define(DEBUGGER,
    "my $ptrace = int shift; $| = 1;"
    "for my $thread (@ARGV) { for my $request (0x4206, 0x4207) {"
    "    syscall($ptrace, $request, int $thread, 0, 0) == 0 or die \"thread $thread: $!\" } }"
    "for my $thread (@ARGV) { waitpid($thread, 0x40000000) == $thread or die \"wait for $thread: $!\" }"
    "print \"stopped\\n\"; sleep 60"
).
%% Longer than any reading of it takes.
-define(HANG_MS, 20000).

start(Way) ->
    start(Way, #{}).

%% `under': a command that starts it, given as its last arguments; `args': of `erl'. It hangs when this returns.
start(Way, Options) ->
    Erl = filename:join([code:root_dir(), "bin", "erl"]),
    [Program | Arguments] = maps:get(under, Options, []) ++ [Erl],
    Args = maps:get(args, Options, []) ++ ["-noshell", "-pa" | other_vm:code_path()],
    Main = ["-s", ?MODULE_STRING, "main", atom_to_list(Way)],
    Port = open_port({spawn_executable, os:find_executable(Program)}, [
        {args, Arguments ++ Args ++ Main}, {line, 1000}, exit_status, use_stdio, binary
    ]),
    {os_pid, OsPid} = erlang:port_info(Port, os_pid),
    Vm = #{os_pid => OsPid, port => Port},
    ready(Way, Vm).

ready(Way, #{port := Port} = Vm) ->
    receive
        {Port, {data, {eol, <<"{listens_on,", Rest/binary>>}}} ->
            {Number, _} = string:to_integer(Rest),
            Address = {{127, 0, 0, 1}, Number},
            ready(Way, Vm#{address => Address, peers => peers(Way, Address)});
        {Port, {data, {eol, <<"ready", _/binary>>}}} ->
            Vm;
        {Port, {data, {eol, _}}} ->
            ready(Way, Vm);
        {Port, {exit_status, Status}} ->
            erlang:error({ended, Way, Status})
    after ?READY_MS -> erlang:error({not_ready, Way, Vm})
    end.

%% The processes that it needs to get into its state.
peers(linger, Address) -> [sockets:client(Address)];
peers(Way, Address) when Way =:= busy; Way =:= exited; Way =:= busy_socket -> sockets:clients(3, Address);
peers(_, _) -> [].

%% It was started here, so it may be killed.
stop(#{os_pid := OsPid, port := Port}) ->
    "" = os:cmd("kill -CONT " ++ integer_to_list(OsPid) ++ "; kill -KILL " ++ integer_to_list(OsPid)),
    receive
        {Port, {exit_status, _}} -> ok
    after ?READY_MS -> erlang:error({does_not_end, OsPid})
    end.

%% Some of its threads, those so named, are stopped as if a debugger had forgotten them. `ptrace' is asked by a process of its
%% own, with whose end they go on.
with_stopped(Name, #{os_pid := OsPid}, Test) ->
    Threads = [filename:basename(Dir) || Dir <- filelib:wildcard(io_lib:format("/proc/~b/task/*", [OsPid])), is_named(Name, Dir)],
    ?assertNotEqual([], Threads),
    Debugger = open_port({spawn_executable, os:find_executable("perl")}, [
        {args, ["-e", ?DEBUGGER, integer_to_list(ptrace()) | Threads]}, {line, 1000}, exit_status, stderr_to_stdout
    ]),
    {os_pid, DebuggerPid} = erlang:port_info(Debugger, os_pid),
    try
        receive
            {Debugger, {data, {eol, "stopped"}}} -> Test();
            {Debugger, Other} -> erlang:error({cannot_stop, Name, Other})
        after ?READY_MS -> erlang:error({cannot_stop, Name})
        end
    after
        "" = os:cmd("kill -KILL " ++ integer_to_list(DebuggerPid))
    end.

is_named(Name, Dir) ->
    {ok, Comm} = file:read_file(Dir ++ "/comm"),
    re:run(Comm, Name, [{capture, none}]) =:= match.

%% The number of the call; include/uapi/asm-generic/unistd.h, arch/x86/entry/syscalls/syscall_64.tbl.
ptrace() ->
    case string:prefix(erlang:system_info(system_architecture), "x86_64") of
        nomatch -> 117;
        _ -> 101
    end.

%% In the other VM.

main([Way]) ->
    _ = [{module, _} = code:ensure_loaded(Module) || Module <- [hanging_nif, gen_tcp, socket, inet, prim_file, lists, timer, eventually]],
    Listener = listen(Way),
    {ok, {_, Number}} = sockname(Listener),
    Occupied = occupied(Way, Listener),
    true = erlang:display({listens_on, Number}),
    [receive Pid -> ok end || Pid <- Occupied],
    hang(Way, Listener),
    timer:sleep(infinity).

listen(Way) when Way =:= socket; Way =:= busy_socket ->
    {ok, Listener} = socket:open(inet, stream, tcp),
    ok = socket:bind(Listener, #{family => inet, addr => {127, 0, 0, 1}, port => 0}),
    ok = socket:listen(Listener, 30),
    Listener;
listen(dead_member) ->
    listen_shared(0);
listen(Way) ->
    Backlog =
        case Way of
            clipped -> 65535;
            _ -> 30
        end,
    {ok, Listener} = gen_tcp:listen(0, [binary, {ip, {127, 0, 0, 1}}, {active, false}, {backlog, Backlog}]),
    Listener.

%% A member of a group (SO_REUSEPORT).
listen_shared(Number) ->
    Shared = [{raw, 1, 15, <<1:32/native>>}],
    {ok, Listener} = gen_tcp:listen(Number, Shared ++ [binary, {ip, {127, 0, 0, 1}}, {active, false}, {backlog, 30}]),
    Listener.

sockname({'$socket', _} = Listener) ->
    {ok, #{addr := Ip, port := Port}} = socket:sockname(Listener),
    {ok, {Ip, Port}};
sockname(Listener) ->
    inet:sockname(Listener).

accept({'$socket', _} = Listener) -> socket:accept(Listener);
accept(Listener) -> gen_tcp:accept(Listener).

%% A pool whose processes take one client each and no more: those that have one.
occupied(Way, Listener) when Way =:= busy; Way =:= busy_socket ->
    each_accepts(Listener, fun() -> timer:sleep(infinity) end);
occupied(exited, Listener) ->
    each_accepts(Listener, fun() -> ok end);
occupied(_, _) ->
    [].

hang(Way, _) when Way =:= never; Way =:= busy; Way =:= busy_socket; Way =:= exited ->
    ready();
%% The first has no process in accept, the others have: clients that come to these are served.
hang(dead_member, Listener) ->
    {ok, {_, Number}} = sockname(Listener),
    _ = [pool(listen_shared(Number)) || _ <- [1, 2, 3]],
    ready();
hang(linger, Listener) ->
    {ok, Accepted} = gen_tcp:accept(Listener),
    %% All of it leaves the driver, and more than the peer takes without reading stays in the kernel.
    ok = inet:setopts(Accepted, [{linger, {true, 8}}, {sndbuf, 1 bsl 20}]),
    ok = gen_tcp:send(Accepted, binary:copy(<<0>>, 300000)),
    {ok, [{send_pend, 0}]} = inet:getstat(Accepted, [send_pend]),
    _ = pool(Listener),
    ready(),
    gen_tcp:close(Accepted);
hang(descriptors, Listener) ->
    _ = pool(Listener),
    Open = fun Open(Opened) ->
        case file:open("/dev/null", [raw, read]) of
            {ok, File} -> Open([File | Opened]);
            {error, emfile} -> Opened
        end
    end,
    Opened = Open([]),
    ready(),
    timer:sleep(infinity),
    length(Opened);
hang(crowd, Listener) ->
    _ = pool(Listener),
    _ = [spawn(fun() -> tick(N) end) || N <- lists:seq(1, 5000)],
    ready();
hang(slow, Listener) ->
    _ = spawn(fun Serve() ->
        {ok, _} = accept(Listener),
        timer:sleep(300),
        Serve()
    end),
    ready();
hang(leak, Listener) ->
    _ = [spawn(fun() -> keep(Listener) end) || _ <- lists:seq(1, 3)],
    ready();
hang(dirty_io, Listener) ->
    _ = pool(Listener),
    All = erlang:system_info(dirty_io_schedulers),
    _ = [spawn(fun() -> hanging_nif:sleep_dirty(?HANG_MS) end) || _ <- lists:seq(1, All)],
    ready();
hang(Way, Listener) ->
    _ = pool(Listener),
    ready(),
    case Way of
        sleep -> hanging_nif:sleep(?HANG_MS);
        lock -> hanging_nif:lock(?HANG_MS);
        spin -> hanging_nif:spin(?HANG_MS);
        load -> work();
        _ -> ok
    end.

%% The last word of one that is about to hang has to get out first: the VM writes this itself, a character at a time, so that
%% nothing else may be written beside it.
ready() ->
    true = erlang:display(ready).

%% All of it is in accept when this returns.
pool(Listener) ->
    Pool = [spawn(fun() -> serve(Listener) end) || _ <- lists:seq(1, 3)],
    eventually:is(length(Pool), fun() -> waiting(Listener) end),
    Pool.

waiting({'$socket', _} = Listener) ->
    maps:get(num_acceptors, socket:info(Listener));
waiting(Listener) ->
    {monitors, Waiting} = erlang:port_info(Listener, monitors),
    length(Waiting).

serve(Listener) ->
    case accept(Listener) of
        {ok, Accepted} -> close(Accepted);
        {error, _} -> timer:sleep(50)
    end,
    serve(Listener).

%% Neither reads nor closes.
keep(Listener) ->
    {ok, _} = accept(Listener),
    keep(Listener).

close({'$socket', _} = Accepted) -> socket:close(Accepted);
close(Accepted) -> gen_tcp:close(Accepted).

each_accepts(Listener, Then) ->
    Self = self(),
    Pids = [
        spawn(fun() ->
            {ok, _} = accept(Listener),
            Self ! self(),
            Then()
        end)
     || _ <- lists:seq(1, 3)
    ],
    eventually:is(length(Pids), fun() -> waiting(Listener) end),
    Pids.

tick(N) ->
    timer:sleep(1 + N rem 100),
    tick(N).

%% Erlang code that keeps all schedulers busy.
work() ->
    [spawn(fun() -> compute(0) end) || _ <- lists:seq(1, 2 * erlang:system_info(schedulers))].

compute(N) ->
    compute(erlang:phash2({N, crypto})).
