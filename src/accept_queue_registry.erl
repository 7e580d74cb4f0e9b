%% @private
%% The listeners of this VM: which Erlang socket stands behind each listening descriptor.
%%
%% The kernel says who listens, by cookie; of each cookie it is remembered once whose it is. As long as the kernel shows no
%% cookie that is not known, nothing of the VM is looked at. Otherwise the descriptors of this process are, and the sockets
%% of the VM until every listening descriptor has found its own.
%%
%% A cookie that is not this VM's may become so: a descriptor can be handed over. And a listener in another network
%% namespace than the VM's is not among those that the kernel shows. So what was found is looked for again after ten
%% seconds.
%%
%% The table belongs to the supervisor, and may be missing: then nothing is remembered.
-module(accept_queue_registry).

-export([new/0, listeners/0]).

-export_type([entry/0]).

-type entry() :: #{
    fd := accept_queue_nif:fd(),
    address := accept_queue:address(),
    cookie := accept_queue:cookie(),
    inode := pos_integer(),
    handle := accept_queue:handle(),
    socket := accept_queue_backend:socket() | undefined,
    framework := {ranch, Ref :: term()} | undefined
}.

-define(TABLE, ?MODULE).
-define(SCAN_IS_GOOD_FOR_MS, 10000).

%% To be called by the process that is to own the table.
-spec new() -> ok.
new() ->
    ?TABLE = ets:new(?TABLE, [named_table, public, {read_concurrency, true}]),
    ok.

%% Every listener of this VM, with what the kernel showed of its queue; `undefined' in another network namespace.
-spec listeners() -> {ok, [{entry(), accept_queue_nif:listening() | undefined}]} | {error, accept_queue:reason()}.
listeners() ->
    case accept_queue_source:listening() of
        {ok, Listening} ->
            Shown = maps:from_list([{Cookie, Row} || #{cookie := Cookie} = Row <- Listening]),
            case entries(Shown) of
                {ok, Entries} ->
                    %% One that has just been closed may still have been shown.
                    still(fun({Entry, true}) -> {true, shown(Entry, Shown)}; ({_, false}) -> false end, Entries);
                {error, _} = Error ->
                    Error
            end;
        {error, _} = Error ->
            Error
    end.

shown(#{cookie := Cookie} = Entry, Shown) ->
    {Entry, maps:get(Cookie, Shown, undefined)}.

entries(Shown) ->
    case remembered() of
        {ok, Known, Entries} ->
            IsKnown = fun(Cookie) -> is_map_key(Cookie, Known) end,
            case lists:all(IsKnown, maps:keys(Shown)) andalso are_still([E || E <- Entries, is_shown(E, Shown)]) of
                true -> {ok, Entries};
                false -> scan(Shown);
                {error, _} = Error -> Error
            end;
        unknown ->
            scan(Shown)
    end.

%% Shown no more: closed, or in another network namespace.
is_shown(#{cookie := Cookie}, Shown) ->
    is_map_key(Cookie, Shown).

%% A listener may go on without the descriptor or the Erlang socket that stood for it.
are_still(Entries) ->
    case still(fun({Entry, IsOpen}) -> {true, IsOpen andalso is_the_sockets(Entry)} end, Entries) of
        {ok, Still} -> lists:all(fun(IsStill) -> IsStill end, Still);
        {error, _} = Error -> Error
    end.

%% Of each entry, with whether it is still open.
still(Of, Entries) ->
    case accept_queue_source:are_open([Handle || #{handle := Handle} <- Entries]) of
        {ok, Open} -> {ok, lists:filtermap(Of, lists:zip(Entries, Open))};
        {error, _} = Error -> Error
    end.

is_the_sockets(#{socket := undefined}) -> true;
is_the_sockets(#{socket := Socket, fd := Fd}) -> accept_queue_backend:descriptor(Socket) =:= {ok, Fd}.

%% The last scan, if there was one and it is good: the cookies it knows, and the entries that are ours.
remembered() ->
    case last_scan() of
        {GoodUntilMs, Known, Entries} ->
            case erlang:monotonic_time(millisecond) < GoodUntilMs of
                true -> {ok, Known, Entries};
                false -> unknown
            end;
        none ->
            unknown
    end.

last_scan() ->
    try ets:lookup(?TABLE, scan) of
        [{scan, GoodUntilMs, Known, Entries}] -> {GoodUntilMs, Known, Entries};
        [] -> none
    catch
        error:badarg -> none
    end.

%% A descriptor that listens and has no socket may belong to one that is just being made: it is looked at once more.
remember(Known, Entries) ->
    Before =
        case last_scan() of
            {_, _, Last} -> bare(Last);
            none -> []
        end,
    GoodForMs =
        case bare(Entries) -- Before of
            [] -> ?SCAN_IS_GOOD_FOR_MS;
            _ -> 0
        end,
    try
        true = ets:insert(?TABLE, {scan, erlang:monotonic_time(millisecond) + GoodForMs, Known, Entries}),
        ok
    catch
        error:badarg -> ok
    end.

bare(Entries) ->
    [Cookie || #{socket := undefined, cookie := Cookie} <- Entries].

%% The kernel was asked before the VM: what has begun to listen in between is not yet known, and will be the next time.
scan(Shown) ->
    case accept_queue_source:own() of
        {ok, Own} ->
            Sockets = accept_queue_backend:find([Fd || #{fd := Fd} <- Own]),
            case still(fun({Listener, IsOpen}) -> {true, entry(Listener, IsOpen, Sockets)} end, Own) of
                {ok, Found} ->
                    Entries = distinct(Found),
                    Cookies = maps:keys(Shown) ++ [Cookie || #{cookie := Cookie} <- Entries],
                    ok = remember(maps:from_keys(Cookies, true), Entries),
                    {ok, Entries};
                {error, _} = Error ->
                    Error
            end;
        {error, _} = Error ->
            Error
    end.

%% The descriptor may have been closed and its number given away since the handle was made.
entry(#{fd := Fd} = Listener, IsOpen, Sockets) ->
    Known = maps:get(Fd, Sockets, undefined),
    Socket =
        case IsOpen andalso is_the_sockets(#{socket => Known, fd => Fd}) of
            true -> Known;
            false -> undefined
        end,
    Listener#{socket => Socket, framework => framework(Socket)}.

framework(undefined) -> undefined;
framework(Socket) -> accept_queue_ranch:owning(accept_queue_backend:owner(Socket)).

%% A listener may have several descriptors. One that has an Erlang socket stands for it.
distinct(Entries) ->
    {Bare, Owned} = lists:partition(fun(#{socket := Socket}) -> Socket =:= undefined end, Entries),
    maps:values(maps:from_list([{Cookie, Entry} || #{cookie := Cookie} = Entry <- Bare ++ Owned])).
