%% @private
%% The listeners of this VM, each with its Erlang socket.
%%
%% The kernel lists the listening sockets by cookie, and the table has the owner of each cookie. While the kernel shows no new
%% cookie, nothing of the VM is read. Otherwise the descriptors of this operating system process are, and then the sockets of the
%% VM until every listening descriptor has its own.
%%
%% A cookie of another process may become this VM's: a descriptor can be handed over. And the kernel does not show a listener in
%% another network namespace than the VM's. So a scan is good for ten seconds.
%%
%% The table belongs to the supervisor, and may be missing: then nothing is remembered.
-module(accept_queue_registry).

-export([new/0, forget/0, listeners/0, last_entries/0]).

-export_type([entry/0]).

-type entry() :: #{
    fd := accept_queue_nif:fd(),
    address := accept_queue:address(),
    cookie := accept_queue:cookie(),
    inode := pos_integer(),
    queue := accept_queue_nif:queue(),
    device := binary() | undefined,
    handle := accept_queue:handle(),
    socket := accept_queue_backend:socket() | undefined
}.

-define(TABLE, ?MODULE).
-define(SCAN_IS_GOOD_FOR_MS, 10000).
-define(BARE_IS_GOOD_FOR_MS, 1000).
-define(BARE_SHARE, 200).

%% To be called by the process that is to own the table.
-spec new() -> ok.
new() ->
    accept_queue_memory:table(?TABLE, [{read_concurrency, true}], []).

%% To be called when the source of the readings has changed.
-spec forget() -> ok.
forget() ->
    true = ets:delete_all_objects(?TABLE),
    ok.

%% Every listener of this VM, with the queue that the kernel showed; `undefined' in another network namespace.
-spec listeners() -> {ok, [{entry(), accept_queue_nif:listening() | undefined}]} | {error, accept_queue:reason()}.
listeners() ->
    case accept_queue_source:listening() of
        {ok, Listening} ->
            Shown = maps:from_list([{Cookie, Row} || #{cookie := Cookie} = Row <- Listening]),
            open(entries(Shown), Shown);
        {error, unsupported} ->
            %% Without sock_diag (gVisor, a filter of system calls) the kernel does not say that one is new: each call scans.
            open(scan(#{}), #{});
        {error, _} = Error ->
            Error
    end.

%% Those of the last scan, however old it is: some may be closed. `none': there was no scan.
-spec last_entries() -> {ok, [entry()]} | none.
last_entries() ->
    case last_scan() of
        {_GoodUntilMs, _Known, Entries} -> {ok, Entries};
        none -> none
    end.

%% The kernel may still have shown one that has just been closed.
open({ok, Entries}, Shown) ->
    still(fun({Entry, true}) -> {true, shown(Entry, Shown)}; ({_, false}) -> false end, Entries);
open({error, _} = Error, _Shown) ->
    Error.

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

%% Not shown where it is closed, or in another network namespace.
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

%% The last scan, while it is good: all cookies that it saw, and the entries of this VM.
remembered() ->
    case last_scan() of
        {GoodUntilMs, Known, Entries} ->
            case erlang:monotonic_time(millisecond) < GoodUntilMs of
                true -> {ok, maps:from_keys(Known, true), Entries};
                false -> unknown
            end;
        none ->
            unknown
    end.

last_scan() ->
    try ets:lookup(?TABLE, scan) of
        [{scan, GoodUntilMs, Known, Rows}] -> {GoodUntilMs, Known, [entry(Row) || Row <- Rows]};
        [] -> none
    catch
        error:badarg -> none
    end.

%% A listening descriptor without a socket may belong to one that is just being made: the next call scans once more. And it may be taken
%% over later: then a scan is good for a second, or for so much longer that scans take a two-hundredth of the time at most.
remember(Known, Entries, TookMs) ->
    Before =
        case last_scan() of
            {_, _, Last} -> bare(Last);
            none -> []
        end,
    Bare = bare(Entries),
    GoodForMs =
        case Bare -- Before of
            [] when Bare =:= [] -> ?SCAN_IS_GOOD_FOR_MS;
            [] -> min(?SCAN_IS_GOOD_FOR_MS, max(?BARE_IS_GOOD_FOR_MS, ?BARE_SHARE * TookMs));
            _ -> 0
        end,
    try
        true = ets:insert(?TABLE, {scan, erlang:monotonic_time(millisecond) + GoodForMs, Known, [row(Entry) || Entry <- Entries]}),
        ok
    catch
        error:badarg -> ok
    end.

%% A map in a table has its keys with it, in each.
row(#{fd := Fd, address := Address, cookie := Cookie, inode := Inode, queue := Queue, device := Device, handle := Handle, socket := Socket}) ->
    {Fd, Address, Cookie, Inode, Queue, Device, Handle, Socket}.

entry({Fd, Address, Cookie, Inode, Queue, Device, Handle, Socket}) ->
    #{
        fd => Fd,
        address => Address,
        cookie => Cookie,
        inode => Inode,
        queue => Queue,
        device => Device,
        handle => Handle,
        socket => Socket
    }.

bare(Entries) ->
    [Cookie || #{socket := undefined, cookie := Cookie} <- Entries].

%% The kernel was asked before the VM: a listener that was opened in between is a new cookie for the next call.
scan(Shown) ->
    BeganMs = erlang:monotonic_time(millisecond),
    case accept_queue_source:own() of
        {ok, Own} ->
            Sockets = accept_queue_backend:find([Fd || #{fd := Fd} <- Own]),
            case still(fun({Listener, IsOpen}) -> {true, entry(Listener, IsOpen, Sockets)} end, Own) of
                {ok, Found} ->
                    Entries = distinct(Found),
                    Cookies = maps:keys(Shown) ++ [Cookie || #{cookie := Cookie} <- Entries],
                    ok = remember(lists:usort(Cookies), Entries, erlang:monotonic_time(millisecond) - BeganMs),
                    {ok, Entries};
                {error, _} = Error ->
                    Error
            end;
        {error, _} = Error ->
            Error
    end.

%% The descriptor may have been closed and its number reused since the handle was made.
entry(#{fd := Fd} = Listener, IsOpen, Sockets) ->
    Known = maps:get(Fd, Sockets, undefined),
    Socket =
        case IsOpen andalso is_the_sockets(#{socket => Known, fd => Fd}) of
            true -> Known;
            false -> undefined
        end,
    Listener#{socket => Socket}.

%% A listener may have several descriptors. One with an Erlang socket is preferred.
distinct(Entries) ->
    {Bare, Owned} = lists:partition(fun(#{socket := Socket}) -> Socket =:= undefined end, Entries),
    maps:values(maps:from_list([{Cookie, Entry} || #{cookie := Cookie} = Entry <- Bare ++ Owned])).
