%% @private
%% How {@link accept_queue} makes a reading: from the term of a caller to a handle or a descriptor, and from there to the source.
-module(accept_queue_reading).

-export([make/1, with_handle/2, open/1, depth/1, resize/2, of_connection/2]).

-type unread() :: {error, accept_queue:reason() | badarg}.

%% Makes a reading that may find no library, or a reference that is no handle of it.
-spec make(fun(() -> Answer)) -> Answer | {error, not_loaded | unsupported | badarg}.
make(Read) ->
    try
        Read()
    catch
        error:not_loaded ->
            case os:type() of
                {unix, linux} -> {error, not_loaded};
                _ -> {error, unsupported}
            end;
        error:badarg:Stack ->
            case Stack of
                [{Native, _, _, _} | _] when Native =:= accept_queue_nif; Native =:= accept_queue_reader -> {error, badarg};
                _ -> erlang:raise(error, badarg, Stack)
            end;
        error:undef:Stack ->
            case Stack of
                %% A release upgrade is just replacing the module.
                [{accept_queue_nif, _, _, _} | _] -> {error, not_loaded};
                _ -> erlang:raise(error, undef, Stack)
            end
    end.

-spec with_handle(accept_queue:listener(), fun((accept_queue:handle()) -> Answer)) -> Answer | unread().
with_handle(Listener, Read) ->
    case accept_queue_listener:open(Listener) of
        {ok, Handle} -> Read(Handle);
        {error, _} = Error -> Error
    end.

%% A handle that reads.
-spec open(accept_queue:listener()) -> {ok, accept_queue:handle()} | unread().
open(Listener) ->
    case accept_queue_listener:ask_socket(Listener, fun accept_queue_source:open/1) of
        no_socket ->
            with_handle(Listener, fun if_it_reads/1);
        {ok, Handle} ->
            %% What has just been found to listen has a depth where a dump is not needed for it.
            case accept_queue_source:has_first_tier(Handle) of
                true -> {ok, Handle};
                false -> if_it_reads(Handle)
            end;
        {error, _} = Error ->
            Error
    end.

if_it_reads(Handle) ->
    case depth_of_handle(Handle) of
        {ok, _} -> {ok, Handle};
        {error, _} = Error -> Error
    end.

-spec depth(accept_queue:listener()) -> {ok, accept_queue:depth()} | unread().
depth(Port) when is_port(Port) ->
    case accept_queue_source:source() of
        fallback ->
            accept_queue_inet:depth(Port);
        _ ->
            case make(fun() -> depth_of_listener(Port) end) of
                {error, not_loaded} -> accept_queue_inet:depth(Port);
                Answer -> Answer
            end
    end;
depth(Listener) ->
    case accept_queue_source:is_handle(Listener) of
        true -> depth_of_handle(Listener);
        false -> depth_of_listener(Listener)
    end.

%% A single socket needs no handle.
depth_of_listener(Listener) ->
    case accept_queue_listener:ask_socket(Listener, fun accept_queue_source:depth_at/1) of
        NotSo when NotSo =:= no_socket; NotSo =:= {error, second_tier} -> with_handle(Listener, fun depth_of_handle/1);
        Answer -> as_map(Answer)
    end.

%% The path of a handle that is read again and again: it allocates the answer alone.
depth_of_handle(Handle) ->
    try
        as_map(accept_queue_source:depth(Handle))
    catch
        %% A reference that is no handle.
        error:badarg -> {error, badarg}
    end.

as_map({ok, {Queued, Limit, Drops}}) -> {ok, #{queued => Queued, limit => Limit, drops => Drops}};
as_map({error, _} = Error) -> Error.

-spec resize(accept_queue:listener(), Backlog :: non_neg_integer()) ->
    {ok, #{requested := non_neg_integer(), limit := non_neg_integer()}} | unread().
resize(Listener, Backlog) ->
    with_handle(Listener, fun(Handle) ->
        case accept_queue_source:resize(Handle, Backlog) of
            {ok, Limit} -> {ok, #{requested => Backlog, limit => Limit}};
            {error, _} = Error -> Error
        end
    end).

%% Asks about an accepted connection by its descriptor.
-spec of_connection(accept_queue:connection(), fun((accept_queue_nif:fd()) -> Answer)) -> Answer | unread().
of_connection(Connection, Ask) ->
    case accept_queue_listener:ask_socket(Connection, Ask) of
        no_socket -> {error, badarg};
        Answer -> Answer
    end.
