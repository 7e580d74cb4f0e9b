%% @doc Watches listeners for as long as it lives: a child for the supervision tree of whoever opens them.
%%
%% The application watches every listener of the VM by itself. This is for those that want options of their own, or nothing
%% watched but what they name (`{watch, none}' in the environment).
%% ```
%% #{id => shop_watcher, start => {accept_queue_watcher, start_link, [[{ranch, shop}], #{stuck_ms => 2000}]}}
%% '''
%% A listener that is not there yet, or no longer, is looked for every second. When the process ends in order, it is watched no
%% longer.
-module(accept_queue_watcher).
-behaviour(gen_server).

-export([start_link/2]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

-record(state, {
    listeners :: [accept_queue:listener()],
    options :: map(),
    missing :: [accept_queue:listener()],
    %% Runs while any is missing.
    timer :: reference() | undefined
}).

-define(SEARCH_MS, 1000).

%% @doc Options are those of {@link accept_queue:watch/2}; what is wrong with them is said in a sentence.
-spec start_link([accept_queue:listener()], map()) -> {ok, pid()} | {error, term()}.
start_link(Listeners, Options) ->
    case accept_queue_config:watch_options(Options) of
        {ok, _} -> gen_server:start_link(?MODULE, {Listeners, Options}, []);
        {_, Why} -> {error, Why}
    end.

%% @private
-spec init({[accept_queue:listener()], map()}) -> {ok, #state{}}.
init({Listeners, Options}) ->
    _ = process_flag(trap_exit, true),
    {ok, search(#state{listeners = Listeners, options = Options, missing = Listeners})}.

%% @private
-spec handle_call(term(), gen_server:from(), #state{}) -> {reply, ok, #state{}}.
handle_call(_, _From, State) ->
    {reply, ok, State}.

%% @private
-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(_, State) ->
    {noreply, State}.

%% @private
-spec handle_info(term(), #state{}) -> {noreply, #state{}}.
handle_info({timeout, Timer, search}, #state{timer = Timer} = State) ->
    {noreply, search(State)};
handle_info({accept_queue, listener, removed, _}, #state{listeners = Listeners, missing = Missing} = State) ->
    Gone = [Listener || Listener <- Listeners -- Missing, {error, _} <- [accept_queue:status(Listener)]],
    {noreply, timer(State#state{missing = Missing ++ Gone})};
handle_info(_, State) ->
    {noreply, State}.

%% @private
-spec terminate(term(), #state{}) -> ok.
terminate(_Reason, #state{listeners = Listeners}) ->
    lists:foreach(fun accept_queue:unwatch/1, Listeners).

search(#state{missing = Missing, options = Options} = State) ->
    Still = [Listener || Listener <- Missing, accept_queue:watch(Listener, Options) =/= ok],
    ok = hear_of_those_that_go(),
    timer(State#state{missing = Still, timer = undefined}).

hear_of_those_that_go() ->
    try
        accept_queue:subscribe()
    catch
        %% The application does not run. Then nothing is watched either, and all is missing.
        exit:_ -> ok
    end.

timer(#state{missing = [_ | _], timer = undefined} = State) ->
    State#state{timer = erlang:start_timer(?SEARCH_MS, self(), search)};
timer(State) ->
    State.
