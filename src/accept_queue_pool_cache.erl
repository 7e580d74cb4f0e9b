%% @private
%% Which processes have been found in accept, of each listener: its pool, where no framework has it.
%%
%% Bounded by the open listeners and by a number of processes each. Nothing expires by time: dead processes are dropped when
%% their listener is read, closed listeners when a new one is remembered.
%%
%% Two calls for one listener at the same time may lose what one of them has found, until the next. The table belongs to the
%% supervisor, and may be missing: then nothing is remembered.
-module(accept_queue_pool_cache).

-export([new/0, pool/1, remember/2]).

-define(TABLE, ?MODULE).
-define(PIDS_MAX, 1000).

%% To be called by the process that is to own the table.
-spec new() -> ok.
new() ->
    accept_queue_memory:table(?TABLE, [], []).

%% Those that were found and are alive; `undefined' where none ever was.
-spec pool(accept_queue:handle()) -> [pid()] | undefined.
pool(Handle) ->
    try ets:lookup(?TABLE, key(Handle)) of
        [{_, _, Pids}] -> [Pid || Pid <- Pids, is_process_alive(Pid)];
        [] -> undefined
    catch
        error:badarg -> undefined
    end.

%% The handle of one socket. Where there are too many, the last found stay.
-spec remember(accept_queue:handle(), [pid()]) -> ok.
remember(_Handle, []) ->
    ok;
remember(Handle, Waiting) ->
    Known =
        case pool(Handle) of
            undefined ->
                forget_closed(),
                [];
            Pids ->
                Pids
        end,
    try
        true = ets:insert(?TABLE, {key(Handle), Handle, lists:sublist(Waiting ++ (Known -- Waiting), ?PIDS_MAX)}),
        ok
    catch
        error:badarg -> ok
    end.

forget_closed() ->
    try ets:tab2list(?TABLE) of
        Rows -> lists:foreach(fun forget_if_closed/1, Rows)
    catch
        error:badarg -> ok
    end.

forget_if_closed({Key, Handle, _Pids}) ->
    case accept_queue_source:are_open([Handle]) of
        {ok, [false]} -> ets:delete(?TABLE, Key);
        _ -> true
    end.

key(Handle) ->
    accept_queue_source:cookies(Handle).
