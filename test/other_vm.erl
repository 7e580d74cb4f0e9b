%% A second VM in an operating system process of its own, with other rights, another network or another code path than
%% this one. It is talked to over its standard input and output, so neither VM needs distribution or a network.
%%
%% All calls run in one process there, so that a call finds what an earlier one has opened, or put into the process
%% dictionary.
-module(other_vm).

-export([start/0, start/1, call/4, stop/1, with_own_network/1, with_own_network/2]).
-export([work/0, ask/3]).
-export([with_open_files/1, with_listener/0, in_own_network/0, in_silence/0, code_path/0, code_path_without/1]).

-define(CALL_MS, 300000).

start() ->
    start(#{}).

%% `under': a command that starts the VM, given as its last arguments; `paths': where it finds its code; `node': the name by
%% which others like it can reach it over distribution, on loopback, `args': its other arguments, and `boot_ms': how
%% long it may take to start.
start(Options) ->
    Erl = filename:join([code:root_dir(), "bin", "erl"]),
    [Program | Arguments] = maps:get(under, Options, []) ++ [Erl],
    Paths = maps:get(paths, Options, code_path()),
    %% {ok, Vm}, with the node's name behind it on OTP 25.
    Started = peer:start_link(#{
        connection => standard_io,
        exec => {os:find_executable(Program), Arguments},
        wait_boot => maps:get(boot_ms, Options, 15000),
        args => distribution(Options) ++ over_port:vm_arguments() ++ maps:get(args, Options, []) ++ ["-pa" | Paths]
    }),
    ok = element(1, Started),
    Vm = element(2, Started),
    true = peer:call(Vm, erlang, register, [?MODULE, peer:call(Vm, erlang, spawn, [?MODULE, work, []])]),
    Vm.

%% Such nodes connect only when they are asked to.
distribution(#{node := Node}) ->
    Loopback = ["-kernel", "inet_dist_use_interface", "{127,0,0,1}", "connect_all", "false"],
    ["-name", atom_to_list(Node), "-setcookie", ?MODULE_STRING | Loopback];
distribution(#{}) ->
    [].

call(Vm, Module, Function, Arguments) ->
    peer:call(Vm, ?MODULE, ask, [Module, Function, Arguments], ?CALL_MS).

stop(Vm) ->
    peer:stop(Vm).

%% Gives the function a VM in a network namespace of its own, or skips with the reason why none can be made.
with_own_network(Run) ->
    case os:cmd("unshare --net true || unshare --map-root-user --net true") of
        "" ->
            Vm = start(#{under => in_own_network()}),
            Answer = Run(Vm),
            stop(Vm),
            Answer;
        Refused ->
            {skip, "no network namespace can be made here: " ++ Refused}
    end.

%% Calls a function of no arguments there.
with_own_network(Module, Function) ->
    with_own_network(fun(Vm) -> ok = call(Vm, Module, Function, []) end).

%% The process there, and what brings a call to it.

work() ->
    receive
        {From, Tag, Module, Function, Arguments} -> From ! {Tag, apply(Module, Function, Arguments)}
    end,
    work().

ask(Module, Function, Arguments) ->
    Monitor = erlang:monitor(process, ?MODULE),
    ?MODULE ! {self(), Monitor, Module, Function, Arguments},
    receive
        {Monitor, Answer} ->
            true = erlang:demonitor(Monitor, [flush]),
            Answer;
        {'DOWN', Monitor, process, _, Reason} ->
            erlang:error(Reason)
    end.

%% Commands to start it under.

%% So many descriptors, if the hard limit allows: the soft one is often 1024.
with_open_files(Count) ->
    ["/bin/sh", "-c", "ulimit -n " ++ integer_to_list(Count) ++ " && exec \"$@\"", "sh"].

%% A listener of backlog 7 among its descriptors from the start, as socket activation does it. Wants perl.
with_listener() ->
    Listen =
        "use Socket; $^F = 100; socket(L, PF_INET, SOCK_STREAM, 0) or die; bind(L, sockaddr_in(0, INADDR_LOOPBACK)) or die;"
        " listen(L, 7) or die; exec @ARGV or die",
    ["perl", "-e", Listen, "--"].

%% Nothing on the standard error, where the Rust runtime writes a few lines for each panic.
in_silence() ->
    ["/bin/sh", "-c", "exec \"$@\" 2>/dev/null", "sh"].

%% A network namespace that has nothing but a loopback device and ends with the VM. Root may make one; others where the
%% kernel lets them be root of a user namespace.
in_own_network() ->
    AsRoot =
        case os:cmd("id -u") of
            "0\n" -> [];
            _ -> ["--map-root-user"]
        end,
    ["unshare", "--net"] ++ AsRoot ++ ["/bin/sh", "-c", "ip link set lo up && exec \"$@\"", "sh"].

code_path() ->
    [Dir || Dir <- code:get_path(), not lists:prefix(code:lib_dir(), Dir), filelib:is_dir(Dir)].

%% Applications stand in folders that are called after them and their version.
code_path_without(Application) ->
    Its = fun(Dir) -> lists:prefix(atom_to_list(Application) ++ "-", filename:basename(filename:dirname(Dir))) end,
    [Dir || Dir <- code_path(), not Its(Dir)].
