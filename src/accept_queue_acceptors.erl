%% @private
%% The pool of a listener: which processes are in accept, which should be, and what those do instead.
-module(accept_queue_acceptors).

-export([of_listener/1, summary/1]).

-define(BUSY_MAX, 1000).

-spec of_listener(accept_queue:listener()) -> {ok, accept_queue:acceptors()} | {error, accept_queue:reason() | badarg}.
of_listener(Listener) ->
    %% The registry says `not_found' of a closed listener as of one that never was this VM's.
    case accept_queue_source:is_handle(Listener) andalso accept_queue:depth(Listener) of
        {error, _} = Error -> Error;
        _ -> of_sockets(accept_queue_listener:sockets(Listener))
    end.

%% For an event: without the stacks, which may be a thousand. Of a watched listener's sockets the registry need not be asked.
-spec summary(accept_queue:address() | [accept_queue_backend:socket()]) -> {ok, accept_queue:acceptors()} | {error, accept_queue:reason() | badarg}.
summary(Of) ->
    Pool =
        case Of of
            [_ | _] -> of_sockets({ok, Of});
            Address -> accept_queue:acceptors(Address)
        end,
    case Pool of
        {ok, #{busy := Busy} = Acceptors} ->
            {ok, Acceptors#{busy := [maps:with([pid, parked, current_function, registered_name], Pid) || Pid <- Busy]}};
        {error, _} = Error ->
            Error
    end.

of_sockets({ok, []}) ->
    %% The listening descriptor has no Erlang socket.
    {error, not_found};
of_sockets({ok, Sockets}) ->
    Pools = [of_socket(Socket) || Socket <- Sockets],
    case [Error || {error, _} = Error <- Pools] of
        [] -> {ok, together([Pool || {ok, Pool} <- Pools])};
        [Error | _] -> Error
    end;
of_sockets({error, _} = Error) ->
    Error.

%% The listener is read before and after, so that what was found in between is its own.
of_socket(Socket) ->
    case accept_queue:open(Socket) of
        {ok, Handle} ->
            Found = {_, Waiting, _} = of_socket(Socket, Handle),
            ok = accept_queue_pool_cache:remember(Handle, Waiting),
            case accept_queue:depth(Handle) of
                {ok, _} -> {ok, Found};
                {error, _} = Error -> Error
            end;
        {error, _} = Error ->
            Error
    end.

of_socket(Socket, Handle) ->
    Pool = pool(Socket, Handle),
    {Count, Waiting} = accept_queue_backend:acceptors(Socket, known(Pool)),
    {Count, Waiting, joined(Pool, Waiting)}.

%% The acceptors of the ranch listener, or else the processes that were found in accept before.
pool(Socket, Handle) ->
    case accept_queue_ranch:pool(Socket) of
        {ok, Pool} -> Pool;
        {error, _} -> accept_queue_pool_cache:pool(Handle)
    end.

joined(undefined, []) -> undefined;
joined(Pool, Waiting) -> lists:usort(known(Pool) ++ Waiting).

known(undefined) -> [];
known(Pool) -> Pool.

together(OfSockets) ->
    {Counts, Waitings, Pools} = lists:unzip3(OfSockets),
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

%% Empty where the process has ended in the meantime.
describe(Pid) ->
    case accept_queue_process:describe(Pid, [message_queue_len | accept_queue_parking:items()]) of
        undefined ->
            [];
        Description ->
            [(maps:remove(monitors, Description))#{pid => Pid, parked => accept_queue_parking:name(Description)}]
    end.
