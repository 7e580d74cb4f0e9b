%% @private
%% Listeners of elli. The only module that knows that the process `elli' owns the socket and is linked to its acceptors, each of which
%% becomes the connection, when the server starts the next one.
-module(accept_queue_elli).
-behaviour(accept_queue_framework).

-export([named/1, pool/3, text/1]).

-define(SERVER, {elli, init, 1}).
-define(ACCEPTOR, {elli_http, accept, 4}).

-spec named(accept_queue_process:kin()) -> accept_queue:server() | undefined.
named(#{initial_call := ?SERVER, registered_name := Name}) -> {elli, Name};
named(_) -> undefined.

%% Those that have not yet left the acceptor's code for the connection's.
-spec pool(accept_queue:server(), pid() | undefined, accept_queue_backend:socket()) -> {ok, [pid()]} | {error, not_found}.
pool({elli, _}, Server, _Socket) ->
    Acceptors = [Pid || Pid <- accept_queue_process:linked(Server, [?ACCEPTOR]), accept_queue_process:is_at(Pid, ?ACCEPTOR)],
    accept_queue_framework:acceptors_or_starter(Acceptors, Server);
pool(_, _, _) ->
    {error, not_found}.

-spec text(accept_queue:server()) -> iodata() | undefined.
text({elli, Name}) -> accept_queue_framework:text("elli", Name);
text(_) -> undefined.
