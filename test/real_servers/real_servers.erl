%% A real server from its start to its end: what accept-queue says of it from outside while it is well, while the whole of it
%% is stopped, and when it goes on. The kernel's own figures come from `ss'.
-module(real_servers).

-include_lib("stdlib/include/assert.hrl").

-export([main/1]).

-export_type([server/0, running/0]).

%% `run': the command, which stays in the foreground; `port': where it listens on 127.0.0.1; `limit': the backlog it is known
%% for, here; `called': what an outsider calls it, where that is not `node'.
-type server() :: #{
    run := [string()],
    environment => [{string(), string()}],
    node := string(),
    called => string(),
    port := inet:port_number(),
    limit := pos_integer()
}.
-type running() :: #{repository := string(), folder := string(), packages := string(), pid := pos_integer(), server := server()}.

%% Writes its configuration below `Folder', and says how it is started out of `Packages'.
-callback server(Packages :: string(), Folder :: string()) -> server().
%% One request of a client of it, and its answer.
-callback serves(inet:port_number()) -> ok.
%% What is particular to this one.
-callback more(running()) -> ok.

-define(START_MS, 90000).
-define(END_MS, 20000).
%% Enough to wait for, few enough for a backlog of 5 to have room for.
-define(FEW, 2).

main([Repository, Name, Package]) ->
    try
        run(Repository, Name, Package),
        halt(0)
    catch
        Class:Reason:Stack ->
            io:format("~ts: ~p ~p~n~p~n", [Name, Class, Reason, Stack]),
            halt(1)
    end.

run(Repository, Name, Package) ->
    Module = list_to_atom("served_" ++ Name),
    Folder = filename:join([Repository, "_build/servers/run", Name]),
    Packages = filename:join([Repository, "_build/servers/packages", Package]),
    #{port := Port, run := Run} = Server = Module:server(Packages, Folder),
    ok = showed:in(Folder),
    Epmd = processes:start(["epmd"], [], filename:join(Folder, "epmd.log")),
    true = within:true(5000, fun() -> from_ss:listens(4369) end),
    Started = processes:start(Run, maps:get(environment, Server, []), filename:join(Folder, "log")),
    try
        {Ms, true} = timed(fun() -> within:true(?START_MS, fun() -> from_ss:listens(Port) end) end),
        #{pid := Pid} = from_ss:listener(Port),
        showed:that("listens ~b ms after its start, as process ~b", [Ms, Pid]),
        ok = within:passes(10000, fun() -> Module:serves(Port) end),
        Running = #{repository => Repository, folder => Folder, packages => Packages, pid => Pid, server => Server},
        well(Running),
        stalled(Running, Module),
        ok = Module:more(Running),
        ok = Module:serves(Port),
        ended(Pid)
    after
        [processes:signal(kill, Process) || Process <- [Started, Epmd], processes:is_alive(Process)]
    end.

%% While it serves.

well(#{repository := Repository, pid := Pid, server := #{node := Node, port := Port, limit := Limit} = Server}) ->
    Address = address(Port),
    Called = list_to_binary(maps:get(called, Server, Node)),
    [
        begin
            {0, #{<<"unreadable">> := [], <<"listeners">> := Listeners}} = program:json(Repository, ["list" | Scope]),
            [Listener] = [L || #{<<"address">> := Where} = L <- Listeners, Where =:= Address],
            agrees(Listener, from_ss:listener(Port)),
            #{<<"owners">> := Owners} = Listener,
            ?assertMatch(#{<<"queued">> := 0, <<"limit">> := Limit, <<"full">> := false}, Listener),
            ?assertEqual(owners(Scope, Called, Pid), [{Owner, Name} || #{<<"pid">> := Owner, <<"name">> := Name} <- Owners]),
            showed:that("list ~ts: ~ts, limit ~b, owners: ~ts; ss says the same", [
                lists:join(" ", Scope), Address, Limit, lists:join(" ", [Name || #{<<"name">> := Name} <- Owners])
            ])
        end
     || Scope <- scopes(Node, Pid, Port)
    ],
    [?assertMatch({0, _}, checked(Repository, Scope, "OK")) || Scope <- scopes(Node, Pid, Port)],
    watched(Repository, Address, Limit, Pid),
    {0, [#{<<"id">> := <<"healthy">>}]} = diagnosed(Repository, Pid),
    ok.

scopes(Node, Pid, Port) ->
    [Short | _] = string:split(Node, "@"),
    [["--node", Node], ["--node", Short], ["--pid", integer_to_list(Pid)], ["--port", integer_to_list(Port)], []].

%% However it is asked for, it is found under its name; a question for a port does not have its owner.
owners(["--port", _], _, _) -> [];
owners(_, Called, Pid) -> [{Pid, Called}].

watched(Repository, Address, Limit, Pid) ->
    {0, Lines} = program:run(Repository, ["watch", "--json", "--count", "5", "--pid", integer_to_list(Pid)]),
    All = [jiffy:decode(Line, [return_maps]) || Line <- binary:split(Lines, <<"\n">>, [global, trim])],
    %% The same process also listens for other nodes.
    Events = [Event || #{<<"address">> := Of} = Event <- All, Of =:= Address],
    [#{<<"event">> := <<"added">>, <<"owners">> := [#{<<"pid">> := Pid}]} | Samples] = Events,
    ?assertEqual(5, length(Samples)),
    [
        ?assertMatch(
            #{<<"event">> := <<"sample">>, <<"queued">> := 0, <<"limit">> := Limit, <<"conditions">> := []}, Sample
        )
     || Sample <- Samples
    ],
    showed:that("watch --json --count 5: added, then 5 samples of 0 queued, limit ~b, no condition", [Limit]).

%% All of it is stopped, and clients come.

stalled(#{repository := Repository, pid := Pid, server := #{node := Node, port := Port, limit := Limit}}, Module) ->
    To = {{127, 0, 0, 1}, Port},
    Watch = program:begun(Repository, ["watch", "--json", "--port", integer_to_list(Port)]),
    #{<<"event">> := <<"added">>} = program:next(Watch, <<"added">>),
    ok = processes:signal(stop, Pid),
    Few = sockets:clients(?FEW, To),
    true = within:true(5000, fun() -> queued(Port) =:= ?FEW end),
    %% No client has waited for long, and after a while one has.
    true = within:true(5000, fun() -> oldest(Repository, Port) > 100 end),
    {1, _} = checked(Repository, ["--node", Node, "--samples", "1"], "WARNING"),
    {2, Stuck} = checked(Repository, ["--node", Node], "CRITICAL"),
    Places = io_lib:format("behind, stuck, ~b of ~b places (backlog ~b)", [?FEW, Limit + 1, Limit]),
    ?assertMatch({_, _}, binary:match(Stuck, iolist_to_binary(Places))),
    %% Full is one more than the limit; a client that comes then is turned away.
    Fitting = sockets:clients(Limit + 1 - ?FEW, To),
    Full = Limit + 1,
    TurnedAway = [sockets:dial(To) || _ <- [1, 2, 3]],
    true = within:true(5000, fun() ->
        #{queued := Queued, drops := Drops} = from_ss:listener(Port),
        Queued =:= Full andalso Drops >= length(TurnedAway)
    end),
    {0, #{<<"listeners">> := [Listener]}} = program:json(Repository, ["list", "--port", integer_to_list(Port)]),
    ?assertMatch(
        #{<<"full">> := true, <<"queued">> := Full, <<"queued_alive">> := Full, <<"limit">> := Limit}, Listener
    ),
    agrees(Listener, maps:with([queued, limit], from_ss:listener(Port))),
    {2, Overflowing} = checked(Repository, ["--node", Node], "CRITICAL"),
    ?assertMatch({_, _}, binary:match(Overflowing, <<"overflowing">>)),
    #{<<"held_ms">> := Held, <<"queued">> := Then} = program:next(Watch, <<"raised">>, <<"stuck">>),
    ?assert(Held >= 5000 andalso Then >= ?FEW, {Held, Then}),
    showed:that("watch: stuck is raised after ~b ms, with ~b of ~b queued", [Held, Then, Limit]),
    {3, [#{<<"id">> := <<"process_stopped">>} | _]} = diagnosed(Repository, Pid),
    %% It goes on, and works off what has gathered.
    ok = processes:signal(cont, Pid),
    {Ms, true} = timed(fun() -> within:true(20000, fun() -> queued(Port) =:= 0 end) end),
    showed:that("after SIGCONT the ~b who stood in the queue were taken within ~b ms", [Full, Ms]),
    ok = within:passes(10000, fun() -> {0, _} = checked(Repository, ["--node", Node], "OK"), ok end),
    #{<<"duration_ms">> := Duration} = program:next(Watch, <<"cleared">>, <<"stuck">>),
    showed:that("watch: stuck is cleared, after ~b ms", [Duration]),
    0 = program:ended(Watch),
    [sockets:close(Client) || Client <- Few ++ Fitting ++ TurnedAway],
    ok = within:passes(10000, fun() -> Module:serves(Port) end).

queued(Port) ->
    #{queued := Queued} = from_ss:listener(Port),
    Queued.

oldest(Repository, Port) ->
    {0, #{<<"listeners">> := [#{<<"oldest_wait_ms">> := Ms}]}} =
        program:json(Repository, ["list", "--port", integer_to_list(Port)]),
    true = is_integer(Ms),
    Ms.

%% A check, which must say this word.
checked(Repository, Arguments, Word) ->
    {Status, Line} = program:run(Repository, ["check" | Arguments]),
    [Text | _] = binary:split(Line, <<" | ">>),
    showed:that("check ~ts: ~ts (status ~b)", [lists:join(" ", Arguments), Text, Status]),
    Expected = iolist_to_binary(["ACCEPT_QUEUE ", Word, " "]),
    ?assertEqual(Expected, binary:part(Line, 0, min(byte_size(Line), byte_size(Expected))), Line),
    {Status, Line}.

%% Its exit status, and what it finds, the strongest first.
diagnosed(Repository, Pid) ->
    {Status, #{<<"findings">> := Findings}} = program:json(Repository, ["diagnose", "--pid", integer_to_list(Pid)]),
    [
        showed:that("diagnose: ~ts, ~ts: ~ts (status ~b)", [Id, Confidence, Text, Status])
     || #{<<"id">> := Id, <<"confidence">> := Confidence, <<"text">> := Text} <- Findings
    ],
    {Status, Findings}.

agrees(#{<<"queued">> := Queued, <<"limit">> := Limit}, Kernel) ->
    ?assertMatch(#{queued := Queued, limit := Limit}, Kernel).

address(Port) ->
    iolist_to_binary(["127.0.0.1:", integer_to_list(Port)]).

ended(Pid) ->
    ok = processes:signal(term, Pid),
    true = within:true(?END_MS, fun() -> not processes:is_alive(Pid) end),
    ok.

timed(Fun) ->
    {Us, Value} = timer:tc(Fun),
    {Us div 1000, Value}.
