#!/usr/bin/env escript
%% In one line: the node `shop' of the documents, whose acceptors on port 8080 all wait for an answer, beside a pool that is well
%%
%%     examples/run shop [STUCK_PORT WELL_PORT]
%%
%% What the pages show, to try on your own screen: node shop@localhost, four acceptors that wait for an answer that does not
%% come, 31 clients in a queue with limit 30, of which 12 have left, and ten that try to connect. All of it is on loopback, so
%% your screen shows 127.0.0.1 where a page shows 0.0.0.0. examples/run gives the node its name, on loopback too; SHOP_NODE is
%% another one.
-module(shop_example).
-mode(compile).

-export([main/1]).

-define(BACKLOG, 30).
-define(ACCEPTORS, 4).
-define(LEAVE, 12).
-define(KNOCK, 10).
-define(DEADLINE_MS, 30000).

main([]) ->
    main(["8080", "8081"]);
main([Stuck, Well]) ->
    case {number(Stuck), number(Well)} of
        {{ok, StuckPort}, {ok, WellPort}} -> open(StuckPort, WellPort);
        _ -> refuse("a port is a number from 0 to 65535; 0 takes any that is free", [])
    end;
main(_) ->
    refuse("usage: examples/run shop [STUCK_PORT WELL_PORT]", []).

number(Text) ->
    case string:to_integer(Text) of
        {Port, ""} when Port >= 0, Port =< 65535 -> {ok, Port};
        _ -> error
    end.

open(StuckPort, WellPort) ->
    {ok, _} = application:ensure_all_started(accept_queue),
    Self = self(),
    %% The listeners are called by the name of the process that owns them.
    _ = spawn_link(fun() ->
        true = register(shop, self()),
        Self ! {shop, listen(StuckPort, ?BACKLOG), listen(WellPort, 1024)},
        timer:sleep(infinity)
    end),
    {Stuck, Well} =
        receive
            {shop, Listener, Other} -> {Listener, Other}
        end,
    Clients = fill(Stuck, Well),
    show(node(), port(Stuck), port(Well)),
    timer:sleep(infinity),
    %% They live as long as this process, whose they are.
    Clients.

listen(Port, Backlog) ->
    Options = [{ip, {127, 0, 0, 1}}, {active, false}, {reuseaddr, true}, {backlog, Backlog}],
    case gen_tcp:listen(Port, Options) of
        {ok, Listener} ->
            Listener;
        {error, Reason} ->
            refuse("cannot listen on 127.0.0.1:~b: ~s. Other ports: examples/run shop 18080 18081", [Port, inet:format_error(Reason)])
    end.

%% Done when the queue is full, and the monitor says that something is failing.
fill(Stuck, Well) ->
    Stock = spawn_link(fun() -> timer:sleep(infinity) end),
    _ = [spawn_link(fun() -> ask(Stuck, Stock) end) || _ <- lists:seq(1, ?ACCEPTORS)],
    _ = [spawn_link(fun() -> serve(Well) end) || _ <- lists:seq(1, 10)],
    %% The application has seen the pool in accept, as that of a server that was well before.
    eventually("the acceptors are in accept", fun() ->
        case accept_queue:acceptors(Stuck) of
            {ok, #{waiting_count := ?ACCEPTORS}} -> true;
            _ -> false
        end
    end),
    At = port(Stuck),
    Served = clients(?ACCEPTORS, At),
    eventually("the acceptors have a client each", fun() ->
        case accept_queue:acceptors(Stuck) of
            {ok, #{waiting_count := 0, busy := Busy}} -> length(Busy) =:= ?ACCEPTORS;
            _ -> false
        end
    end),
    Waiting = clients(?BACKLOG + 1, At),
    eventually("the queue is full", fun() ->
        {ok, #{queued := Queued}} = accept_queue:depth(Stuck),
        Queued =:= ?BACKLOG + 1
    end),
    [ok = gen_tcp:close(Client) || Client <- lists:sublist(Waiting, ?LEAVE)],
    _ = [spawn_link(fun() -> knock(At) end) || _ <- lists:seq(1, ?KNOCK)],
    eventually("accept_queue:health() is failing", fun() ->
        case accept_queue:health() of
            {failing, _} -> true;
            _ -> false
        end
    end),
    Served ++ Waiting.

%% An acceptor that asks for something before it accepts again, and waits for the answer for ever. A warning, not a model.
ask(Listener, Stock) ->
    {ok, Client} = gen_tcp:accept(Listener),
    gen_server:call(Stock, {reserve, Client}, infinity),
    ask(Listener, Stock).

serve(Listener) ->
    {ok, Client} = gen_tcp:accept(Listener),
    ok = gen_tcp:close(Client),
    serve(Listener).

clients(Number, Port) ->
    [
        begin
            {ok, Client} = gen_tcp:connect({127, 0, 0, 1}, Port, [{active, false}], ?DEADLINE_MS),
            Client
        end
     || _ <- lists:seq(1, Number)
    ].

%% A client that does not get in. The kernel drops its SYN, and it tries again: the drops grow.
knock(Port) ->
    case gen_tcp:connect({127, 0, 0, 1}, Port, [{active, false}], 10000) of
        {ok, _} -> timer:sleep(infinity);
        {error, _} -> knock(Port)
    end.

show(Node, Stuck, Well) ->
    Program = program(),
    [Name, _] = string:split(atom_to_list(Node), "@"),
    io:format(
        "node ~s: no process accepts on 127.0.0.1:~b, and on 127.0.0.1:~b all is well. Ctrl-C ends it.~n"
        "In another terminal:~n~n"
        "  ~s list --node ~s~n"
        "  ~s top --node ~s~n"
        "  ~s check --node ~s~n"
        "  ~s diagnose --node ~s~n"
        "  erl -sname me@localhost -remsh ~s       # and there accept_queue:i().~n~n",
        [Node, Stuck, Well, Program, Name, Program, Name, Program, Name, Program, Name, Node]
    ).

%% As it is called from here.
program() ->
    Built = "target/release/accept-queue",
    Root = filename:dirname(filename:dirname(filename:absname(escript:script_name()))),
    Absolute = filename:join(Root, Built),
    case [Path || os:find_executable("accept-queue") =:= false, Path <- [Built, Absolute], filelib:is_regular(Path)] of
        [Path | _] -> Path;
        [] -> "accept-queue"
    end.

port(Listener) ->
    {ok, Port} = inet:port(Listener),
    Port.

eventually(What, Is) ->
    eventually(What, Is, erlang:monotonic_time(millisecond) + ?DEADLINE_MS).

eventually(What, Is, Deadline) ->
    case Is() of
        true ->
            ok;
        false ->
            erlang:monotonic_time(millisecond) < Deadline orelse refuse("not within ~b s: ~s", [?DEADLINE_MS div 1000, What]),
            timer:sleep(20),
            eventually(What, Is, Deadline)
    end.

-spec refuse(string(), [term()]) -> no_return().
refuse(Format, Values) ->
    io:format(standard_error, "shop: " ++ Format ++ "~n", Values),
    %% Also from the process that owns the listeners.
    erlang:halt(1).
