%% The scene of the documentation: node `shop' listens on 8080 with backlog 30, where all four acceptors have asked for
%% something that does not come; 31 clients wait, 12 of which have left, and more knock. On 8081 all is well.
-module(shop).

-export([open/1, open_here/1, close/1]).

-define(NODE, 'shop@localhost').
-define(BACKLOG, 30).
-define(ACCEPTORS, 4).
-define(PLACES, (?BACKLOG + 1)).
-define(LEAVE, 12).
-define(KNOCK, 10).

%% Starts the node and sends it its clients; done when its monitor has said that 8080 is stuck. `Env' is the application's.
open(Env) ->
    Paths = lists:append([["-pa", Path] || Path <- code:get_path(), lists:prefix("/", Path), not lists:prefix(code:lib_dir(), Path)]),
    Port = open_port({spawn_executable, os:find_executable("erl")}, [
        {args, ["-sname", atom_to_list(?NODE), "-setcookie", atom_to_list(erlang:get_cookie()), "-noinput" | Paths]}, {env, [{"ERL_FLAGS", false}]}, exit_status, stderr_to_stdout
    ]),
    {os_pid, Pid} = erlang:port_info(Port, os_pid),
    eventually:is(true, fun() -> net_kernel:connect_node(?NODE) end),
    ok = erpc:call(?NODE, ?MODULE, open_here, [Env]),
    At = {{127, 0, 0, 1}, 8080},
    Served = sockets:clients(?ACCEPTORS, At),
    eventually:is([0], fun() -> [Accept || #{address := {_, 8080}, waiting_acceptors := Accept} <- element(2, erpc:call(?NODE, accept_queue, list, []))] end),
    Waiting = sockets:clients(?PLACES, At),
    Knocking = [sockets:dial(At) || _ <- lists:seq(1, ?KNOCK)],
    [sockets:close(Client) || Client <- lists:sublist(Waiting, ?LEAVE)],
    eventually:is(true, fun() ->
        case erpc:call(?NODE, accept_queue, health, []) of
            {failing, Reasons} -> lists:any(fun(Reason) -> lists:member(stuck, tuple_to_list(Reason)) end, Reasons);
            _ -> false
        end
    end),
    #{node => ?NODE, port => Port, pid => Pid, clients => Served ++ Waiting ++ Knocking}.

close(#{port := Port, clients := Clients}) ->
    %% Those that left are closed already.
    [socket:close(Client) || Client <- Clients],
    catch erpc:call(?NODE, erlang, halt, [0, [{flush, false}]]),
    receive
        {Port, {exit_status, _}} -> ok
    after 10000 ->
        error(shop_does_not_end)
    end.

%% On the node itself.
open_here(Env) ->
    ok = application:load(accept_queue),
    [ok = application:set_env(accept_queue, Key, Value) || {Key, Value} <- maps:to_list(Env)],
    {ok, _} = application:ensure_all_started(accept_queue),
    Self = self(),
    spawn(fun() -> register(shop, self()), Self ! {self(), listens()}, receive after infinity -> ok end end),
    receive
        {_, {Stuck, _Well}} ->
            looks:have_found(Stuck, ?ACCEPTORS)
    end.

listens() ->
    {ok, Stuck} = gen_tcp:listen(8080, [{backlog, ?BACKLOG}, {active, false}]),
    {ok, Well} = gen_tcp:listen(8081, [{backlog, 1024}, {active, false}]),
    Stock = spawn_link(fun() -> receive after infinity -> ok end end),
    [spawn_link(fun() -> asks(Stuck, Stock) end) || _ <- lists:seq(1, ?ACCEPTORS)],
    [spawn_link(fun() -> serves(Well) end) || _ <- lists:seq(1, 10)],
    {Stuck, Well}.

asks(Listener, Stock) ->
    {ok, Client} = gen_tcp:accept(Listener),
    gen_server:call(Stock, {reserve, Client}, infinity),
    asks(Listener, Stock).

serves(Listener) ->
    {ok, Client} = gen_tcp:accept(Listener),
    ok = gen_tcp:close(Client),
    serves(Listener).
