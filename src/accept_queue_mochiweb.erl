%% @private
%% Listeners of mochiweb. The only module that knows that `mochiweb_socket_server' owns the socket and is linked to its acceptors, each of
%% which becomes the connection, when the server starts the next one.
-module(accept_queue_mochiweb).
-behaviour(accept_queue_framework).

-export([named/1, pool/3, text/1]).

-define(SERVER, {mochiweb_socket_server, init, 1}).
-define(ACCEPTORS, [{mochiweb_acceptor, init, 4}, {mochiweb_acceptor, init, 3}]).

-spec named(accept_queue_process:kin()) -> accept_queue:server() | undefined.
named(#{initial_call := ?SERVER, registered_name := Name}) -> {mochiweb, Name};
named(_) -> undefined.

%% Those that have not yet left the acceptor's code for the connection's.
-spec pool(accept_queue:server(), pid() | undefined, accept_queue_backend:socket()) -> {ok, [pid()]} | {error, not_found}.
pool({mochiweb, _}, Server, _Socket) ->
    Acceptors = [Pid || Pid <- accept_queue_process:linked(Server, ?ACCEPTORS), accept_queue_process:is_in(Pid, mochiweb_acceptor)],
    accept_queue_framework:acceptors_or_starter(Acceptors, Server);
pool(_, _, _) ->
    {error, not_found}.

-spec text(accept_queue:server()) -> iodata() | undefined.
text({mochiweb, Name}) -> accept_queue_framework:text("mochiweb", Name);
text(_) -> undefined.
