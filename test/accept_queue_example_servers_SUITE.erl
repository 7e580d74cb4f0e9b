%% The servers of examples/, each started by its one command: what it says and what it serves.
-module(accept_queue_example_servers_SUITE).

-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

-define(DEADLINE_MS, 60000).
%% mix compiles the application and what it depends on, the first time.
-define(STARTED_MS, 180000).

all() ->
    [
        each_example_says_in_a_line_what_it_does,
        an_example_that_is_none_is_refused,
        a_pool_reports_when_its_queue_is_not_draining,
        ranch_is_watched_by_its_names,
        cowboy_says_503_while_a_pool_is_stuck,
        the_dead_are_skipped,
        the_shop_of_the_documents_is_stuck_beside_a_pool_that_is_well,
        a_shop_whose_port_or_name_is_taken_says_so,
        an_elixir_application_watches_its_own_listener
    ].

%% In the roots of other releases nothing is built but what Common Test needs.
init_per_suite(Config) ->
    case commands:needs(["rebar3"]) of
        ok -> Config;
        {skip, _} = Skip -> Skip
    end.

end_per_suite(_) ->
    ok.

init_per_testcase(Case, Config) ->
    case Case of
        ranch_is_watched_by_its_names -> needs([ranch], Config);
        cowboy_says_503_while_a_pool_is_stuck -> needs([ranch, cowboy, cowlib, jsx], Config);
        an_elixir_application_watches_its_own_listener -> needs_mix(Config);
        _ -> Config
    end.

end_per_testcase(_, _) ->
    case erase(example) of
        undefined -> ok;
        Example -> commands:stop(Example)
    end.

needs(Applications, Config) ->
    case components:load(Applications) of
        ok -> Config;
        {skip, _} = Skip -> Skip
    end.

needs_mix(Config) ->
    case commands:needs(["mix"]) of
        ok -> Config;
        {skip, _} = Skip -> Skip
    end.

each_example_says_in_a_line_what_it_does(_) ->
    {0, Said} = commands:run(run(), []),
    Lines = string:lexemes(Said, "\n"),
    Names = [hd(string:lexemes(Line, " ")) || Line <- Lines],
    ?assertEqual(["cowboy", "elixir_shop", "experiment_2009", "gen_tcp_pool", "ranch", "shop", "skip_the_dead"], lists:sort(Names)),
    ?assertEqual([], [Line || Line <- Lines, length(string:lexemes(Line, " ")) < 6]),
    %% Each has its command at its top, and its place in the document.
    {ok, Document} = file:read_file(repository:path("docs/first-hour.md")),
    ?assertEqual([], [Name || Name <- Names, string:find(Document, ["`", Name, "`"]) =:= nomatch]).

an_example_that_is_none_is_refused(_) ->
    ?assertEqual({1, "there is no example 'such'; examples/run lists them\n"}, commands:run(run(), ["such"])).

a_pool_reports_when_its_queue_is_not_draining(_) ->
    Example = started("gen_tcp_pool", ["0"]),
    [Port] = says(Example, "four acceptors listen on 127.0.0.1:([0-9]+)"),
    Served = [connected(Port) || _ <- lists:seq(1, 4)],
    ?assertEqual(["HELLO\n" || _ <- Served], [answer(Client, "hello\n") || Client <- Served]),
    %% The pool is taken: who comes now waits.
    Waiting = [connected(Port) || _ <- lists:seq(1, 2)],
    says(Example, "behind: 2 of 128 wait, 0 of 4 accept"),
    [ok = gen_tcp:close(Client) || Client <- Served],
    ?assertEqual(["AT LAST\n" || _ <- Waiting], [answer(Client, "at last\n") || Client <- Waiting]),
    says(Example, "no longer behind, after [0-9]+ ms").

ranch_is_watched_by_its_names(_) ->
    Example = started("ranch", ["0"]),
    [Port, _] = says(Example, "ranch listens: shop on 127.0.0.1:([0-9]+), admin on 127.0.0.1:([0-9]+)"),
    Client = connected(Port),
    ?assertEqual("echo\n", answer(Client, "echo\n")),
    eventually:is({"admin: 0 of 256 wait, []\n", "shop: 0 of 256 wait, []\n"}, fun() ->
        First = answer(Client, "status\n"),
        {ok, Second} = gen_tcp:recv(Client, 0, ?DEADLINE_MS),
        {First, Second}
    end),
    ok = gen_tcp:close(Client).

cowboy_says_503_while_a_pool_is_stuck(_) ->
    %% Long enough to be seen while it is only behind.
    Example = started("cowboy", ["0", "0"], [{"ERL_FLAGS", "-accept_queue stuck_ms 10000 clear_ms 1000"}]),
    [Shop, Health] = says(Example, "cowboy listens on http://127.0.0.1:([0-9]+)/, and http://127.0.0.1:([0-9]+)/health"),
    ?assertMatch({200, "Hello.\n"}, commands:fetch("http://127.0.0.1:" ++ Shop ++ "/")),
    Url = "http://127.0.0.1:" ++ Health ++ "/health",
    eventually:is({200, #{<<"health">> => <<"ok">>, <<"reasons">> => []}}, fun() -> health(Url) end),
    %% Two are served, the acceptor holds a third, and who comes then waits.
    Customers = [connected(Shop) || _ <- lists:seq(1, 8)],
    Listener = list_to_binary("127.0.0.1:" ++ Shop),
    Reason = fun(Condition) -> #{<<"condition">> => Condition, <<"listener">> => Listener} end,
    Degraded = {200, #{<<"health">> => <<"degraded">>, <<"reasons">> => [Reason(<<"behind">>)]}},
    eventually:is(Degraded, fun() -> health(Url) end),
    Failing = {503, #{<<"health">> => <<"failing">>, <<"reasons">> => [Reason(<<"behind">>), Reason(<<"stuck">>)]}},
    eventually:is(Failing, fun() -> health(Url) end),
    [ok = gen_tcp:close(Customer) || Customer <- Customers],
    eventually:is({200, #{<<"health">> => <<"ok">>, <<"reasons">> => []}}, fun() -> health(Url) end).

health(Url) ->
    {Status, Json} = commands:fetch(Url),
    {Status, jsx:decode(list_to_binary(Json), [return_maps])}.

the_dead_are_skipped(_) ->
    Example = started("skip_the_dead", ["0", "1500"]),
    [Port, "1500"] = says(Example, "an acceptor listens on 127.0.0.1:([0-9]+), and accepts in ([0-9]+) ms"),
    [ok = gen_tcp:close(connected(Port)) || _ <- [1, 2]],
    Early = connected(Port),
    %% No process accepts yet.
    says(Example, "skipped a client that has left"),
    says(Example, "skipped a client that has left"),
    ?assertEqual({ok, "Hello.\n"}, gen_tcp:recv(Early, 0, ?DEADLINE_MS)),
    Late = connected(Port),
    ?assertEqual({ok, "Hello.\n"}, gen_tcp:recv(Late, 0, ?DEADLINE_MS)),
    ok = gen_tcp:send(Late, "histogram\n"),
    Lines = [
        begin
            {ok, Line} = gen_tcp:recv(Late, 0, ?DEADLINE_MS),
            Line
        end
     || _ <- lists:seq(1, 7)
    ],
    ?assertEqual("skipped: 2\n", lists:last(Lines)),
    Counts = [list_to_integer(Count) || Line <- Lines, {match, [Count]} <- [re:run(Line, "ms: ([0-9]+)", [{capture, [1], list}])]],
    ?assertEqual({6, 2}, {length(Counts), lists:sum(Counts)}),
    %% The first has waited for more than a tenth of a second.
    ?assert(lists:sum(lists:nthtail(3, Counts)) >= 1),
    ok = gen_tcp:close(Early).

the_shop_of_the_documents_is_stuck_beside_a_pool_that_is_well(_) ->
    Name = shop_name(),
    Example = started("shop", ["0", "0"], [{"SHOP_NODE", Name}]),
    [Stuck, Well] = says(Example, "^node " ++ Name ++ "@localhost: no process accepts on 127.0.0.1:([0-9]+), and on 127.0.0.1:([0-9]+) all is well"),
    %% What it says to try, each with what the page shows.
    says(Example, "accept-queue list --node " ++ Name),
    says(Example, "accept-queue diagnose --node " ++ Name),
    Program = repository:target("release/accept-queue"),
    %% In whatever order: the system has given the ports.
    Rows = [
        Stuck ++ " +31 +30 +full +19 +12 .* not_armed +" ++ Name ++ "@localhost",
        Well ++ " +0 +1024 .* armed +" ++ Name ++ "@localhost"
    ],
    eventually:is([match, match], fun() ->
        {0, Listed} = commands:run(Program, ["list", "--wide", "--node", Name]),
        [re:run(Listed, "127.0.0.1:" ++ Row, [unicode, {capture, none}]) || Row <- Rows]
    end),
    {2, Checked} = commands:run(Program, ["check", "--node", Name]),
    ?assertNotEqual(nomatch, string:find(Checked, "CRITICAL - 127.0.0.1:" ++ Stuck)),
    {3, Diagnosed} = commands:run(Program, ["diagnose", "--node", Name]),
    ?assertNotEqual(nomatch, string:find(Diagnosed, "nobody_in_accept")),
    %% Ctrl-C.
    {os_pid, Pid} = erlang:port_info(Example, os_pid),
    _ = os:cmd("kill -INT " ++ integer_to_list(Pid)),
    ended(Example).

a_shop_whose_port_or_name_is_taken_says_so(_) ->
    {ok, Taken} = gen_tcp:listen(0, [{ip, {127, 0, 0, 1}}]),
    {ok, At} = inet:port(Taken),
    Name = shop_name(),
    Shop = ["SHOP_NODE=" ++ Name, run(), "shop"],
    {1, Said} = commands:run("env", Shop ++ [integer_to_list(At), "0"]),
    ?assertNotEqual(nomatch, string:find(Said, lists:flatten(io_lib:format("shop: cannot listen on 127.0.0.1:~b: address already in use", [At])))),
    ok = gen_tcp:close(Taken),
    ?assertMatch({1, "shop: a port is a number" ++ _}, commands:run("env", Shop ++ ["http", "0"])),
    Example = started("shop", ["0", "0"], [{"SHOP_NODE", Name}]),
    says(Example, "no process accepts on"),
    {1, Refused} = commands:run("env", Shop),
    ?assertMatch("shop: a node " ++ _, Refused).

%% The machine may have a shop of its own.
shop_name() ->
    "shop" ++ os:getpid() ++ "x" ++ integer_to_list(erlang:unique_integer([positive])).

ended(Example) ->
    receive
        {Example, {exit_status, _}} -> erase(example);
        {Example, {data, _}} -> ended(Example)
    after ?DEADLINE_MS -> erlang:error({does_not_end, Example})
    end.

an_elixir_application_watches_its_own_listener(_) ->
    Example = started("elixir_shop", [], [{"SHOP_PORT", "0"}]),
    [Port] = says(Example, "the shop listens on 127.0.0.1:([0-9]+)", ?STARTED_MS),
    Client = connected(Port),
    ?assertEqual("olleh\n", answer(Client, "hello\n")),
    Status = "^0 of 64 wait; health: :ok; you have waited for [0-9]+ ms",
    eventually:is(match, fun() -> re:run(answer(Client, "status\n"), Status, [{capture, none}]) end),
    says(Example, "listener \\{\\{127, 0, 0, 1\\}, " ++ Port ++ "\\} added"),
    ok = gen_tcp:close(Client).

run() ->
    repository:path("examples/run").

started(Name, Arguments) ->
    started(Name, Arguments, []).

%% On whatever port the system gives it.
started(Name, Arguments, Environment) ->
    Example = commands:start(run(), [Name | Arguments], [
        {line, 65536}, stderr_to_stdout, {env, Environment ++ [{"ERL_FLAGS", "-accept_queue stuck_ms 2000 clear_ms 1000"} || not lists:keymember("ERL_FLAGS", 1, Environment)]}
    ]),
    put(example, Example),
    Example.

%% The groups of the pattern in the first line that has it; what comes before is passed over.
says(Example, Pattern) ->
    says(Example, Pattern, ?STARTED_MS).

says(Example, Pattern, Ms) ->
    says(Example, Pattern, erlang:monotonic_time(millisecond) + Ms, []).

says(Example, Pattern, Deadline, Before) ->
    receive
        {Example, {data, {_, Line}}} ->
            case re:run(Line, Pattern, [{capture, all_but_first, list}]) of
                {match, Groups} -> Groups;
                nomatch -> says(Example, Pattern, Deadline, [Line | Before])
            end;
        {Example, {exit_status, Status}} ->
            erlang:error({ended, Status, lists:reverse(Before)})
    after max(0, Deadline - erlang:monotonic_time(millisecond)) ->
        erlang:error({not_said, Pattern, lists:reverse(Before)})
    end.

connected(Port) ->
    {ok, Client} = gen_tcp:connect({127, 0, 0, 1}, list_to_integer(Port), [{active, false}, {packet, line}], ?DEADLINE_MS),
    Client.

answer(Client, Text) ->
    ok = gen_tcp:send(Client, Text),
    {ok, Answer} = gen_tcp:recv(Client, 0, ?DEADLINE_MS),
    Answer.
