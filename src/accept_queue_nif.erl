%% @private
%% The stubs that `native/nif' replaces. Nothing but stubs: the library is loaded once and never upgraded.
%%
%% The module loads also where the library does not, so that the application starts everywhere; its functions then
%% raise `not_loaded', and {@link load_error/0} says why.
-module(accept_queue_nif).

-export([open/1, depth/1, counts/1, listening/0, cookies/1, kernel/0]).
-export([load_error/0]).

-export_type([handle/0, fd/0, listening/0]).

-on_load(load/0).
-nifs([open/1, depth/1, counts/1, listening/0, cookies/1, kernel/0]).

%% Not opaque for Dialyzer: accept_queue tells a handle from a port by asking whether it is a reference.
-type handle() :: reference().
-type fd() :: non_neg_integer().
-type depth() :: {Queued :: non_neg_integer(), Limit :: non_neg_integer(), Drops :: non_neg_integer() | undefined}.
-type listening() :: #{
    address := accept_queue:address(),
    cookie := accept_queue:cookie(),
    inode := pos_integer(),
    queued := non_neg_integer(),
    limit := non_neg_integer(),
    drops := non_neg_integer() | undefined
}.

-define(LIBRARY, "accept_queue_nif").

%% Normal scheduler: a few system calls.

-spec open(fd()) -> {ok, handle()} | {error, accept_queue:reason()}.
open(_Fd) ->
    erlang:nif_error(not_loaded).

-spec depth(handle()) -> {ok, depth()} | {error, accept_queue:reason()}.
depth(_Handle) ->
    erlang:nif_error(not_loaded).

%% Dirty I/O scheduler.

-spec counts(handle()) -> {ok, accept_queue:counts()} | {error, accept_queue:reason()}.
counts(_Handle) ->
    erlang:nif_error(not_loaded).

-spec listening() -> {ok, [listening()]} | {error, accept_queue:reason()}.
listening() ->
    erlang:nif_error(not_loaded).

-spec cookies([fd()]) -> [accept_queue:cookie() | undefined].
cookies(_Fds) ->
    erlang:nif_error(not_loaded).

-spec kernel() -> {ok, accept_queue:kernel()} | {error, accept_queue:reason()}.
kernel() ->
    erlang:nif_error(not_loaded).

%% Why the library could not be loaded; `undefined' when it was.
-spec load_error() -> undefined | {atom(), string()}.
load_error() ->
    persistent_term:get({?MODULE, load_error}, undefined).

load() ->
    case erlang:load_nif(library(), 0) of
        ok ->
            ok;
        {error, {Reason, Text}} ->
            persistent_term:put({?MODULE, load_error}, {Reason, lists:flatten(Text)})
    end.

library() ->
    filename:join(priv_dir(), ?LIBRARY).

priv_dir() ->
    case code:priv_dir(accept_queue) of
        {error, bad_name} ->
            %% Not in a folder named after the application: look beside the folder that this module came from.
            Ebin = filename:dirname(code:which(?MODULE)),
            filename:join(filename:dirname(Ebin), "priv");
        Dir ->
            Dir
    end.
