%% @private
%% The accepted connections of a listener: each is read and counted, in core, by the listener's handle.
%%
%% What a caller has in hand for a listener is looked up once, and its handle remembered. A socket's handle is good for as long as the
%% term: neither is given to another listener. What names an address may name another listener later, so that handle is asked first
%% whether it is open.
%%
%% The table belongs to the supervisor, and may be missing: then every call looks its listener up.
-module(accept_queue_accepted).

-export([new/0, forget/0, count/2, waits/1]).

-define(TABLE, ?MODULE).
%% The handles of closed listeners are dropped when the table has grown to twice what was left of it, and never below this.
-define(ROWS_MIN, 64).

%% To be called by the process that is to own the table.
-spec new() -> ok.
new() ->
    accept_queue_memory:table(?TABLE, [{read_concurrency, true}], []).

%% To be called when the source of the readings has changed.
-spec forget() -> ok.
forget() ->
    true = ets:delete_all_objects(?TABLE),
    ok.

-spec count(accept_queue:listener(), accept_queue:connection()) ->
    {ok, #{wait_ms := non_neg_integer(), peer_closed := boolean()}} | {error, accept_queue:reason() | badarg}.
count(Listener, Connection) ->
    case handle(Listener) of
        {ok, Handle} ->
            case accept_queue_reading:of_connection(Connection, fun accept_queue_source:accepted/1) of
                {ok, {WaitMs, PeerClosed}} ->
                    case add(Listener, Handle, WaitMs) of
                        ok -> {ok, #{wait_ms => WaitMs, peer_closed => PeerClosed}};
                        {error, _} = Error -> Error
                    end;
                {error, _} = Error ->
                    Error
            end;
        {error, _} = Error ->
            Error
    end.

add(Handle, Handle, WaitMs) ->
    try
        accept_queue_source:add_wait(Handle, WaitMs)
    catch
        %% A reference that is no handle.
        error:badarg -> {error, badarg}
    end;
add(Listener, Handle, WaitMs) ->
    case add(Handle, Handle, WaitMs) of
        ok ->
            ok;
        %% It was remembered for longer than it is good.
        {error, _} ->
            _ = ets:delete(?TABLE, accept_queue_ssl:transport(Listener)),
            case handle(Listener) of
                {ok, Another} -> add(Another, Another, WaitMs);
                {error, _} = Error -> Error
            end
    end.

-spec waits(accept_queue:listener()) -> {ok, accept_queue:waits()} | {error, accept_queue:reason() | badarg}.
waits(Listener) ->
    accept_queue_reading:with_handle(Listener, fun(Handle) ->
        case {accept_queue_source:waits(Handle), accept_queue_source:are_open([Handle])} of
            {{ok, Waits}, {ok, [true]}} -> {ok, Waits};
            {{ok, _}, {ok, [false]}} -> {error, closed};
            {{error, _} = Error, _} -> Error;
            {_, {error, _} = Error} -> Error
        end
    end).

%% Remembering. Rows: `{Term, Handle, remembered}', and `{drop_at, Size}'.

handle(Listener) ->
    case accept_queue_source:is_handle(Listener) of
        true -> {ok, Listener};
        false -> handle_of(accept_queue_ssl:transport(Listener))
    end.

handle_of(Term) ->
    case remembered(Term) of
        {ok, _} = Known ->
            Known;
        unknown ->
            case accept_queue_listener:open(Term) of
                {ok, Handle} ->
                    ok = remember(Term, Handle),
                    {ok, Handle};
                {error, _} = Error ->
                    Error
            end
    end.

remembered(Term) ->
    try ets:lookup(?TABLE, Term) of
        [{_, Handle, remembered}] -> still(Term, Handle);
        _ -> unknown
    catch
        error:badarg -> unknown
    end.

still(Term, Handle) ->
    case accept_queue_backend:is_socket(Term) orelse accept_queue_source:are_open([Handle]) of
        true -> {ok, Handle};
        {ok, [true]} -> {ok, Handle};
        _ -> unknown
    end.

remember(Term, Handle) ->
    try
        true = ets:insert(?TABLE, {Term, Handle, remembered}),
        drop_closed(ets:info(?TABLE, size))
    catch
        error:badarg -> ok
    end.

drop_closed(Size) ->
    case ets:lookup(?TABLE, drop_at) of
        [{drop_at, At}] when Size < At -> ok;
        [] when Size < ?ROWS_MIN -> ok;
        _ -> drop_closed()
    end.

drop_closed() ->
    {Terms, Handles} = lists:unzip([{Term, Handle} || {Term, Handle, remembered} <- ets:tab2list(?TABLE)]),
    case accept_queue_source:are_open(Handles) of
        {ok, Open} ->
            Closed = [Term || {Term, false} <- lists:zip(Terms, Open)],
            true = lists:all(fun(Term) -> ets:delete(?TABLE, Term) end, Closed),
            true = ets:insert(?TABLE, {drop_at, max(?ROWS_MIN, 2 * ets:info(?TABLE, size))}),
            ok;
        %% Tried again with the next listener.
        {error, _} ->
            ok
    end.
