%% @private
%% From the listener of a caller, in any of its forms, to a handle; and from a listener to its sockets.
-module(accept_queue_listener).

-export([open/1, ask_socket/2, sockets/1, entries/1, all/0, matches/1, with_descriptor/2]).

%% The errors of a listener that has been closed since it was found; while the kernel closes it, it no longer listens.
-define(GONE, [closed, not_listening]).

%% A handle for all the sockets that the term means.
-spec open(accept_queue:listener()) -> {ok, accept_queue:handle()} | {error, accept_queue:reason() | badarg}.
open(Listener) ->
    case accept_queue_source:is_handle(Listener) of
        true -> {ok, Listener};
        false -> opened(resolve(Listener))
    end.

opened({sockets, Sockets}) -> joined([with_descriptor(Socket, fun accept_queue_source:open/1) || Socket <- Sockets]);
opened({entries, Entries}) -> joined([{ok, Handle} || #{handle := Handle} <- Entries]);
opened({error, _} = Error) -> Error.

%% The answer of the one socket that the term is.
-spec ask_socket(accept_queue:listener(), fun((accept_queue_nif:fd()) -> Answer)) ->
    Answer | {error, closed | not_listening | badarg} | no_socket.
ask_socket(Listener, Ask) ->
    Socket = accept_queue_ssl:transport(Listener),
    case accept_queue_backend:is_socket(Socket) of
        true -> with_descriptor(Socket, Ask);
        false -> no_socket
    end.

%% The sockets of this VM behind a listener. Those of a handle are found by its cookies.
-spec sockets(accept_queue:listener()) ->
    {ok, [accept_queue_backend:socket()]} | {error, accept_queue:reason() | badarg}.
sockets(Listener) ->
    case resolved(Listener) of
        {sockets, Sockets} -> {ok, Sockets};
        {entries, Entries} -> {ok, [Socket || #{socket := Socket} <- Entries, Socket =/= undefined]};
        {error, _} = Error -> Error
    end.

%% The registry's entry of each socket of this VM behind a listener.
-spec entries(accept_queue:listener()) ->
    {ok, [accept_queue_registry:entry()]} | {error, accept_queue:reason() | badarg}.
entries(Listener) ->
    case resolved(Listener) of
        {entries, Entries} ->
            {ok, Entries};
        {sockets, _} ->
            case open(Listener) of
                {ok, Handle} -> entries(Handle);
                {error, _} = Error -> Error
            end;
        {error, _} = Error ->
            Error
    end.

%% Every listener of this VM, ordered by address.
-spec all() -> {ok, [accept_queue:listed()]} | {error, accept_queue:reason()}.
all() ->
    case accept_queue_registry:listeners() of
        {ok, Listeners} ->
            Depths = [{Entry, queue(Entry, Shown)} || {Entry, Shown} <- Listeners],
            case [Error || {_, {error, Reason} = Error} <- Depths, not lists:member(Reason, ?GONE)] of
                [] -> {ok, lists:sort(fun by_address/2, [row(Entry, Depth) || {Entry, {ok, Depth}} <- Depths])};
                [Error | _] -> Error
            end;
        {error, _} = Error ->
            Error
    end.

%% Which addresses the term means, where it says so itself; or the one name of `accept_queue_naming'.
-spec matches(accept_queue:listener()) -> {ok, fun((accept_queue:address()) -> boolean())} | no_address | {error, badarg}.
matches({port, Port}) when is_integer(Port), Port > 0, Port =< 65535 ->
    {ok, fun(Address) -> element(2, Address) =:= Port end};
matches({local, Name}) when is_binary(Name) ->
    {ok, fun(Address) -> Address =:= {local, Name} end};
matches({local, Path}) when is_list(Path) ->
    %% As gen_tcp does it.
    case unicode:characters_to_binary(Path, unicode, file:native_name_encoding()) of
        Name when is_binary(Name) -> matches({local, Name});
        _ -> {error, badarg}
    end;
matches({Ip, Port}) when is_tuple(Ip), is_integer(Port), Port > 0, Port =< 65535 ->
    %% A link-local address without its scope means every scope.
    of_ip(Ip, fun
        ({Bound, At, _Scope}) -> {Bound, At} =:= {Ip, Port};
        (Address) -> Address =:= {Ip, Port}
    end);
matches({Ip, Port, Scope}) when is_tuple(Ip), is_integer(Port), Port > 0, Port =< 65535, is_integer(Scope) ->
    of_ip(Ip, fun(Address) -> Address =:= {Ip, Port, Scope} end);
matches({Address, {By, _}} = Name) when By =:= device; By =:= namespace; By =:= inode ->
    case matches(Address) of
        {ok, _} -> {ok, fun(Other) -> Other =:= Name end};
        _ -> {error, badarg}
    end;
matches(_) ->
    no_address.

of_ip(Ip, Matches) ->
    case inet:is_ip_address(Ip) of
        true -> {ok, Matches};
        false -> {error, badarg}
    end.

%% Calls a function with the descriptor of a socket, and asks for the descriptor before and after: a socket keeps its number for
%% as long as it is open, so in between the number was this socket's.
-spec with_descriptor(accept_queue_backend:socket(), fun((accept_queue_nif:fd()) -> Answer)) ->
    Answer | {error, closed | not_listening | badarg}.
with_descriptor(Socket, Ask) ->
    case accept_queue_backend:descriptor(Socket) of
        {ok, Fd} ->
            Answer = Ask(Fd),
            case accept_queue_backend:is_still(Socket, Fd) of
                true -> Answer;
                false -> {error, closed}
            end;
        {error, _} = Error ->
            Error
    end.

resolved(Listener) ->
    case accept_queue_source:is_handle(Listener) of
        true -> handle(Listener);
        false -> resolve(Listener)
    end.

resolve({ranch, Ref}) ->
    case accept_queue_ranch:sockets(Ref) of
        %% A supervisor that is stuck must not hide its listener: the registry knows the sockets that it owns.
        {error, timeout} ->
            select(fun(#{socket := Socket, cookie := Cookie}) -> accept_queue_framework:server(Socket, Cookie) =:= {ranch, Ref} end);
        Answer -> Answer
    end;
resolve(Term) ->
    case matches(Term) of
        {ok, Matches} -> bound(Matches);
        {error, badarg} -> {error, badarg};
        no_address -> transport(accept_queue_ssl:transport(Term))
    end.

transport(Socket) ->
    case accept_queue_backend:is_socket(Socket) of
        true -> {sockets, [Socket]};
        false -> {error, badarg}
    end.

bound(Matches) ->
    select(fun(Entry) -> lists:any(Matches, accept_queue_naming:names(Entry)) end).

handle(Handle) ->
    Cookies = accept_queue_source:cookies(Handle),
    select(fun(#{cookie := Cookie}) -> lists:member(Cookie, Cookies) end).

select(Matches) ->
    case accept_queue_registry:listeners() of
        {ok, Listeners} ->
            case [Entry || {Entry, _Shown} <- Listeners, Matches(Entry)] of
                [] -> {error, not_found};
                Entries -> {entries, Entries}
            end;
        {error, _} = Error ->
            Error
    end.

joined(Opened) ->
    case [Handle || {ok, Handle} <- Opened] of
        [Handle] when length(Opened) =:= 1 -> {ok, Handle};
        Handles when length(Handles) =:= length(Opened) -> {ok, accept_queue_source:join(Handles)};
        _ -> hd([Error || {error, _} = Error <- Opened])
    end.

row(#{socket := Socket, cookie := Cookie} = Entry, Depth) ->
    Row = maps:merge(maps:without([fd, handle, queue], Entry), Depth),
    {_Interface, Namespace} = accept_queue_naming:place(Entry),
    Row#{
        namespace => Namespace,
        owner => owner(Socket),
        server => server(Socket, Cookie),
        waiting_acceptors => waiting(Socket, Cookie, Depth)
    }.

queue(#{handle := Handle}, undefined) ->
    accept_queue:depth(Handle);
queue(_Entry, #{} = Shown) ->
    {ok, maps:with([queued, limit, drops], Shown)}.

%% A descriptor that an Erlang socket has left has no server any more, whatever is remembered of it.
server(undefined, _) -> undefined;
server(Socket, Cookie) -> accept_queue_framework:server(Socket, Cookie).

owner(undefined) -> undefined;
owner(Socket) -> accept_queue_backend:owner(Socket).

waiting(undefined, _Cookie, _Depth) -> undefined;
waiting(Socket, Cookie, Depth) -> accept_queue_acceptors:count(Socket, Cookie, Depth).

by_address(#{address := One}, #{address := Two}) ->
    One =< Two.
