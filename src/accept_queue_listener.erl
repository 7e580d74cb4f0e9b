%% @private
%% Whatever an owner has in hand -> a handle, and the listeners of this VM.
-module(accept_queue_listener).

-export([open/1, all/0]).

%% The descriptor is looked up twice. Between the two, the number can only have meant this socket: a port keeps its
%% number for as long as it is open.
-spec open(accept_queue:listener()) -> {ok, accept_queue:handle()} | {error, accept_queue:reason() | badarg}.
open(Port) when is_port(Port) ->
    maybe_open(Port, accept_queue_inet:descriptor(Port));
open(_) ->
    {error, badarg}.

maybe_open(Port, {ok, Fd}) ->
    case {accept_queue_nif:open(Fd), accept_queue_inet:descriptor(Port)} of
        {Opened, {ok, Fd}} -> Opened;
        {_, {error, _} = Error} -> Error;
        {_, {ok, _Other}} -> {error, closed}
    end;
maybe_open(_Port, {error, _} = Error) ->
    Error.

%% Every listener of this VM. The kernel says who listens, the cookies which of them are ours.
-spec all() -> {ok, [accept_queue:listed()]} | {error, accept_queue:reason()}.
all() ->
    case accept_queue_nif:listening() of
        {ok, Listening} ->
            Owned = owned(),
            Ours = [describe(Row, Port) || #{cookie := Cookie} = Row <- Listening, {ok, Port} <- [find(Cookie, Owned)]],
            {ok, lists:sort(fun by_address/2, Ours)};
        {error, _} = Error ->
            Error
    end.

find(Cookie, Owned) ->
    maps:find(Cookie, Owned).

by_address(#{address := One}, #{address := Two}) ->
    One =< Two.

owned() ->
    Found = [{Port, Fd} || Port <- accept_queue_inet:ports(), {ok, Fd} <- [accept_queue_inet:descriptor(Port)]],
    {Ports, Fds} = lists:unzip(Found),
    Cookies = accept_queue_nif:cookies(Fds),
    %% A port that was closed meanwhile may have left its number to another.
    maps:from_list([
        {Cookie, Port}
     || {Port, Fd, Cookie} <- lists:zip3(Ports, Fds, Cookies),
        Cookie =/= undefined,
        accept_queue_inet:descriptor(Port) =:= {ok, Fd}
    ]).

describe(Row, Port) ->
    Owner = accept_queue_inet:owner(Port),
    Row#{
        socket => Port,
        owner => Owner,
        server => server(Owner),
        waiting_acceptors => length(accept_queue_inet:waiting(Port))
    }.

%% What a person would call the process that owns the socket.
server(undefined) ->
    undefined;
server(Pid) ->
    case erlang:process_info(Pid, [registered_name, dictionary, initial_call]) of
        [{registered_name, Name}, _, _] when is_atom(Name) ->
            Name;
        [_, {dictionary, Dictionary}, {initial_call, Initial}] ->
            proplists:get_value('$initial_call', Dictionary, Initial);
        undefined ->
            undefined
    end.
