%% @private
-module(accept_queue_sup).
-behaviour(supervisor).

-include_lib("kernel/include/logger.hrl").

-export([start_link/0, reconfigure/1, init/1]).

-spec start_link() -> {ok, pid()} | {error, term()}.
start_link() ->
    supervisor:start_link({local, ?MODULE}, ?MODULE, []).

%% To be called when these keys of the environment have another value. What read the old one is started again: the monitor always, and
%% the port program, with its heartbeat, where its command line has changed.
-spec reconfigure(Keys :: [atom()]) -> ok.
reconfigure(Keys) ->
    _ = [ok = accept_queue_accepted:forget() || lists:member(source, Keys)],
    _ = [ok = accept_queue_registry:forget() || lists:member(source, Keys)],
    Wanted = children(accept_queue_source:choose(), accept_queue_watchdog:is_possible()),
    Again = [accept_queue_monitor | [Child || lists:member(watchdog, Keys), Child <- [accept_queue_watchdog, accept_queue_port]]],
    Running = [Id || {Id, _, _, _} <- supervisor:which_children(?MODULE)],
    %% In the order of a stop, and then in that of a start.
    lists:foreach(fun stop/1, [Id || Id <- Running, lists:member(Id, Again) orelse not lists:member(Id, Wanted)]),
    Kept = [Id || {Id, _, _, _} <- supervisor:which_children(?MODULE)],
    lists:foreach(fun start/1, Wanted -- Kept).

stop(Id) ->
    ok = supervisor:terminate_child(?MODULE, Id),
    ok = supervisor:delete_child(?MODULE, Id).

%% What cannot be started has logged why.
start(Id) ->
    _ = supervisor:start_child(?MODULE, child(Id)),
    ok.

-spec init([]) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init([]) ->
    ok = accept_queue_memory:ensure(),
    Source = accept_queue_source:choose(),
    ok = warn(os:type(), Source, accept_queue_nif:load_error()),
    %% Whatever a handler does to one child, the others go on. A keeper restarts its child as often as it takes, and does not end
    %% itself unless it is killed.
    Children = [child(Module) || Module <- children(Source, accept_queue_watchdog:is_possible())],
    {ok, {#{strategy => one_for_one, intensity => 10, period => 10}, Children}}.

%% Once, with the loader's own sentence. Where the program was asked for, the library is not missed; on a laptop that is not Linux nothing
%% is wrong.
warn({unix, linux}, Source, {_, Why}) when Source =/= port ->
    Instead =
        case Source of
            fallback -> "the port program reads instead";
            none -> "there is no port program either, so no listener is watched, and only the depth of gen_tcp sockets can be read"
        end,
    ?LOG_WARNING("accept_queue: the native library cannot be loaded: ~ts; ~ts", [Why, Instead], #{application => accept_queue});
warn({unix, linux}, _Source, _) ->
    ok;
warn({_, System}, _Source, _) ->
    ?LOG_NOTICE("accept_queue: it reads the Linux kernel; on ~ts no listener is watched, and every call says {error, unsupported}", [System], #{
        application => accept_queue
    }).

%% Without library and program nothing is watched. The watchdog needs the program, also where the NIF reads.
children(Source, HasWatchdog) ->
    IsProgram = HasWatchdog orelse Source =:= port orelse Source =:= fallback,
    [accept_queue_reader || Source =:= nif] ++ [accept_queue_event] ++ [accept_queue_port || IsProgram] ++ [accept_queue_watchdog] ++
        [Module || Source =/= none, Module <- [accept_queue_pools, accept_queue_monitor]].

child(Module) ->
    #{id => Module, start => {accept_queue_keeper, start_link, [Module]}, shutdown => 5000}.
