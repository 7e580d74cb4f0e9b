%% @private
%% Listeners of esockd (EMQX). The only module that knows that `esockd_listener' or `esockd_socket_listener' owns the socket, beside
%% `esockd_acceptor_sup' below `esockd_listener_sup', whose id below `esockd_sup' is `{listener_sup, {Protocol, ListenOn}}'.
%%
%% The pool is read from the dictionaries and links of these processes, the name is asked of `esockd_sup'.
-module(accept_queue_esockd).
-behaviour(accept_queue_framework).

-export([named/1, whole_name/2, pool/3, text/1]).

-define(ACCEPTOR_SUPERVISOR, {supervisor, esockd_acceptor_sup, 1}).
%% The second up to 5.9.
-define(ACCEPTORS, [{esockd_acceptor_fsm, init, 1}, {esockd_acceptor, init, 1}]).

-spec named(accept_queue_process:kin()) -> accept_queue:server() | undefined.
named(#{initial_call := {Listener, init, 1}, ancestors := [Above | _]}) when
    is_pid(Above), Listener =:= esockd_listener orelse Listener =:= esockd_socket_listener
->
    {esockd, undefined};
named(_) ->
    undefined.

-spec whole_name(accept_queue:server(), accept_queue_process:kin()) -> {ok, accept_queue:server()} | {error, timeout}.
whole_name(Named, #{ancestors := [Above | _]}) ->
    accept_queue_framework:name_within(Named, fun() ->
        [Protocol | _] = [Protocol || {{listener_sup, {Protocol, _}}, Pid, _, _} <- supervisor:which_children(esockd_sup), Pid =:= Above],
        {esockd, Protocol}
    end).

-spec pool(accept_queue:server(), pid() | undefined, accept_queue_backend:socket()) -> {ok, [pid()]} | {error, not_found}.
pool({esockd, _}, Owner, _Socket) ->
    case accept_queue_process:kin(Owner) of
        #{ancestors := [Above | _]} ->
            {ok, [
                Acceptor
             || Supervisor <- accept_queue_process:linked(Above, [?ACCEPTOR_SUPERVISOR]),
                Acceptor <- accept_queue_process:linked(Supervisor, ?ACCEPTORS)
            ]};
        _ ->
            {error, not_found}
    end;
pool(_, _, _) ->
    {error, not_found}.

-spec text(accept_queue:server()) -> iodata() | undefined.
text({esockd, Protocol}) -> accept_queue_framework:text("esockd", Protocol);
text(_) -> undefined.
