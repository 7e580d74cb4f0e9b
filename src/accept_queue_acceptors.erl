%% @private
%% Who waits in accept, who should, and what they do instead.
-module(accept_queue_acceptors).

-export([of_listener/1]).

-define(BUSY_MAX, 1000).

-spec of_listener(accept_queue:listener()) -> {ok, accept_queue:acceptors()} | {error, accept_queue:reason() | badarg}.
of_listener(Listener) ->
    %% A look-up could not tell a listener that was closed from one that never was this VM's.
    case accept_queue_source:is_handle(Listener) andalso accept_queue:depth(Listener) of
        {error, _} = Error -> Error;
        _ -> of_sockets(accept_queue_listener:sockets(Listener))
    end.

of_sockets({ok, []}) ->
    %% A descriptor that listens, and that no Erlang socket stands for.
    {error, not_found};
of_sockets({ok, Sockets}) ->
    Looks = [look(Socket) || Socket <- Sockets],
    case [Error || {error, _} = Error <- Looks] of
        [] -> {ok, together([Look || {ok, Look} <- Looks])};
        [Error | _] -> Error
    end;
of_sockets({error, _} = Error) ->
    Error.

%% The listener is read before and after: what was found in between is its own.
look(Socket) ->
    case accept_queue:open(Socket) of
        {ok, Handle} ->
            Look = {_, Waiting, _} = look(Socket, Handle),
            ok = accept_queue_pool_cache:remember(Handle, Waiting),
            case accept_queue:depth(Handle) of
                {ok, _} -> {ok, Look};
                {error, _} = Error -> Error
            end;
        {error, _} = Error ->
            Error
    end.

look(Socket, Handle) ->
    Pool = pool(Socket, Handle),
    {Count, Waiting} = accept_queue_backend:acceptors(Socket, known(Pool)),
    {Count, Waiting, joined(Pool, Waiting)}.

%% What ranch says; or else who was seen before, and who is now.
pool(Socket, Handle) ->
    case accept_queue_ranch:pool(Socket) of
        {ok, Pool} -> Pool;
        {error, _} -> accept_queue_pool_cache:pool(Handle)
    end.

joined(undefined, []) -> undefined;
joined(Pool, Waiting) -> lists:usort(known(Pool) ++ Waiting).

known(undefined) -> [];
known(Pool) -> Pool.

together(Looks) ->
    {Counts, Waitings, Pools} = lists:unzip3(Looks),
    Waiting = lists:usort(lists:append(Waitings)),
    Known = lists:usort(lists:append([Pool || Pool <- Pools, Pool =/= undefined])),
    Busy = [Pid || Pid <- Known -- Waiting, is_process_alive(Pid)],
    #{
        waiting_count => lists:sum(Counts),
        waiting => Waiting,
        pool =>
            case lists:all(fun(Pool) -> Pool =:= undefined end, Pools) of
                true -> undefined;
                false -> Known
            end,
        busy => [Description || Pid <- lists:sublist(Busy, ?BUSY_MAX), Description <- describe(Pid)],
        busy_count => length(Busy)
    }.

%% Nothing of one that has ended in the meantime.
describe(Pid) ->
    case accept_queue_process:describe(Pid, [message_queue_len | accept_queue_parking:items()]) of
        undefined ->
            [];
        Description ->
            [(maps:remove(monitors, Description))#{pid => Pid, parked => accept_queue_parking:name(Description)}]
    end.
