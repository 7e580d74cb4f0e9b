%% @private
%% The process of {@link accept_queue_watcher} and {@link accept_queue_ranch_watcher}: searches for listeners, once a second for
%% as long as its module asks for it, and watches them no longer when it ends in order.
%%
%% It is a child of a user's supervisor, so its start waits for the first search for 200 ms at most, and it does not end because this application does not
%% run, restarts or is slow. It monitors the processes that it depends on: a second after one of them has ended it searches again, and
%% for all listeners where what was watched has been lost.
-module(accept_queue_searcher).
-behaviour(gen_server).

-include_lib("kernel/include/logger.hrl").

-export([start_link/3]).
-export([init/1, handle_continue/2, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

-type known() :: term().
-type next() :: {known(), SearchAgain :: boolean()}.

%% Watches what is found. Called when the process starts and again after a second.
-callback search(known(), Options :: map()) -> next().
%% A listener is watched no longer. Only a module that has called `accept_queue:subscribe/0' is notified.
-callback removed(known()) -> next().
%% No listener is watched any longer.
-callback forgotten(known()) -> known().
-callback watched(known()) -> [accept_queue:listener()].

-record(state, {
    module :: module(),
    options :: map(),
    known :: known(),
    %% What the listeners were watched in.
    memory :: ets:tid() | undefined,
    monitors = #{} :: #{reference() => atom()},
    timer :: reference() | undefined,
    %% Whether a search that failed has been logged.
    logged = false :: boolean()
}).

-define(SEARCH_MS, 1000).
-define(FIRST_SEARCH_MS, 200).
%% The one has what is watched, the other the subscription.
-define(DEPENDS_ON, [accept_queue_monitor, accept_queue_event]).

%% Options are those of {@link accept_queue:watch/2}; the error is a sentence.
-spec start_link(module(), known(), Options :: map()) -> {ok, pid()} | {error, term()}.
start_link(Module, Known, Options) ->
    case accept_queue_config:watch_options(Options) of
        {error, Sentence} -> {error, Sentence};
        %% What cannot be checked now is when a listener is watched.
        _ -> started(gen_server:start_link(?MODULE, #state{module = Module, options = Options, known = Known}, []))
    end.

%% The first search is behind it, unless it takes long.
started({ok, Pid}) ->
    _ = accept_queue_call:call(Pid, searched, ?FIRST_SEARCH_MS),
    {ok, Pid};
started(Error) ->
    Error.

-spec init(#state{}) -> {ok, #state{}, {continue, search}}.
init(State) ->
    _ = process_flag(trap_exit, true),
    {ok, State, {continue, search}}.

-spec handle_continue(search, #state{}) -> {noreply, #state{}}.
handle_continue(search, State) ->
    {noreply, search(State)}.

-spec handle_call(term(), gen_server:from(), #state{}) -> {reply, ok, #state{}}.
handle_call(_Searched, _From, State) ->
    {reply, ok, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(_, State) ->
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}}.
handle_info({timeout, Timer, search}, #state{timer = Timer} = State) ->
    {noreply, search(State#state{timer = undefined})};
handle_info({'DOWN', Monitor, process, _, _}, #state{monitors = Monitors} = State) when is_map_key(Monitor, Monitors) ->
    {noreply, search_later(State#state{monitors = maps:remove(Monitor, Monitors)})};
handle_info({accept_queue, listener, removed, _}, #state{module = Module} = State) ->
    {noreply, guarded(fun(Known) -> Module:removed(Known) end, State)};
handle_info(_, State) ->
    {noreply, State}.

-spec terminate(term(), #state{}) -> ok.
terminate(_Reason, #state{module = Module, known = Known}) ->
    lists:foreach(fun unwatch/1, Module:watched(Known)).

%% A term that is no listener, or one that cannot be asked, keeps no user's supervisor from its shutdown.
unwatch(Listener) ->
    try
        accept_queue:unwatch(Listener)
    catch
        _:_ -> ok
    end.

%% Monitored first: what ends during the search is found by the next one.
search(#state{module = Module, options = Options} = State) ->
    guarded(fun(Known) -> Module:search(Known, Options) end, unless_lost(monitored(State))).

monitored(#state{monitors = Monitors} = State) ->
    New = [{erlang:monitor(process, Name), Name} || Name <- ?DEPENDS_ON -- maps:values(Monitors)],
    State#state{monitors = maps:merge(Monitors, maps:from_list(New))}.

unless_lost(#state{memory = Before} = State) ->
    case accept_queue_monitor:memory() of
        Before -> State;
        Now -> State#state{known = (State#state.module):forgotten(State#state.known), memory = Now}
    end.

%% A search asks other people's processes; where it raises, the next one may not.
guarded(Search, #state{known = Known} = State) ->
    try Search(Known) of
        {Next, true} -> search_later(State#state{known = Next, logged = false});
        {Next, false} -> State#state{known = Next, logged = false}
    catch
        _:Reason -> search_later(logged(Reason, State))
    end.

search_later(#state{timer = undefined} = State) ->
    State#state{timer = erlang:start_timer(?SEARCH_MS, self(), search)};
search_later(State) ->
    State.

logged(_Reason, #state{logged = true} = State) ->
    State;
logged(Reason, #state{module = Module} = State) ->
    ?LOG_WARNING("accept_queue: a search of ~ts has failed (~0tP); it is tried again", [Module, Reason, 20], #{application => accept_queue}),
    State#state{logged = true}.
