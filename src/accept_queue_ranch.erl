%% @private
%% Listeners of ranch, 1.x and 2.x. The only module that knows where ranch keeps them: the supervisor of each in the table of
%% `ranch_server', under it `ranch_acceptors_sup', which owns the listening sockets, and whose children are the acceptors, each
%% started with its socket among its arguments: `[Socket, Transport | _]' in 1.x, `[Ref, Id, Socket, Transport | _]' in 2.x.
%%
%% ranch need not be there: its modules are called by name, and where they are missing nothing is found. Its supervisors are
%% asked from a process of its own, with a time-out: one of them may be stuck, just when the pool is asked for.
-module(accept_queue_ranch).
-behaviour(accept_queue_framework).

-export([refs/0, sockets/1, acceptors/1, info/1]).
-export([named/1, elsewhere/1, pool/3, text/1]).

-type acceptor() :: {pid() | undefined, accept_queue_backend:socket()}.

-type info() :: #{
    %% For each of its connection supervisors, in 2.x; and where it is not a limit at all, a hint.
    max_connections := non_neg_integer() | infinity,
    num_acceptors := non_neg_integer(),
    %% What `listen' was asked for.
    backlog := non_neg_integer()
}.

%% ranch_tcp:listen/1 and ranch_ssl:listen/1, all versions.
-define(DEFAULT_BACKLOG, 1024).

-spec refs() -> [Ref :: term()].
refs() ->
    [Ref || {Ref, _Supervisor} <- supervisors()].

%% Each listening socket of it, several with `num_listen_sockets'.
-spec sockets(Ref :: term()) ->
    {sockets, [accept_queue_backend:socket(), ...]} | {error, not_found | not_listening | timeout}.
sockets(Ref) ->
    case acceptors(Ref) of
        {ok, Acceptors} -> {sockets, lists:usort([Socket || {_Pid, Socket} <- Acceptors])};
        {error, _} = Error -> Error
    end.

%% Each acceptor with the socket that it is to accept from; `undefined' where one has ended and is not yet started again.
%% `not_listening': ranch:suspend_listener/1 was called.
-spec acceptors(Ref :: term()) -> {ok, [acceptor(), ...]} | {error, not_found | not_listening | timeout}.
acceptors(Ref) ->
    case lists:keyfind(Ref, 1, supervisors()) of
        {_, Supervisor} -> accept_queue_framework:within(fun() -> children(Supervisor) end);
        false -> {error, not_found}
    end.

%% The listener of which this process is the acceptors' supervisor. Asks no process: a supervisor's dictionary has its ancestors.
-spec named(accept_queue_process:kin()) -> accept_queue:server() | undefined.
named(#{ancestors := [Parent | _]}) ->
    case lists:keyfind(Parent, 2, supervisors()) of
        {Ref, _} -> {ranch, Ref};
        false -> undefined
    end;
named(_) ->
    undefined.

%% A listener may have been started with a socket that another process opened and owns (`ranch:start_listener/5' with the option
%% `socket', up to 2.x): that socket stands among the arguments of its acceptors.
-spec elsewhere(Known :: [accept_queue:server()]) -> #{accept_queue_backend:socket() => accept_queue:server()}.
elsewhere(Known) ->
    maps:from_list([
        {Socket, {ranch, Ref}}
     || Ref <- refs(), not lists:member({ranch, Ref}, Known), {sockets, Sockets} <- [sockets(Ref)], Socket <- Sockets
    ]).

%% The acceptors of this socket.
-spec pool(accept_queue:server(), pid() | undefined, accept_queue_backend:socket()) ->
    {ok, [pid()]} | {error, not_found | not_listening | timeout}.
pool({ranch, Ref}, _Owner, Socket) ->
    case acceptors(Ref) of
        {ok, Acceptors} -> {ok, [Pid || {Pid, Of} <- Acceptors, is_pid(Pid), Of =:= Socket]};
        {error, _} = Error -> Error
    end;
pool(_, _, _) ->
    {error, not_found}.

-spec text(accept_queue:server()) -> iodata() | undefined.
text({ranch, Ref}) -> ["ranch ", accept_queue_process:module_name(Ref)];
text(_) -> undefined.

-spec info(Ref :: term()) -> {ok, info()} | {error, not_found | not_listening | timeout}.
info(Ref) ->
    case acceptors(Ref) of
        {ok, Acceptors} ->
            try
                {ok, #{
                    max_connections => call(ranch_server, get_max_connections, [Ref]),
                    num_acceptors => length(Acceptors),
                    backlog => backlog(call(ranch_server, get_transport_options, [Ref]))
                }}
            catch
                %% It has been stopped since.
                error:badarg -> {error, not_found}
            end;
        {error, _} = Error ->
            Error
    end.

supervisors() ->
    case erlang:function_exported(ranch_server, get_listener_sups, 0) of
        true ->
            %% Loaded, but perhaps not started.
            try
                call(ranch_server, get_listener_sups, [])
            catch
                error:badarg -> []
            end;
        false ->
            []
    end.

children(Supervisor) ->
    case lists:keyfind(ranch_acceptors_sup, 1, supervisor:which_children(Supervisor)) of
        {_, Acceptors, _, _} when is_pid(Acceptors) ->
            {ok, [
                {pid(Pid), Socket}
             || {Id, Pid, _, _} <- supervisor:which_children(Acceptors), Socket <- socket_of(Acceptors, Id)
            ]};
        _ ->
            {error, not_listening}
    end.

pid(Pid) when is_pid(Pid) -> Pid;
pid(_RestartingOrUndefined) -> undefined.

socket_of(Supervisor, Id) ->
    case supervisor:get_childspec(Supervisor, Id) of
        {ok, #{start := {_, _, Arguments}}} ->
            Transports = [accept_queue_ssl:transport(Argument) || Argument <- Arguments],
            lists:sublist([Socket || Socket <- Transports, accept_queue_backend:is_socket(Socket)], 1);
        {error, not_found} ->
            []
    end.

%% A map with `socket_opts' in it since 1.6; before, and still taken by 1.x, the socket's options themselves.
backlog(#{} = Options) -> backlog(maps:get(socket_opts, Options, []));
backlog(Options) -> proplists:get_value(backlog, Options, ?DEFAULT_BACKLOG).

%% xref and Dialyzer need not know ranch.
call(Module, Function, Arguments) ->
    apply(Module, Function, Arguments).
