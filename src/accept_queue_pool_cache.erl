%% @private
%% What is known of each open listener while all is well: which processes accept from it, its pool where no framework has it, and the
%% name of its server.
%%
%% The pool is no union over time. Its places are those that were taken at once: a process that is new in accept takes the place of the
%% one that has been away from accept longest. So a pool whose processes are held up one after the other keeps them all, and a server
%% whose acceptor becomes the connection, with a successor in accept, collects no connections. A dead process leaves its place.
%%
%% Bounded by a number of listeners, and of processes each. Two calls for one listener at the same time may lose what one of them has
%% found, until the next. The table belongs to the supervisor, and may be missing: then nothing is remembered.
-module(accept_queue_pool_cache).

-export([new/0, pool/1, remember/2, named/1, name/3, forget/1, cookies/0]).

-define(TABLE, ?MODULE).
-define(PIDS_MAX, 1000).
-define(LISTENERS_MAX, 10000).

%% To be called by the process that is to own the table. Rows: `{{pool, Cookie}, Pids}' and `{{server, Cookie}, Owner, Server}'.
-spec new() -> ok.
new() ->
    accept_queue_memory:table(?TABLE, [{read_concurrency, true}], []).

%% Those that were found in accept and are alive, the last seen first; `undefined' where none ever was.
-spec pool(accept_queue:cookie()) -> [pid()] | undefined.
pool(Cookie) ->
    case row({pool, Cookie}) of
        [{_, Pids}] -> [Pid || Pid <- Pids, is_process_alive(Pid)];
        [] -> undefined
    end.

%% These are in accept now. A reading that has found none says nothing about the pool.
-spec remember(accept_queue:cookie(), [pid()]) -> ok.
remember(_Cookie, []) ->
    ok;
remember(Cookie, Waiting) ->
    Known =
        case pool(Cookie) of
            undefined -> [];
            Pids -> Pids
        end,
    case places(Waiting, Known) of
        Known -> ok;
        Places -> insert({{pool, Cookie}, Places})
    end.

places(Waiting, Known) ->
    Places = max(length(Waiting), length(Known)),
    Here = maps:from_keys(Waiting, true),
    lists:sublist(Waiting ++ [Pid || Pid <- Known, not is_map_key(Pid, Here)], min(Places, ?PIDS_MAX)).

%% The server of a listener and the owner that it was found with.
-spec named(accept_queue:cookie()) -> {Owner :: pid() | undefined, accept_queue:server()} | undefined.
named(Cookie) ->
    case row({server, Cookie}) of
        [{_, Owner, Server}] -> {Owner, Server};
        [] -> undefined
    end.

-spec name(accept_queue:cookie(), Owner :: pid() | undefined, accept_queue:server()) -> ok.
name(Cookie, Owner, Server) ->
    insert({{server, Cookie}, Owner, Server}).

%% Of which listeners something is remembered.
-spec cookies() -> [accept_queue:cookie()].
cookies() ->
    try
        lists:usort(lists:append(ets:match(?TABLE, {{'_', '$1'}, '_'}) ++ ets:match(?TABLE, {{'_', '$1'}, '_', '_'})))
    catch
        error:badarg -> []
    end.

-spec forget(accept_queue:cookie()) -> ok.
forget(Cookie) ->
    try
        _ = [true = ets:delete(?TABLE, {Kind, Cookie}) || Kind <- [pool, server]],
        ok
    catch
        error:badarg -> ok
    end.

row(Key) ->
    try
        ets:lookup(?TABLE, Key)
    catch
        error:badarg -> []
    end.

insert(Row) ->
    try
        _ = [true = ets:insert(?TABLE, Row) || ets:member(?TABLE, element(1, Row)) orelse ets:info(?TABLE, size) < 2 * ?LISTENERS_MAX],
        ok
    catch
        error:badarg -> ok
    end.
