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
    {ok, {#{strategy => one_for_one, intensity => 5, period => 10}, []}}.
