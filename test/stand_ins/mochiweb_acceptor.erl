%% Stands in for the module of mochiweb 3.3, which Debian does not carry: the frames of an acceptor, and that it becomes the connection.
-module(mochiweb_acceptor).

-export([init/4]).

init(Server, Listen, Loop, Options) ->
    put('$initial_call', {?MODULE, init, 4}),
    case do_accept(Server, Listen) of
        {ok, Socket} -> call_loop(Loop, Socket, Options);
        {error, emfile} -> receive after infinity -> ok end
    end.

do_accept(Server, {emfile, _}) ->
    Server ! accepted,
    {error, emfile};
do_accept(Server, Listen) ->
    case gen_tcp:accept(Listen) of
        {ok, Socket} ->
            Server ! accepted,
            {ok, Socket};
        Other ->
            Other
    end.

call_loop(Loop, Socket, Options) ->
    Loop(Socket, Options).
