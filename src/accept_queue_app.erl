%% @private
-module(accept_queue_app).
-behaviour(application).

-include_lib("kernel/include/logger.hrl").

-export([start/2, stop/1, config_change/3]).

-spec start(application:start_type(), term()) -> {ok, pid()} | {error, term()}.
start(_Type, _Args) ->
    accept_queue_sup:start_link().

-spec stop(term()) -> ok.
stop(_State) ->
    accept_queue_source:reset().

%% A release was upgraded, or its configuration read again. Every key takes effect, and a wrong one changes nothing. Runs in the process
%% of all applications: nothing here asks that one.
-spec config_change([{atom(), term()}], [{atom(), term()}], [atom()]) -> ok.
config_change(Changed, New, Removed) ->
    Keys = [Key || {Key, _} <- Changed ++ New] ++ Removed,
    case accept_queue_config:environment() of
        {error, Sentence} ->
            ?LOG_ERROR("accept_queue: the change of its environment has no effect: ~ts", [Sentence]);
        _ ->
            accept_queue_sup:reconfigure(Keys)
    end.
