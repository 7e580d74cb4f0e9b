%% @private
%% The pool of a listener: which processes are in accept, which should be, and what those do instead.
-module(accept_queue_acceptors).

-export([of_listener/1, summary/1, in_accept/3, held/3, count/3]).

-define(BUSY_MAX, 1000).

-type in_accept() :: {Count :: non_neg_integer(), Waiting :: [pid()]}.

-spec of_listener(accept_queue:listener()) -> {ok, accept_queue:acceptors()} | {error, accept_queue:reason() | badarg}.
of_listener(Listener) ->
    %% The registry says `not_found' of a closed listener as of one that never was this VM's.
    case accept_queue_source:is_handle(Listener) andalso accept_queue:depth(Listener) of
        {error, _} = Error -> Error;
        _ -> of_sockets(sockets(Listener))
    end.

%% A listening descriptor may have got its Erlang socket since the registry looked.
sockets(Listener) ->
    case accept_queue_listener:sockets(Listener) of
        {ok, []} ->
            ok = accept_queue_registry:forget(),
            accept_queue_listener:sockets(Listener);
        Answer ->
            Answer
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

%% How many processes are in accept of a listener with this depth, of those that were found there before.
-spec count(accept_queue_backend:socket(), accept_queue:cookie(), accept_queue:depth()) -> non_neg_integer().
count(Socket, _Cookie, #{queued := 0}) ->
    accept_queue_backend:waiting(Socket);
count(Socket, Cookie, _Depth) ->
    case accept_queue_backend:held(Socket, known(accept_queue_pool_cache:pool(Cookie))) of
        [] -> accept_queue_backend:waiting(Socket);
        [_ | _] -> 0
    end.

%% How many processes are in accept, and those of these processes that are. For a look while all is well.
-spec in_accept(accept_queue_backend:socket(), accept_queue:handle(), Known :: [pid()]) -> in_accept().
in_accept(Socket, Handle, Known) ->
    {Count, Waiting} = accept_queue_backend:acceptors(Socket, Known, no_search),
    case held(Socket, Handle, Waiting) of
        [] -> {Count, Waiting};
        [_ | _] -> {0, []}
    end.

%% Those of the processes in accept that hold up the others, where connections wait.
-spec held(accept_queue_backend:socket(), accept_queue:handle(), Waiting :: [pid()]) -> [pid()].
held(Socket, Handle, Waiting) ->
    case accept_queue_backend:held(Socket, Waiting) of
        [] ->
            [];
        Held ->
            case accept_queue:depth(Handle) of
                {ok, #{queued := Queued}} when Queued > 0 -> Held;
                _ -> []
            end
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
            Found = of_socket(Socket, Handle),
            case accept_queue:depth(Handle) of
                {ok, _} -> {ok, Found};
                {error, _} = Error -> Error
            end;
        {error, _} = Error ->
            Error
    end.

of_socket(Socket, Handle) ->
    [Cookie] = accept_queue_source:cookies(Handle),
    Pool = pool(Socket, Cookie),
    {Count, Waiting} = accept_queue_backend:acceptors(Socket, known(Pool), search),
    case held(Socket, Handle, Waiting) of
        [] ->
            ok = accept_queue_pool_cache:remember(Cookie, Waiting),
            #{count => Count, waiting => Waiting, pool => joined(Pool, Waiting), behind => #{}};
        [First | _] = Held ->
            #{count => 0, waiting => [], pool => joined(Pool, Waiting), behind => maps:from_keys(Waiting -- Held, First)}
    end.

%% As the framework of the listener knows it, or else those that were found in accept before.
pool(Socket, Cookie) ->
    case accept_queue_framework:pool(Socket, Cookie) of
        {ok, Pool} -> Pool;
        {error, _} -> accept_queue_pool_cache:pool(Cookie)
    end.

joined(undefined, []) -> undefined;
joined(Pool, Waiting) -> lists:usort(known(Pool) ++ Waiting).

known(undefined) -> [];
known(Pool) -> Pool.

together(OfSockets) ->
    Each = fun(Key) -> [maps:get(Key, Of) || Of <- OfSockets] end,
    Waiting = lists:usort(lists:append(Each(waiting))),
    Known = lists:usort(lists:append([Pool || Pool <- Each(pool), Pool =/= undefined])),
    Behind = lists:foldl(fun maps:merge/2, #{}, Each(behind)),
    Busy = [Pid || Pid <- Known -- Waiting, is_process_alive(Pid)],
    #{
        waiting_count => lists:sum(Each(count)),
        waiting => Waiting,
        pool =>
            case lists:all(fun(Pool) -> Pool =:= undefined end, Each(pool)) of
                true -> undefined;
                false -> Known
            end,
        busy => [Description || Pid <- lists:sublist(Busy, ?BUSY_MAX), Description <- describe(Pid, Behind)],
        busy_count => length(Busy)
    }.

%% Empty where the process has ended in the meantime.
describe(Pid, Behind) ->
    case accept_queue_process:describe(Pid, [message_queue_len | accept_queue_parking:items()]) of
        undefined ->
            [];
        Description ->
            Parked =
                case Behind of
                    #{Pid := Holder} -> accept_queue_parking:behind(Holder);
                    #{} -> accept_queue_parking:name(Description)
                end,
            [(maps:remove(monitors, Description))#{pid => Pid, parked => Parked}]
    end.
