%% @private
%% Listeners of Thousand Island, alone, under Bandit and under Phoenix. The only module that knows how they are supervised, since 0.5:
%% `ThousandIsland.Server' with `ThousandIsland.Listener', the owner of the sockets, and `ThousandIsland.AcceptorPoolSupervisor',
%% under which each `ThousandIsland.AcceptorSupervisor' has one `ThousandIsland.Acceptor'.
%%
%% The pool is read from the dictionaries and links of these processes. A supervisor that is stuck does not hide it.
-module(accept_queue_thousand_island).
-behaviour(accept_queue_framework).

-export([named/1, whole_name/2, pool/3, text/1]).

-define(LISTENER, {'Elixir.ThousandIsland.Listener', init, 1}).
-define(POOL_SUPERVISOR, {supervisor, 'Elixir.ThousandIsland.AcceptorPoolSupervisor', 1}).
-define(ACCEPTOR_SUPERVISOR, {supervisor, 'Elixir.ThousandIsland.AcceptorSupervisor', 1}).
-define(ACCEPTOR, {'Elixir.ThousandIsland.Acceptor', run, 1}).
-define(ENDPOINT, {supervisor, 'Elixir.Phoenix.Endpoint.Supervisor', 1}).

%% `{phoenix, Endpoint}', `{bandit, Plug}' or `{thousand_island, Name}'; of a plug or a handler the whole name has it.
-spec named(accept_queue_process:kin()) -> accept_queue:server() | undefined.
named(#{initial_call := ?LISTENER, ancestors := [Server | Above], label := Label}) ->
    case endpoint(Above) of
        undefined -> {thousand_island, by_label(name(Server), Label)};
        Endpoint -> {phoenix, Endpoint}
    end;
named(_) ->
    undefined.

%% Phoenix starts a server for each scheme, below the supervisor that has the endpoint's name, where Bandit.PhoenixAdapter gives it the
%% id `{Endpoint, Scheme}'. `MyAppWeb.Endpoint.HTTP' is what the listener is called under cowboy. Without Phoenix the name is the
%% server's own, or that of the plug or the handler, which stand in the arguments of an acceptor.
-spec whole_name(accept_queue:server(), accept_queue_process:kin()) -> {ok, accept_queue:server()} | {error, timeout}.
whole_name({phoenix, Endpoint} = Named, #{ancestors := [Server | _]}) ->
    accept_queue_framework:name_within(Named, fun() ->
        [Scheme | _] = [Scheme || {{_, Scheme}, Pid, _, _} <- supervisor:which_children(Endpoint), is_atom(Scheme), Pid =:= pid(Server)],
        {phoenix, list_to_atom(atom_to_list(Endpoint) ++ "." ++ string:uppercase(atom_to_list(Scheme)))}
    end);
whole_name({thousand_island, _} = Named, #{ancestors := [Server | _]}) ->
    case {name(Server), acceptors_supervisors(Server)} of
        {undefined, [First | _]} ->
            accept_queue_framework:name_within(Named, fun() -> configured(acceptor_arguments(First), Named) end);
        _ ->
            {ok, Named}
    end.

%% Where one server has several sockets, nothing but the acceptors' arguments says which of them accepts from which: not found.
-spec pool(accept_queue:server(), pid() | undefined, accept_queue_backend:socket()) -> {ok, [pid()]} | {error, not_found}.
pool({Framework, _}, Owner, _Socket) when Framework =:= phoenix; Framework =:= bandit; Framework =:= thousand_island ->
    case {accept_queue_process:kin(Owner), accept_queue_process:ports(Owner)} of
        {#{initial_call := ?LISTENER, ancestors := [Server | _]}, Ports} when length(Ports) < 2 ->
            {ok, [
                Acceptor
             || Supervisor <- acceptors_supervisors(Server), Acceptor <- accept_queue_process:linked(Supervisor, [?ACCEPTOR])
            ]};
        _ ->
            {error, not_found}
    end;
pool(_, _, _) ->
    {error, not_found}.

-spec text(accept_queue:server()) -> iodata() | undefined.
text({phoenix, Endpoint}) -> accept_queue_process:module_name(Endpoint);
text({bandit, Plug}) -> accept_queue_framework:text("bandit", Plug);
text({thousand_island, Name}) -> accept_queue_framework:text("thousand_island", Name);
text(_) -> undefined.

endpoint([Above | _]) when is_atom(Above) ->
    case accept_queue_process:kin(whereis(Above)) of
        #{initial_call := ?ENDPOINT} -> Above;
        _ -> undefined
    end;
endpoint(_) ->
    undefined.

%% Of the option `name' of the supervisor.
name(Server) when is_atom(Server) -> Server;
name(_) -> undefined.

%% Since 1.5, on OTP 27: `{thousand_island, listener, {Port, Handler}}'.
by_label(undefined, {thousand_island, listener, {_Port, Handler}}) when is_atom(Handler) -> Handler;
by_label(Name, _) -> Name.

acceptors_supervisors(Server) ->
    [
        Supervisor
     || Pool <- accept_queue_process:linked(pid(Server), [?POOL_SUPERVISOR]),
        Supervisor <- accept_queue_process:linked(Pool, [?ACCEPTOR_SUPERVISOR])
    ].

pid(Server) when is_pid(Server) -> Server;
pid(Server) when is_atom(Server) -> whereis(Server).

%% `{ServerPid, SupervisorPid, Config}' up to 1.3, with the acceptor's number before `Config' since.
acceptor_arguments(Supervisor) ->
    {ok, #{start := {_, _, [Arguments]}}} = supervisor:get_childspec(Supervisor, child_id(Supervisor)),
    Arguments.

%% `acceptor' since 1.0, the module before.
child_id(Supervisor) ->
    [Id | _] = [Id || {Id, _, worker, _} <- supervisor:which_children(Supervisor), Id =/= connection_sup],
    Id.

configured(Arguments, Named) ->
    case element(tuple_size(Arguments), Arguments) of
        #{handler_options := #{plug := {Plug, _}}} when is_atom(Plug) -> {bandit, Plug};
        #{handler_module := Handler} when is_atom(Handler) -> {thousand_island, Handler};
        _ -> Named
    end.
