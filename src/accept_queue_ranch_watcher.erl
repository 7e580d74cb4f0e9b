%% @doc Watches the listeners of ranch, also those that start later: a child for your supervision tree.
%%
%% The application watches every listener of the VM without it, and names those of ranch by their references. Use it to give
%% all of ranch's listeners options of their own, or to watch nothing else (`{watch, none}' in the environment).
%% ```
%% {accept_queue_ranch_watcher, #{stuck_ms => 2000}}                                   % Elixir's way, and supervisor's:
%% #{id => ranch_watcher, start => {accept_queue_ranch_watcher, start_link, [#{stuck_ms => 2000}]}}
%% '''
%% Once a second it asks ranch, 1.x or 2.x, for its references: one read of ranch's table, and two calls to its supervisors for
%% each reference; one that does not answer within a second is asked the next time. A listener that was stopped, or suspended (2.x
%% closes the socket), and started again is another listener, and is watched again.
%%
%% It does not see a listener in the second after its start, and watches all again when this application has restarted. When it ends in order, its listeners are watched no longer.
-module(accept_queue_ranch_watcher).
-behaviour(accept_queue_searcher).

-export([child_spec/1, start_link/1, status/0]).
-export([search/2, removed/1, forgotten/1, watched/1]).

%% The sockets that each reference had when it was last watched.
-type known() :: #{(Ref :: term()) => [accept_queue_backend:socket()]}.

%% @doc The child specification, for a supervisor that takes `{Module, Argument}', as Elixir's do.
-spec child_spec(map()) -> supervisor:child_spec().
child_spec(Options) ->
    #{id => ?MODULE, start => {?MODULE, start_link, [Options]}}.

%% @doc Starts the process. Options are those of {@link accept_queue:watch/2}; the error for a wrong one is a sentence.
-spec start_link(map()) -> {ok, pid()} | {error, term()}.
start_link(Options) ->
    accept_queue_searcher:start_link(?MODULE, #{}, Options).

%% @doc {@link accept_queue:status/1} of every listener of ranch, by its reference, whether this process watches it or another
%% one.
-spec status() -> #{(Ref :: term()) => {ok, accept_queue:status()} | {error, accept_queue:reason()}}.
status() ->
    maps:from_list([{Ref, accept_queue:status({ranch, Ref})} || Ref <- accept_queue_ranch:refs()]).

%% @private
-spec search(known(), map()) -> {known(), true}.
search(Before, Options) ->
    {maps:from_list([Found || Ref <- accept_queue_ranch:refs(), Found <- found(Ref, Before, Options)]), true}.

%% A port or a socket is not given twice: the same ones are the same listener.
found(Ref, Before, Options) ->
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

%% @private
-spec removed(known()) -> {known(), true}.
removed(Known) ->
    {Known, true}.

%% @private
-spec forgotten(known()) -> known().
forgotten(_Known) ->
    #{}.

%% @private
-spec watched(known()) -> [accept_queue:listener()].
watched(Known) ->
    [{ranch, Ref} || Ref <- maps:keys(Known)].
