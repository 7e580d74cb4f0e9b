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
    ?TABLE = ets:new(?TABLE, [named_table, public, {read_concurrency, true}]),
    ok.

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
                    case add(Handle, WaitMs) of
                        ok -> {ok, #{wait_ms => WaitMs, peer_closed => PeerClosed}};
                        {error, _} = Error -> Error
                    end;
                {error, _} = Error ->
                    Error
            end;
        {error, _} = Error ->
            Error
    end.

add(Handle, WaitMs) ->
    try
        accept_queue_source:add_wait(Handle, WaitMs)
    catch
        %% A reference that is no handle.
        error:badarg -> {error, badarg}
    end.

-spec waits(accept_queue:listener()) -> {ok, accept_queue:waits()} | {error, accept_queue:reason() | badarg}.
waits(Listener) ->
    accept_queue_reading:with_handle(Listener, fun(Handle) ->
        try accept_queue_source:are_open([Handle]) of
            {ok, [true]} -> accept_queue_source:waits(Handle);
            {ok, [false]} -> {error, closed};
            {error, _} = Error -> Error
        catch
            error:badarg -> {error, badarg}
        end
    end).

%% Remembering.

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
        [{_, Handle}] -> still(Term, Handle);
        [] -> unknown
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
        true = ets:insert(?TABLE, {Term, Handle}),
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
    Rows = [Row || {Term, _} = Row <- ets:tab2list(?TABLE), Term =/= drop_at],
    case accept_queue_source:are_open([Handle || {_, Handle} <- Rows]) of
        {ok, Open} ->
            Closed = [Term || {{Term, _}, false} <- lists:zip(Rows, Open)],
            true = lists:all(fun(Term) -> ets:delete(?TABLE, Term) end, Closed),
            true = ets:insert(?TABLE, {drop_at, max(?ROWS_MIN, 2 * ets:info(?TABLE, size))}),
            ok;
        %% Tried again with the next listener.
        {error, _} ->
            ok
    end.
