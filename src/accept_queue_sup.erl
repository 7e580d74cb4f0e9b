%% @private
-module(accept_queue_sup).
-behaviour(supervisor).

-export([start_link/0, init/1]).

-spec start_link() -> {ok, pid()} | {error, term()}.
start_link() ->
    supervisor:start_link({local, ?MODULE}, ?MODULE, []).

-spec init([]) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init([]) ->
    %% This process owns the tables, so that no crash of a child loses them.
    ok = accept_queue_registry:new(),
    ok = accept_queue_pool_cache:new(),
    ok = accept_queue_event:new(),
    ok = accept_queue_monitor:new(),
    ok = accept_queue_port:new(),
    ok = accept_queue_accepted:new(),
    %% Whatever a handler does to one child, the others go on.
    Children = [child(Module, []) || Module <- children(accept_queue_source:choose(), accept_queue_watchdog:is_possible())],
    {ok, {#{strategy => one_for_one, intensity => 100, period => 10}, Children}}.

%% Without library and program nothing is watched. The watchdog needs the program, also where the NIF reads.
children(Source, HasWatchdog) ->
    IsProgram = HasWatchdog orelse Source =:= port orelse Source =:= fallback,
    [accept_queue_event] ++ [accept_queue_port || IsProgram] ++ [accept_queue_watchdog] ++
        [accept_queue_monitor || Source =/= none].

child(Module, Arguments) ->
    #{id => Module, start => {Module, start_link, Arguments}, shutdown => 5000}.
