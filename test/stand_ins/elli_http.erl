%% Stands in for the module of elli 3.3, which Debian does not carry: the frames of an acceptor, and that it becomes the connection.
-module(elli_http).

-export([accept/4, keepalive_loop/3]).

accept(Server, ListenSocket, Options, Callback) ->
    put('$initial_call', {?MODULE, accept, 4}),
    case gen_tcp:accept(ListenSocket) of
        {ok, Socket} ->
            Server ! accepted,
            ?MODULE:keepalive_loop(Socket, Options, Callback);
        {error, closed} ->
            ok
    end.

keepalive_loop(_Socket, _Options, _Callback) ->
    receive stop -> ok end.
