#!/usr/bin/env escript
%% In one line: four acceptors on a gen_tcp socket, and a line whenever their queue stops draining or drains again
%%
%%     examples/run gen_tcp_pool [PORT]
%%
%% Each acceptor serves its client itself, and accepts again when that one has left: the pool of many a first server. A fifth
%% client waits in the kernel's queue meanwhile, and neither it nor the server is notified. The application `accept_queue'
%% watches the socket from its start; this process subscribes to its events.
%%
%% What it serves: each line, in capitals.
-module(gen_tcp_pool).
-mode(compile).

-export([main/1]).

-define(ACCEPTORS, 4).
-define(BACKLOG, 128).

main([]) ->
    main(["8080"]);
main([Port]) ->
    {ok, _} = application:ensure_all_started(accept_queue),
    ok = accept_queue:subscribe(),
    Options = [binary, {packet, line}, {active, false}, {ip, {127, 0, 0, 1}}, {reuseaddr, true}, {backlog, ?BACKLOG}],
    {ok, Listener} = gen_tcp:listen(list_to_integer(Port), Options),
    {ok, At} = inet:port(Listener),
    _ = [spawn_link(fun() -> accept(Listener) end) || _ <- lists:seq(1, ?ACCEPTORS)],
    io:format("four acceptors listen on 127.0.0.1:~b~n", [At]),
    report(Listener).

accept(Listener) ->
    {ok, Socket} = gen_tcp:accept(Listener),
    serve(Socket),
    accept(Listener).

serve(Socket) ->
    case gen_tcp:recv(Socket, 0) of
        {ok, Line} ->
            _ = gen_tcp:send(Socket, string:uppercase(Line)),
            serve(Socket);
        {error, _} ->
            gen_tcp:close(Socket)
    end.

report(Listener) ->
    receive
        {accept_queue, raised, Condition, #{queued := Queued, limit := Limit}} ->
            {ok, #{waiting_count := Accepting}} = accept_queue:acceptors(Listener),
            io:format("~s: ~b of ~b wait, ~b of ~b accept~n", [Condition, Queued, Limit, Accepting, ?ACCEPTORS]);
        {accept_queue, cleared, Condition, #{duration_ms := Ms}} ->
            io:format("no longer ~s, after ~b ms~n", [Condition, Ms]);
        _Listener ->
            ok
    end,
    report(Listener).
