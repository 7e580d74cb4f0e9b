#!/usr/bin/env escript
%% In one line: two listeners of ranch, watched by their names with options of their own, and the status of each
%%
%%     examples/run ranch [PORT]
%%
%% `accept_queue_ranch_watcher' is in the supervision tree beside what uses ranch; nothing else is watched. A listener that
%% is started later is found within a second.
%%
%% What it serves: `status' with a line for each listener, and anything else with itself.
-module(ranch_example).
-mode(compile).

-export([main/1, start_link/3, init/1]).

-behaviour(supervisor).

main([]) ->
    main(["8080"]);
main([Port]) ->
    ok = application:load(accept_queue),
    ok = application:set_env(accept_queue, watch, none),
    [{ok, _} = application:ensure_all_started(Application) || Application <- [accept_queue, ranch]],
    {ok, _} = supervisor:start_link(?MODULE, []),
    Shop = listen(shop, list_to_integer(Port)),
    Admin = listen(admin, 0),
    io:format("ranch listens: shop on 127.0.0.1:~b, admin on 127.0.0.1:~b~n", [Shop, Admin]),
    timer:sleep(infinity).

init([]) ->
    {ok, {#{}, [accept_queue_ranch_watcher:child_spec(#{max_wait_ms => 50, stuck_ms => 2000})]}}.

listen(Ref, Port) ->
    Socket = [{ip, {127, 0, 0, 1}}, {port, Port}, {backlog, 256}],
    {ok, _} = ranch:start_listener(Ref, ranch_tcp, #{num_acceptors => 4, socket_opts => Socket}, ?MODULE, []),
    ranch:get_port(Ref).

%% The protocol.

start_link(Ref, Transport, _Options) ->
    {ok, spawn_link(fun() ->
        {ok, Socket} = ranch:handshake(Ref),
        ok = Transport:setopts(Socket, [{packet, line}]),
        serve(Socket, Transport)
    end)}.

serve(Socket, Transport) ->
    case Transport:recv(Socket, 0, infinity) of
        {ok, <<"status", _/binary>>} ->
            Lines = [line(Of) || Of <- lists:sort(maps:to_list(accept_queue_ranch_watcher:status()))],
            _ = Transport:send(Socket, Lines),
            serve(Socket, Transport);
        {ok, Line} ->
            _ = Transport:send(Socket, Line),
            serve(Socket, Transport);
        {error, _} ->
            Transport:close(Socket)
    end.

line({Ref, {ok, #{depth := #{queued := Queued, limit := Limit}, conditions := Conditions}}}) ->
    io_lib:format("~p: ~b of ~b wait, ~p~n", [Ref, Queued, Limit, Conditions]);
line({Ref, {ok, #{depth := undefined}}}) ->
    io_lib:format("~p: not read yet~n", [Ref]);
line({Ref, {error, Reason}}) ->
    io_lib:format("~p: ~p~n", [Ref, Reason]).
