#!/usr/bin/env escript
%% In one line: an acceptor that skips clients who left while they waited, and counts how long the others did
%%
%%     examples/run skip_the_dead [PORT [WARM_UP_MS]]
%%
%% It listens at once and accepts WARM_UP_MS later (3000), as a server does that fills its caches first: clients that come meanwhile
%% wait in the kernel's queue, and many not for long. In 2009 it was remarked that a server that begins to accept again
%% first works for clients that are long gone. `accept_queue:peer_closed/1' and `wait_ms/1' are one system call each, and are
%% asked before anything is written.
%%
%% A client that has shut down only its sending side and still reads is skipped too: where such clients exist, do not do this.
%%
%% What it serves: a greeting; to a client that sends `histogram', how long the served clients had waited.
-module(skip_the_dead).
-mode(compile).

-export([main/1]).

%% Upper bounds in milliseconds.
-define(BOUNDS, [1, 10, 100, 1000, 10000, infinity]).

main([]) ->
    main(["8080"]);
main([Port]) ->
    main([Port, "3000"]);
main([Port, WarmUpMs]) ->
    {ok, _} = application:ensure_all_started(accept_queue),
    Options = [binary, {packet, line}, {active, false}, {ip, {127, 0, 0, 1}}, {reuseaddr, true}, {backlog, 128}],
    {ok, Listener} = gen_tcp:listen(list_to_integer(Port), Options),
    {ok, At} = inet:port(Listener),
    io:format("an acceptor listens on 127.0.0.1:~b, and accepts in ~s ms~n", [At, WarmUpMs]),
    timer:sleep(list_to_integer(WarmUpMs)),
    %% One place for each bound, and the last for those who were skipped.
    accept(Listener, counters:new(length(?BOUNDS) + 1, [write_concurrency])).

accept(Listener, Counters) ->
    {ok, Socket} = gen_tcp:accept(Listener),
    case accept_queue:peer_closed(Socket) of
        {ok, true} ->
            ok = counters:add(Counters, length(?BOUNDS) + 1, 1),
            ok = gen_tcp:close(Socket),
            io:format("skipped a client that has left~n");
        {ok, false} ->
            {ok, Ms} = accept_queue:wait_ms(Socket),
            ok = counters:add(Counters, place(Ms, ?BOUNDS, 1), 1),
            Server = spawn_link(fun() -> receive yours -> greet(Socket, Counters) end end),
            ok = gen_tcp:controlling_process(Socket, Server),
            Server ! yours
    end,
    accept(Listener, Counters).

%% Every atom is more than any number.
place(Ms, [Bound | _], Place) when Ms =< Bound -> Place;
place(Ms, [_ | Bounds], Place) -> place(Ms, Bounds, Place + 1).

greet(Socket, Counters) ->
    _ = gen_tcp:send(Socket, <<"Hello.\n">>),
    case gen_tcp:recv(Socket, 0) of
        {ok, <<"histogram", _/binary>>} -> gen_tcp:send(Socket, histogram(Counters));
        _ -> ok
    end,
    gen_tcp:close(Socket).

histogram(Counters) ->
    Bounds = lists:zip(?BOUNDS, lists:seq(1, length(?BOUNDS))),
    [
        [io_lib:format("waited up to ~p ms: ~b~n", [Bound, counters:get(Counters, Place)]) || {Bound, Place} <- Bounds],
        io_lib:format("skipped: ~b~n", [counters:get(Counters, length(?BOUNDS) + 1)])
    ].
