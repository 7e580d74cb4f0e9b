%% RabbitMQ, the message broker: no plugins, AMQP on its usual port. The application is also loaded into the node while it runs.
-module(served_rabbitmq).
-behaviour(real_servers).

-include_lib("stdlib/include/assert.hrl").

-export([server/2, serves/1, more/1]).

-define(NODE, 'rabbit@localhost').
-define(PORT, 5672).
%% Those who say nothing, which the protocol allows for 10 s.
-define(SILENT, 20).
%% Those who wait once every acceptor holds a connection.
-define(WAITING, 15).

server(Packages, Folder) ->
    Plugins = filename:join(Folder, "enabled_plugins"),
    ok = file:write_file(Plugins, "[].\n"),
    #{
        run => [script(Packages, "rabbitmq-server")],
        environment => [{"RABBITMQ_ENABLED_PLUGINS_FILE", Plugins} | environment(Packages, Folder)],
        node => atom_to_list(?NODE),
        %% It becomes a node after its start, and epmd, which knows of it, does not have its host.
        called => "rabbit",
        port => ?PORT,
        limit => 128
    }.

script(Packages, Name) ->
    [Script] = filelib:wildcard(Packages ++ "/usr/lib/rabbitmq/lib/*/sbin/" ++ Name),
    Script.

environment(Packages, Folder) ->
    [
        {"ERL_LIBS", Packages ++ "/usr/lib/erlang/lib"},
        {"RABBITMQ_NODENAME", atom_to_list(?NODE)},
        {"RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1"},
        {"RABBITMQ_BASE", Folder},
        {"RABBITMQ_MNESIA_BASE", filename:join(Folder, "mnesia")},
        {"RABBITMQ_LOG_BASE", filename:join(Folder, "log.d")},
        {"RABBITMQ_CONF_ENV_FILE", filename:join(Folder, "rabbitmq-env.conf")},
        {"RABBITMQ_CONFIG_FILE", filename:join(Folder, "rabbitmq.conf")},
        {"RABBITMQ_PID_FILE", filename:join(Folder, "pid")}
    ].

%% The first method of a connection, connection.start of AMQP 0-9-1.
serves(Port) ->
    {ok, Client} = gen_tcp:connect({127, 0, 0, 1}, Port, [binary, {active, false}], 5000),
    ok = gen_tcp:send(Client, <<"AMQP", 0, 0, 9, 1>>),
    {ok, <<1, 0:16, _Size:32, 10:16, 10:16, _/binary>>} = gen_tcp:recv(Client, 0, 5000),
    gen_tcp:close(Client).

%% The application in the running node, as its operator would bring it in.
more(#{repository := Repository, pid := Pid} = Running) ->
    Ebin = filename:join(Repository, "_build/rebar3/default/lib/accept_queue/ebin"),
    Loaded = evaluated(Running, ["true = code:add_pathz(\"", Ebin, "\"), application:ensure_all_started(accept_queue)."]),
    ?assertEqual("{ok,[accept_queue]}", string:trim(Loaded)),
    {ok, _} = net_kernel:start(['watcher@localhost', shortnames]),
    Ref = reference(),
    #{limit := 128} = there(accept_queue, depth, [{ranch, Ref}]),
    subscribed(),
    within:passes(5000, fun() -> {ok, #{conditions := []}} = erpc:call(?NODE, accept_queue, status, [{port, ?PORT}]), ok end),
    table(Running, "ok"),
    silent(Ref),
    Supervisors = [Supervisor || {_, Supervisor} <- erpc:call(?NODE, ranch_server, get_connections_sups, [Ref])],
    [ok = erpc:call(?NODE, sys, suspend, [Supervisor]) || Supervisor <- Supervisors],
    #{pool := Pool} = there(accept_queue, acceptors, [{ranch, Ref}]),
    Acceptors = length(Pool),
    Clients = sockets:clients(Acceptors + ?WAITING, {{127, 0, 0, 1}, ?PORT}),
    Stuck = event(raised, stuck),
    ?assertMatch(#{queued := ?WAITING, limit := 128, acceptors := none_waiting, held_ms := Ms} when Ms >= 5000, Stuck),
    #{held_ms := Held, acceptors_summary := #{waiting_count := 0, reasons := Reasons, examples := [Example]}} = Stuck,
    ?assertEqual([{max_connections, Acceptors}], Reasons),
    ?assertMatch(#{text := <<"waits for ranch's connections supervisor", _/binary>>}, Example),
    showed:that("inside: stuck is raised after ~b ms: ~b queued, 0 of ~b in accept, each ~ts", [
        Held, ?WAITING, Acceptors, parked(Example)
    ]),
    agrees(Ref),
    {failing, Failing} = erpc:call(?NODE, accept_queue, health, []),
    ?assert(lists:member({stuck, {{127, 0, 0, 1}, ?PORT}}, Failing)),
    showed:that("inside: health() is {failing, ~0tp}", [Failing]),
    table(Running, "stuck|nobody accepts"),
    outside(Repository, Pid),
    [ok = erpc:call(?NODE, sys, resume, [Supervisor]) || Supervisor <- Supervisors],
    #{duration_ms := Duration} = event(cleared, stuck),
    showed:that("inside: stuck is cleared after ~b ms", [Duration]),
    [sockets:close(Client) || Client <- Clients],
    within:passes(20000, fun() -> ok = erpc:call(?NODE, accept_queue, health, []) end),
    table(Running, "ok"),
    ok = erpc:call(?NODE, application, stop, [accept_queue]),
    ok = serves(?PORT),
    showed:that("inside: the application is stopped, and the broker serves", []).

%% Clients that send nothing are accepted, and hold up no other.
silent(Ref) ->
    Clients = sockets:clients(?SILENT, {{127, 0, 0, 1}, ?PORT}),
    within:passes(5000, fun() ->
        #{queued := 0, established := ?SILENT} = there(accept_queue, counts, [{ranch, Ref}]),
        ok
    end),
    {ok, #{conditions := []}} = erpc:call(?NODE, accept_queue, status, [{port, ?PORT}]),
    showed:that("inside: ~b clients that say nothing are accepted; 0 queued, no condition", [?SILENT]),
    [sockets:close(Client) || Client <- Clients].

%% The same stall, from outside.
outside(Repository, Pid) ->
    {2, Line} = program:run(Repository, ["check", "--pid", integer_to_list(Pid)]),
    {_, _} = binary:match(Line, <<"stuck, 15 of ">>),
    [Text | _] = binary:split(Line, <<" | ">>),
    showed:that("meanwhile outside: ~ts", [Text]),
    {3, #{<<"findings">> := Findings}} = program:json(Repository, ["diagnose", "--pid", integer_to_list(Pid)]),
    [
        showed:that("meanwhile outside, diagnose: ~ts, ~ts: ~ts", [Id, Confidence, Said])
     || #{<<"id">> := Id, <<"confidence">> := Confidence, <<"text">> := Said} <- Findings
    ],
    [#{<<"id">> := <<"nobody_in_accept">>} | _] = Findings,
    ok.

reference() ->
    {ok, Listed} = erpc:call(?NODE, accept_queue, list, []),
    [Ref] = [Ref || #{address := {{127, 0, 0, 1}, ?PORT}, server := {ranch, Ref}} <- Listed],
    showed:that("inside: list() finds the listener of ranch ~0tp", [Ref]),
    Ref.

agrees(Ref) ->
    #{queued := Queued, queued_alive := Alive, limit := Limit} = there(accept_queue, counts, [{ranch, Ref}]),
    ?assertMatch(#{queued := Queued, limit := Limit}, from_ss:listener(?PORT)),
    ?assertEqual(Queued, Alive).

%% What i/0 prints for this listener, with a verdict that says one of these.
table(Running, Verdict) ->
    Table = evaluated(Running, "accept_queue:i()."),
    [Row] = [Line || Line <- string:lexemes(Table, "\n"), string:prefix(Line, "127.0.0.1:5672") =/= nomatch],
    ?assertMatch({match, _}, re:run(Row, Verdict), Row),
    showed:that("inside, i(): ~ts", [Row]).

there(Module, Function, Arguments) ->
    {ok, Answer} = erpc:call(?NODE, Module, Function, Arguments),
    Answer.

parked(#{text := Text}) ->
    [Short | _] = string:split(Text, ":"),
    Short.

%% A subscriber in the node itself, which hands on to here what it gets.
subscribed() ->
    {forwarder, Binary, File} = code:get_object_code(forwarder),
    {module, forwarder} = erpc:call(?NODE, code, load_binary, [forwarder, File, Binary]),
    {ok, _} = erpc:call(?NODE, forwarder, start, [self()]),
    ok.

event(What, Condition) ->
    receive
        {forwarded, {accept_queue, What, Condition, #{address := {{127, 0, 0, 1}, ?PORT}} = Details}} -> Details
    after 30000 ->
        error({not_within_s, 30, What, Condition, process_info(self(), messages)})
    end.

evaluated(#{packages := Packages, folder := Folder}, Expression) ->
    Rabbitmqctl = script(Packages, "rabbitmqctl"),
    Port = open_port({spawn_executable, Rabbitmqctl}, [
        {args, ["eval", lists:flatten(Expression)]}, {env, environment(Packages, Folder)}, exit_status
    ]),
    output(Port, []).

output(Port, Read) ->
    receive
        {Port, {data, Text}} -> output(Port, Read ++ Text);
        {Port, {exit_status, 0}} -> Read;
        {Port, {exit_status, Status}} -> error({rabbitmqctl, Status, Read})
    after 60000 ->
        error({rabbitmqctl_does_not_end, Read})
    end.
