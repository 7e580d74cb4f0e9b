%% @doc Watches the listeners of ranch, those that are started later too: a child for your supervision tree.
%%
%% The application watches every listener of the VM by itself, and calls those of ranch by their references. This is for those
%% who want options of their own for all of ranch's and no others, or nothing else watched (`{watch, none}' in the environment).
%% ```
%% {accept_queue_ranch_watcher, #{stuck_ms => 2000}}                                   % Elixir's way, and supervisor's:
%% #{id => ranch_watcher, start => {accept_queue_ranch_watcher, start_link, [#{stuck_ms => 2000}]}}
%% '''
%% Once a second it asks ranch, 1.x or 2.x, which references there are. One that was stopped, or suspended (2.x closes the socket),
%% and started again is another listener, and is watched again. That costs one look at ranch's table and two calls to its
%% supervisors for each reference; one that does not answer within a second is asked the next time.
%%
%% It cannot see a listener in the second after its start. When it ends in order, what it watches is watched no longer.
-module(accept_queue_ranch_watcher).
-behaviour(gen_server).

-export([child_spec/1, start_link/1, status/0]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

-record(state, {
    options :: map(),
    %% The sockets that each reference had when it was last watched.
    watched = #{} :: #{(Ref :: term()) => [accept_queue_backend:socket()]}
}).

-define(SEARCH_MS, 1000).

%% @doc For a supervisor that takes `{Module, Argument}', as Elixir's do.
-spec child_spec(map()) -> supervisor:child_spec().
child_spec(Options) ->
    #{id => ?MODULE, start => {?MODULE, start_link, [Options]}}.

%% @doc Options are those of {@link accept_queue:watch/2}; what is wrong with them is said in a sentence.
-spec start_link(map()) -> {ok, pid()} | {error, term()}.
start_link(Options) ->
    case accept_queue_config:watch_options(Options) of
        {ok, _} -> gen_server:start_link(?MODULE, Options, []);
        {_, Why} -> {error, Why}
    end.

%% @doc What is known of every listener of ranch, by its reference, whoever watches it: {@link accept_queue:status/1}.
-spec status() -> #{(Ref :: term()) => {ok, accept_queue:status()} | {error, accept_queue:reason()}}.
status() ->
    maps:from_list([{Ref, accept_queue:status({ranch, Ref})} || Ref <- accept_queue_ranch:refs()]).

%% @private
-spec init(map()) -> {ok, #state{}}.
init(Options) ->
    _ = process_flag(trap_exit, true),
    {ok, search(#state{options = Options})}.

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
handle_info(search, State) ->
    {noreply, search(State)};
handle_info(_, State) ->
    {noreply, State}.

%% @private
-spec terminate(term(), #state{}) -> ok.
terminate(_Reason, #state{watched = Watched}) ->
    lists:foreach(fun(Ref) -> accept_queue:unwatch({ranch, Ref}) end, maps:keys(Watched)).

search(#state{watched = Before, options = Options} = State) ->
    Watched = maps:from_list([Seen || Ref <- accept_queue_ranch:refs(), Seen <- seen(Ref, Before, Options)]),
    _ = erlang:send_after(?SEARCH_MS, self(), search),
    State#state{watched = Watched}.

%% A port or a socket is not given twice: the same ones are the same listener.
seen(Ref, Before, Options) ->
    case {accept_queue_ranch:sockets(Ref), Before} of
        {{sockets, Sockets}, #{Ref := Sockets}} ->
            [{Ref, Sockets}];
        {{sockets, Sockets}, _} ->
            [{Ref, Sockets} || accept_queue:watch({ranch, Ref}, Options) =:= ok];
        {{error, timeout}, #{Ref := Sockets}} ->
            [{Ref, Sockets}];
        {{error, _}, _} ->
            []
    end.
