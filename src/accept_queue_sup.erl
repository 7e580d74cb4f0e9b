%% @private
-module(accept_queue_sup).
-behaviour(supervisor).

-export([start_link/0, init/1]).

-spec start_link() -> {ok, pid()} | {error, term()}.
start_link() ->
    supervisor:start_link({local, ?MODULE}, ?MODULE, []).

-spec init([]) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init([]) ->
    %% The tables are this process's, so that no crash of a child loses them.
    ok = accept_queue_register:new(),
    ok = accept_queue_seen:new(),
    ok = accept_queue_event:new(),
    ok = accept_queue_monitor:new(),
    %% Whatever a handler of somebody's does to the one, the other goes on.
    {ok, {#{strategy => one_for_one, intensity => 100, period => 10}, [child(accept_queue_event, []) | monitor()]}}.

%% Without the native library there is nothing to watch with.
monitor() ->
    case accept_queue_nif:load_error() of
        undefined -> [child(accept_queue_monitor, [])];
        _ -> []
    end.

child(Module, Arguments) ->
    #{id => Module, start => {Module, start_link, Arguments}, shutdown => 5000}.
