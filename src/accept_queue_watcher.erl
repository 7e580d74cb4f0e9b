%% @doc Watches the listeners that it is given, for as long as it lives: a child for your supervision tree.
%%
%% The application watches every listener of the VM without it. Use it to give some listeners options of their own, or to watch
%% nothing else (`{watch, none}' in the environment).
%% ```
%% #{id => shop_watcher, start => {accept_queue_watcher, start_link, [[{ranch, shop}], #{stuck_ms => 2000}]}}
%% '''
%% A listener that is not there yet, or is closed, is searched for once a second. So it is when this application does not run yet,
%% or restarts: the start waits for the first search for 200 ms at most. When the process ends in order, its listeners are watched no longer.
-module(accept_queue_watcher).
-behaviour(accept_queue_searcher).

-export([start_link/2]).
-export([search/2, removed/1, forgotten/1, watched/1]).

-type known() :: {[accept_queue:listener()], Missing :: [accept_queue:listener()]}.

%% @doc Starts the process. Options are those of {@link accept_queue:watch/2}; the error for a wrong one, and for what is no listener, is a sentence.
-spec start_link([accept_queue:listener()], map()) -> {ok, pid()} | {error, term()}.
start_link(Listeners, Options) ->
    case accept_queue_config:listeners(Listeners) of
        ok -> accept_queue_searcher:start_link(?MODULE, {Listeners, Listeners}, Options);
        {error, _} = Error -> Error
    end.

%% @private
-spec search(known(), map()) -> {known(), boolean()}.
search({Listeners, Missing}, Options) ->
    Still = still_missing(Missing, Options),
    IsSubscribed = accept_queue:subscribe() =:= ok,
    %% What was closed before the subscription was not notified.
    {Known, SearchAgain} = removed({Listeners, Still}),
    {Known, SearchAgain orelse not IsSubscribed}.

%% One call that has timed out is enough for a search; the others come first in the next one.
still_missing([], _Options) ->
    [];
still_missing([Listener | Others], Options) ->
    case accept_queue:watch(Listener, Options) of
        ok -> still_missing(Others, Options);
        {error, timeout} -> Others ++ [Listener];
        {error, _} -> [Listener | still_missing(Others, Options)]
    end.

%% @private
-spec removed(known()) -> {known(), boolean()}.
removed({Listeners, Missing}) ->
    Gone = [Listener || Listener <- Listeners -- Missing, {error, _} <- [accept_queue:status(Listener)]],
    {{Listeners, Missing ++ Gone}, Missing ++ Gone =/= []}.

%% @private
-spec forgotten(known()) -> known().
forgotten({Listeners, _Missing}) ->
    {Listeners, Listeners}.

%% @private
-spec watched(known()) -> [accept_queue:listener()].
watched({Listeners, _Missing}) ->
    Listeners.
