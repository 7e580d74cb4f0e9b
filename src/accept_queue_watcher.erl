%% @doc Watches the listeners that it is given, for as long as it lives: a child for your supervision tree.
%%
%% The application watches every listener of the VM without it. Use it to give some listeners options of their own, or to watch
%% nothing else (`{watch, none}' in the environment).
%% ```
%% #{id => shop_watcher, start => {accept_queue_watcher, start_link, [[{ranch, shop}], #{stuck_ms => 2000}]}}
%% '''
%% A listener that is not there yet, or is closed, is searched for once a second. When the process ends in order, its listeners
%% are watched no longer.
-module(accept_queue_watcher).
-behaviour(accept_queue_searcher).

-export([start_link/2]).
-export([search/2, removed/1, watched/1]).

-type known() :: {[accept_queue:listener()], Missing :: [accept_queue:listener()]}.

%% @doc Starts the process. Options are those of {@link accept_queue:watch/2}; the error for a wrong one is a sentence.
-spec start_link([accept_queue:listener()], map()) -> {ok, pid()} | {error, term()}.
start_link(Listeners, Options) ->
    accept_queue_searcher:start_link(?MODULE, {Listeners, Listeners}, Options).

%% @private
-spec search(known(), map()) -> {known(), boolean()}.
search({Listeners, Missing}, Options) ->
    Still = [Listener || Listener <- Missing, accept_queue:watch(Listener, Options) =/= ok],
    ok = subscribe(),
    next(Listeners, Still).

subscribe() ->
    try
        accept_queue:subscribe()
    catch
        %% The application does not run. Then nothing is watched, all listeners are missing, and the next search subscribes.
        exit:_ -> ok
    end.

%% @private
-spec removed(known()) -> {known(), boolean()}.
removed({Listeners, Missing}) ->
    Gone = [Listener || Listener <- Listeners -- Missing, {error, _} <- [accept_queue:status(Listener)]],
    next(Listeners, Missing ++ Gone).

next(Listeners, Missing) ->
    {{Listeners, Missing}, Missing =/= []}.

%% @private
-spec watched(known()) -> [accept_queue:listener()].
watched({Listeners, _Missing}) ->
    Listeners.
