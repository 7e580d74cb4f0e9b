%% @private
%% Gathers the facts for the rules of advice, which are in `native/core/src/rules/advice.rs'.
-module(accept_queue_advice).

-export([all/0, of_handle/1]).

%% Of the kernel, and of every listener of this VM.
-spec all() -> {ok, [accept_queue:advice()]} | {error, accept_queue:reason()}.
all() ->
    of_listed(accept_queue_listener:all()).

%% Of the kernel, and of the listeners that the handle reads.
-spec of_handle(accept_queue:handle()) -> {ok, [accept_queue:advice()]} | {error, accept_queue:reason()}.
of_handle(Handle) ->
    %% A closed listener is `closed', one that is not on the list `not_found'.
    case {accept_queue:depth(Handle), accept_queue_listener:all()} of
        {{ok, _}, {ok, Listed}} ->
            Cookies = accept_queue_source:cookies(Handle),
            case [Row || #{cookie := Cookie} = Row <- Listed, lists:member(Cookie, Cookies)] of
                [] -> {error, not_found};
                Ours -> of_listed({ok, Ours})
            end;
        {{error, _} = Error, _} ->
            Error;
        {_, {error, _} = Error} ->
            Error
    end.

of_listed({ok, Listed}) ->
    case accept_queue_source:kernel() of
        {ok, Kernel} -> advised(Listed, Kernel);
        {error, _} = Error -> Error
    end;
of_listed({error, _} = Error) ->
    Error.

advised(Listed, #{somaxconn := Somaxconn} = Kernel) ->
    OfKernel = advise(undefined, {ok, maps:with([tcp_abort_on_overflow, tcp_syncookies], Kernel)}, #{}),
    OfListeners = [advise(Address, facts(Row), #{somaxconn => Somaxconn}) || #{address := Address} = Row <- Listed],
    Advised = [OfKernel | OfListeners],
    case [Error || {error, Reason} = Error <- Advised, Reason =/= closed, Reason =/= not_found] of
        [] ->
            %% Sockets that share an address are often set alike.
            {ok, lists:uniq(lists:append([Advice || {ok, Advice} <- Advised]))};
        [Error | _] ->
            Error
    end.

advise(Listener, {ok, Facts}, Others) ->
    case accept_queue_source:advise(maps:merge(Facts, Others)) of
        {ok, Advised} -> {ok, [Advice#{listener => Listener} || Advice <- Advised]};
        {error, _} = Error -> Error
    end;
advise(_Listener, {error, _} = Error, _Others) ->
    Error.

facts(#{socket := Socket} = Row) ->
    case oldest_wait_ms(Row) of
        {ok, Ms} ->
            Known = maps:with([limit, queued, waiting_acceptors], Row),
            {ok, maps:merge(Known#{backend => backend(Socket), oldest_wait_ms => Ms}, framework(Row))};
        {error, _} = Error ->
            Error
    end.

%% No dump where no connection waits. Where sockets share an address, the kernel does not show whose connection is the oldest.
oldest_wait_ms(#{queued := 0}) ->
    {ok, undefined};
oldest_wait_ms(#{address := Address}) ->
    case accept_queue:counts(Address) of
        {ok, #{sockets := 1, oldest_wait_ms := Ms}} -> {ok, Ms};
        {ok, #{}} -> {ok, undefined};
        {error, _} = Error -> Error
    end.

backend(undefined) -> undefined;
backend(Port) when is_port(Port) -> inet;
backend(_) -> socket.

%% What ranch remembers, and neither the kernel nor gen_tcp does: the requested backlog and the size of the pool.
framework(#{server := {ranch, Ref}, socket := Socket}) ->
    #{requested => requested(accept_queue_ranch:info(Ref)), pool => pool(accept_queue_ranch:pool({ranch, Ref}, undefined, Socket))};
framework(_) ->
    #{}.

%% Not known where ranch has been stopped since, or is too busy to answer.
requested({ok, #{backlog := Backlog}}) -> Backlog;
requested({error, _}) -> undefined.

pool({ok, Pids}) -> length(Pids);
pool({error, _}) -> undefined.
