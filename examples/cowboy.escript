#!/usr/bin/env escript
%% In one line: cowboy with /health for a readiness probe, which is answered while the pool of customers is stuck
%%
%%     examples/run cowboy [PORT [HEALTH_PORT]]
%%
%% /health answers 200 while all is well or merely worse than it should be, and 503 while a listener is stuck or overflows, with the
%% reasons as JSON, from memory, in 1 to 2 microseconds.
%%
%% It has a listener of its own. Behind the pool that is stuck it would wait with the customers: the probe would time out, which
%% is an answer too, but one without reasons.
%%
%% What it serves: `/' with a greeting, `/health' on the second port.
-module(cowboy_example).
-mode(compile).

-export([main/1, init/2]).

main([]) ->
    main(["8080"]);
main([Port]) ->
    main([Port, "8081"]);
main([Port, HealthPort]) ->
    [{ok, _} = application:ensure_all_started(Application) || Application <- [accept_queue, cowboy]],
    %% Two connections at a time, so that it is easily brought to its limit.
    Shop = listen(shop, Port, #{num_acceptors => 1, max_connections => 2}, [{"/", ?MODULE, greeting}]),
    Health = listen(health, HealthPort, #{num_acceptors => 2}, [{"/health", ?MODULE, health}]),
    io:format("cowboy listens on http://127.0.0.1:~b/, and http://127.0.0.1:~b/health~n", [Shop, Health]),
    timer:sleep(infinity).

listen(Ref, Port, Options, Routes) ->
    Socket = [{ip, {127, 0, 0, 1}}, {port, list_to_integer(Port)}],
    Dispatch = cowboy_router:compile([{'_', Routes}]),
    %% One who has connected and asks for nothing holds a place for a minute.
    Protocol = #{env => #{dispatch => Dispatch}, request_timeout => 60000},
    {ok, _} = cowboy:start_clear(Ref, Options#{socket_opts => Socket}, Protocol),
    ranch:get_port(Ref).

%% The handler.

init(Request, greeting) ->
    {ok, cowboy_req:reply(200, #{<<"content-type">> => <<"text/plain">>}, <<"Hello.\n">>, Request), greeting};
init(Request, health) ->
    {Status, Health, Reasons} =
        case accept_queue:health() of
            ok -> {200, "ok", []};
            {degraded, Why} -> {200, "degraded", Why};
            {failing, Why} -> {503, "failing", Why}
        end,
    Headers = #{<<"content-type">> => <<"application/json">>, <<"cache-control">> => <<"no-store">>},
    Json = ["{\"health\":\"", Health, "\",\"reasons\":[", lists:join($,, [json(Reason) || Reason <- Reasons]), "]}\n"],
    {ok, cowboy_req:reply(Status, Headers, Json, Request), health}.

%% OTP has a module for JSON from 27 on. Only a Unix path may have a character that wants escaping.
json({unreadable, Address, _Error}) ->
    json({unreadable, Address});
json({Condition, Listener}) ->
    ["{\"condition\":\"", atom_to_list(Condition), "\",\"listener\":\"", lists:map(fun escaped/1, address(Listener)), "\"}"];
json(Reason) ->
    ["{\"condition\":\"", atom_to_list(Reason), "\",\"listener\":null}"].

address({local, Path}) -> "unix:" ++ binary_to_list(Path);
address({Ip, Port}) when tuple_size(Ip) =:= 4 -> inet:ntoa(Ip) ++ ":" ++ integer_to_list(Port);
address({Ip, Port}) when tuple_size(Ip) =:= 8 -> "[" ++ inet:ntoa(Ip) ++ "]:" ++ integer_to_list(Port);
address({Ip, Port, _Scope}) -> address({Ip, Port});
address(Other) -> lists:flatten(io_lib:format("~0tp", [Other])).

escaped(Byte) when Byte < $\s; Byte > $~; Byte =:= $"; Byte =:= $\\ -> io_lib:format("\\u~4.16.0b", [Byte]);
escaped(Byte) -> Byte.
