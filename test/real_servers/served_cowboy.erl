%% A service on cowboy, as one is started by hand.
-module(served_cowboy).
-behaviour(real_servers).

-export([server/2, serves/1, more/1]).
%% In the service, as cowboy's handler.
-export([start/0, init/2]).

server(Packages, _Folder) ->
    Own = filename:dirname(code:which(?MODULE)),
    Libraries = [Packages ++ "/usr/lib/erlang/lib/" | filelib:wildcard(Packages ++ "/usr/lib/rabbitmq/lib/*/plugins")],
    #{
        run => ["erl", "-sname", "cowboy@localhost", "-noinput", "-kernel", "inet_dist_use_interface", "{127,0,0,1}"] ++
            ["-pa", Own, "-s", ?MODULE_STRING, "start"],
        environment => [{"ERL_LIBS", lists:flatten(lists:join(":", Libraries))}],
        node => "cowboy@localhost",
        port => 8080,
        limit => 1024
    }.

start() ->
    {ok, _} = application:ensure_all_started(cowboy),
    Routes = cowboy_router:compile([{'_', [{"/", ?MODULE, []}]}]),
    {ok, _} = cowboy:start_clear(http, [{ip, {127, 0, 0, 1}}, {port, 8080}], #{env => #{dispatch => Routes}}),
    ok.

init(Request, State) ->
    {ok, cowboy_req:reply(200, #{}, <<"served\n">>, Request), State}.

serves(Port) ->
    http:serves(Port).

more(_) ->
    ok.
