%% @private
-module(accept_queue_app).
-behaviour(application).

-export([start/2, stop/1]).

-spec start(application:start_type(), term()) -> {ok, pid()} | {error, term()}.
start(_Type, _Args) ->
    accept_queue_sup:start_link().

-spec stop(term()) -> ok.
stop(_State) ->
    accept_queue_source:reset().
