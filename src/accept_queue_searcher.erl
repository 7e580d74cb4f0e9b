%% @private
%% The process of {@link accept_queue_watcher} and {@link accept_queue_ranch_watcher}: searches for listeners, once a second for
%% as long as its module asks for it, and watches them no longer when it ends in order.
-module(accept_queue_searcher).
-behaviour(gen_server).

-export([start_link/3]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

-type known() :: term().
-type next() :: {known(), SearchAgain :: boolean()}.

%% Watches what is found. Called when the process starts and again after a second.
-callback search(known(), Options :: map()) -> next().
%% A listener is watched no longer. Only a module that has called `accept_queue:subscribe/0' is notified.
-callback removed(known()) -> next().
-callback watched(known()) -> [accept_queue:listener()].

-record(state, {
    module :: module(),
    options :: map(),
    known :: known(),
    timer :: reference() | undefined
}).

-define(SEARCH_MS, 1000).

%% Options are those of {@link accept_queue:watch/2}; the error is a sentence.
-spec start_link(module(), known(), Options :: map()) -> {ok, pid()} | {error, term()}.
start_link(Module, Known, Options) ->
    case accept_queue_config:watch_options(Options) of
        {ok, _} -> gen_server:start_link(?MODULE, #state{module = Module, options = Options, known = Known}, []);
        {_, Why} -> {error, Why}
    end.

-spec init(#state{}) -> {ok, #state{}}.
init(State) ->
    _ = process_flag(trap_exit, true),
    {ok, search(State)}.

-spec handle_call(term(), gen_server:from(), #state{}) -> {reply, ok, #state{}}.
handle_call(_, _From, State) ->
    {reply, ok, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(_, State) ->
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}}.
handle_info({timeout, Timer, search}, #state{timer = Timer} = State) ->
    {noreply, search(State#state{timer = undefined})};
handle_info({accept_queue, listener, removed, _}, #state{module = Module, known = Known} = State) ->
    {noreply, next(Module:removed(Known), State)};
handle_info(_, State) ->
    {noreply, State}.

-spec terminate(term(), #state{}) -> ok.
terminate(_Reason, #state{module = Module, known = Known}) ->
    lists:foreach(fun accept_queue:unwatch/1, Module:watched(Known)).

search(#state{module = Module, known = Known, options = Options} = State) ->
    next(Module:search(Known, Options), State).

next({Known, true}, #state{timer = undefined} = State) ->
    State#state{known = Known, timer = erlang:start_timer(?SEARCH_MS, self(), search)};
next({Known, _}, State) ->
    State#state{known = Known}.
