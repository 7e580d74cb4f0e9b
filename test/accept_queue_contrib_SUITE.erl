%% The files of contrib/: each is accepted by the tool that reads it, and each metric that it names is exported.
-module(accept_queue_contrib_SUITE).

-compile([export_all, nowarn_export_all]).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-define(PROGRAM, "/usr/bin/accept-queue").

all() ->
    [
        the_rules_are_right_and_their_tests_pass,
        the_rules_name_exported_metrics,
        the_dashboard_names_exported_metrics,
        each_query_of_the_dashboard_is_promql,
        a_prometheus_answers_each_query_and_raises_the_alert,
        the_unit_is_right_and_hardened,
        with_the_rights_of_the_files_all_is_read,
        the_manifests_are_what_kubernetes_takes,
        the_commands_in_the_files_are_understood
    ].

init_per_suite(Config) ->
    case {commands:needs(["promtool", "prometheus", "systemd-analyze", "setpriv", "/usr/bin/python3"]), components:load([jsx])} of
        {ok, ok} -> Config;
        {{skip, _} = Skip, _} -> Skip;
        {ok, {skip, _} = Skip} -> Skip
    end.

end_per_suite(_) ->
    ok.

the_rules_are_right_and_their_tests_pass(_) ->
    {0, Checked} = commands:run("promtool", ["check", "rules", file("prometheus/accept_queue.rules.yml")]),
    Rules = length(found("(?:alert|record): ([A-Za-z_:]+)", read("prometheus/accept_queue.rules.yml"))),
    ?assertMatch({match, _}, re:run(Checked, io_lib:format("SUCCESS: ~b rules found", [Rules]))),
    {0, Tested} = commands:run("promtool", ["test", "rules", file("prometheus/accept_queue.rules_test.yml")]),
    ?assertMatch({match, _}, re:run(Tested, "SUCCESS")),
    %% Every alert has a test.
    Alerts = found("alert: ([A-Za-z]+)", read("prometheus/accept_queue.rules.yml")),
    ?assertEqual([], Alerts -- found("alertname: ([A-Za-z]+)", read("prometheus/accept_queue.rules_test.yml"))).

the_rules_name_exported_metrics(_) ->
    ?assertEqual([], named(read("prometheus/accept_queue.rules.yml")) -- exported()).

the_dashboard_names_exported_metrics(_) ->
    ?assertEqual([], named(read("grafana/accept_queue.json")) -- exported()).

each_query_of_the_dashboard_is_promql(Config) ->
    #{<<"panels">> := Panels} = dashboard(),
    Queries = queries("1m"),
    ?assert(length(Queries) >= length(Panels)),
    Rules = [["  - record: query\n    expr: ", yaml_string(Query), "\n"] || Query <- Queries],
    File = filename:join(?config(priv_dir, Config), "queries.yml"),
    ok = file:write_file(File, ["groups:\n- name: dashboard\n  rules:\n", unique(Rules)]),
    {0, Checked} = commands:run("promtool", ["check", "rules", File]),
    ?assertMatch({match, _}, re:run(Checked, "SUCCESS")),
    %% No two panels lie on each other.
    Cells = [
        {X, Y}
     || #{<<"gridPos">> := #{<<"x">> := Left, <<"y">> := Top, <<"w">> := Width, <<"h">> := Height}} <- Panels,
        X <- lists:seq(Left, Left + Width - 1),
        Y <- lists:seq(Top, Top + Height - 1)
    ],
    ?assertEqual(lists:usort(Cells), lists:sort(Cells)).

dashboard() ->
    decoded(read("grafana/accept_queue.json")).

%% As Grafana puts the variables in; one that it does not know would be left, and is no PromQL.
queries(Range) ->
    #{<<"panels">> := Panels, <<"templating">> := #{<<"list">> := Variables}} = dashboard(),
    Known = ["$__rate_interval", "$__range" | ["$" ++ binary_to_list(Name) || #{<<"name">> := Name} <- Variables]],
    Put = fun
        ("$__" ++ _ = Variable, Query) -> string:replace(Query, Variable, Range, all);
        (Variable, Query) -> string:replace(Query, Variable, ".*", all)
    end,
    [
        unicode:characters_to_list(lists:foldl(Put, unicode:characters_to_list(Query), Known))
     || #{<<"targets">> := Targets} <- Panels, #{<<"expr">> := Query} <- Targets
    ].

%% From a full queue to the alert, through the real exporter and the real Prometheus.
a_prometheus_answers_each_query_and_raises_the_alert(Config) ->
    L = sockets:listen(1),
    Address = sockets:address(L),
    %% Drops go on for as long as Prometheus takes to start.
    Clients = spawn_link(fun() -> come(Address, 600) end),
    {Exporter, "http://" ++ Url} = exporter(),
    [Target, "metrics"] = string:lexemes(Url, "/"),
    Folder = ?config(priv_dir, Config),
    File = filename:join(Folder, "prometheus.yml"),
    ok = file:write_file(File, [
        "global: {scrape_interval: 1s, evaluation_interval: 1s}\n",
        "rule_files: ['", file("prometheus/accept_queue.rules.yml"), "']\n",
        "scrape_configs: [{job_name: accept-queue, static_configs: [{targets: ['", Target, "']}]}]\n"
    ]),
    %% It does not say which port the system has given it.
    Free = sockets:listen(1),
    {_, Port} = sockets:address(Free),
    ok = gen_tcp:close(Free),
    At = "127.0.0.1:" ++ integer_to_list(Port),
    Prometheus = commands:start("prometheus", [
        "--config.file=" ++ File, "--storage.tsdb.path=" ++ filename:join(Folder, "data"), "--web.listen-address=" ++ At
    ]),
    Listener = list_to_binary(accept_queue_text:address(Address)),
    Overflowing = fun
        (#{<<"state">> := <<"firing">>, <<"labels">> := #{<<"alertname">> := Name, <<"listener">> := Of}}) ->
            {Name, Of} =:= {<<"AcceptQueueOverflowing">>, Listener};
        (#{}) ->
            false
    end,
    eventually:is(true, fun() ->
        case asked(At, "alerts") of
            #{<<"alerts">> := Alerts} -> lists:any(Overflowing, Alerts);
            not_yet -> false
        end
    end),
    eventually:is([], fun() -> [Query || Query <- queries("10s"), answered(At, Query) =:= []] end),
    true = unlink(Clients),
    true = exit(Clients, kill),
    ok = commands:stop(Prometheus),
    ok = commands:stop(Exporter),
    ok = gen_tcp:close(L).

%% So many clients, two a second, which end with the calling process.
come(_Address, 0) ->
    ok;
come(Address, Times) ->
    _ = sockets:dial(Address),
    timer:sleep(500),
    come(Address, Times - 1).

answered(At, Query) ->
    #{<<"result">> := Result} = asked(At, "query?" ++ uri_string:compose_query([{"query", Query}])),
    Result.

asked(At, What) ->
    case commands:fetch("http://" ++ At ++ "/api/v1/" ++ What) of
        {200, Body} ->
            #{<<"data">> := Data} = decoded(Body),
            Data;
        %% It has just been started.
        {503, _} -> not_yet;
        {error, _} -> not_yet
    end.

%% promtool takes two rules of one name for one.
unique(Rules) ->
    [string:replace(Rule, "query", "query" ++ integer_to_list(N)) || {N, Rule} <- lists:zip(lists:seq(1, length(Rules)), Rules)].

yaml_string(Text) ->
    [$', string:replace(Text, "'", "''", all), $'].

the_unit_is_right_and_hardened(Config) ->
    Unit = filename:join(?config(priv_dir, Config), "accept-queue-exporter.service"),
    %% In quotes, for there may be a space in its path.
    Program = [$", repository:target("release/accept-queue"), $"],
    Text = string:replace(read("systemd/accept-queue-exporter.service"), ?PROGRAM, Program, all),
    ok = file:write_file(Unit, Text),
    ?assertEqual({0, ""}, commands:run("systemd-analyze", ["verify", "--man=no", Unit])),
    %% "OK"; above 5 it says "MEDIUM". Three capabilities are what there is of it.
    {0, Exposure} = commands:run("systemd-analyze", ["security", "--offline=yes", "--no-pager", "--threshold=30", Unit]),
    ?assertMatch({match, _}, re:run(Exposure, "Overall exposure level", [unicode])).

%% The rights of the unit, for an unprivileged user, and of the DaemonSet, for a root without others: each listener is listed with
%% its owner, of any user.
with_the_rights_of_the_files_all_is_read(_) ->
    [OfUnit | _] = found("CapabilityBoundingSet=(.*)", read("systemd/accept-queue-exporter.service")),
    [#{<<"spec">> := #{<<"template">> := #{<<"spec">> := #{<<"containers">> := [Container]}}}}] = manifests("daemonset.yaml"),
    #{<<"securityContext">> := #{<<"capabilities">> := #{<<"drop">> := [<<"ALL">>], <<"add">> := OfPod}}} = Container,
    case os:cmd("id -u") of
        "0\n" ->
            L = sockets:listen(7),
            {_, Port} = sockets:address(L),
            Listen = "import socket; s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen(7); print(s.getsockname()[1], flush=True); input()",
            Other = commands:start("setpriv", unprivileged() ++ ["/usr/bin/python3", "-c", Listen]),
            {os_pid, OtherPid} = erlang:port_info(Other, os_pid),
            Listeners = [
                {Port, list_to_integer(os:getpid())},
                {list_to_integer(commands:line(Other)), OtherPid}
            ],
            Unit = ["cap_" ++ string:lowercase(Name) || "CAP_" ++ Name <- string:lexemes(OfUnit, " ")],
            Pod = ["cap_" ++ string:lowercase(binary_to_list(Name)) || Name <- OfPod],
            ?assertEqual(lists:sort(Unit), lists:sort(Pod)),
            [
                ?assertEqual([], Listeners -- listed_with_owners(rights(Rights) ++ As))
             || {Rights, As} <- [{Unit, unprivileged()}, {Pod, []}]
            ],
            %% Without them it is so of one's own.
            ?assertEqual([hd(Listeners)], Listeners -- listed_with_owners(["--bounding-set=-all" | unprivileged()])),
            ok = commands:stop(Other),
            ok = gen_tcp:close(L);
        _ ->
            {skip, "only root can become another user with these capabilities"}
    end.

unprivileged() ->
    ["--reuid=65534", "--regid=65534", "--clear-groups"].

rights(Names) ->
    Set = "-all" ++ lists:append([",+" ++ string:prefix(Name, "cap_") || Name <- Names]),
    ["--inh-caps=" ++ Set, "--ambient-caps=" ++ Set, "--bounding-set=" ++ Set].

listed_with_owners(Under) ->
    {_, Json} = commands:run("setpriv", Under ++ [repository:target("release/accept-queue"), "list", "--all", "--json"]),
    #{<<"listeners">> := Listed} = decoded(Json),
    [
        {binary_to_integer(lists:last(binary:split(Address, <<":">>, [global]))), Pid}
     || #{<<"address">> := <<"127.0.0.1:", _/binary>> = Address, <<"owners">> := Owners} <- Listed, #{<<"pid">> := Pid} <- Owners
    ].

%% The fields that matter, by the API of apps/v1. kubeconform and kubectl are not to be had here.
the_manifests_are_what_kubernetes_takes(_) ->
    [#{<<"spec">> := #{<<"template">> := #{<<"spec">> := OfNode}}} = Daemon] = manifests("daemonset.yaml"),
    ?assertMatch(#{<<"apiVersion">> := <<"apps/v1">>, <<"kind">> := <<"DaemonSet">>}, Daemon),
    ?assertMatch(#{<<"hostPID">> := true}, OfNode),
    #{<<"containers">> := [#{<<"securityContext">> := #{<<"capabilities">> := Rights}}]} = OfNode,
    ?assertEqual(#{<<"drop">> => [<<"ALL">>], <<"add">> => [<<"SYS_PTRACE">>, <<"DAC_READ_SEARCH">>, <<"SYS_ADMIN">>]}, Rights),
    [#{<<"spec">> := #{<<"template">> := #{<<"spec">> := OfPod}}} = Deployment] = manifests("sidecar.yaml"),
    ?assertMatch(#{<<"apiVersion">> := <<"apps/v1">>, <<"kind">> := <<"Deployment">>}, Deployment),
    ?assertMatch(#{<<"shareProcessNamespace">> := true}, OfPod),
    #{<<"containers">> := [Shop, Exporter]} = OfPod,
    ?assertMatch(#{<<"readinessProbe">> := #{<<"httpGet">> := #{<<"path">> := <<"/health">>, <<"port">> := <<"health">>}}}, Shop),
    ?assertMatch(#{<<"securityContext">> := #{<<"capabilities">> := #{<<"drop">> := [<<"ALL">>]}}}, Exporter),
    [
        begin
            #{<<"metadata">> := #{<<"name">> := _}, <<"spec">> := #{<<"selector">> := #{<<"matchLabels">> := Selected}} = Spec} = Manifest,
            #{<<"template">> := #{<<"metadata">> := #{<<"labels">> := Labels, <<"annotations">> := Annotations}} = Template} = Spec,
            ?assertEqual(Selected, maps:with(maps:keys(Selected), Labels)),
            %% A quoted number: an annotation is a string, and the port is one that a container has.
            #{<<"prometheus.io/port">> := Scraped} = Annotations,
            #{<<"spec">> := #{<<"containers">> := Containers}} = Template,
            Ports = [integer_to_binary(Port) || #{<<"ports">> := Of} <- Containers, #{<<"containerPort">> := Port} <- Of],
            ?assert(lists:member(Scraped, Ports))
        end
     || Manifest <- [Daemon, Deployment]
    ].

%% By Debian's Python, which has a parser of YAML.
manifests(Name) ->
    ToJson = "import json, sys, yaml; print(json.dumps(list(yaml.safe_load_all(sys.stdin))))",
    {0, Json} = commands:run("/usr/bin/python3", ["-c", ToJson], read("kubernetes/" ++ Name)),
    decoded(Json).

decoded(Json) ->
    jsx:decode(unicode:characters_to_binary(Json), [return_maps]).

%% The command lines have options of the program: it gets as far as an address that it cannot have.
the_commands_in_the_files_are_understood(_) ->
    [Line] = found("ExecStart=" ++ ?PROGRAM ++ " (.*)", read("systemd/accept-queue-exporter.service")),
    OfPods = [
        [binary_to_list(Argument) || Argument <- Arguments]
     || Name <- ["daemonset.yaml", "sidecar.yaml"],
        #{<<"spec">> := #{<<"template">> := #{<<"spec">> := #{<<"containers">> := Containers}}}} <- manifests(Name),
        #{<<"command">> := [<<?PROGRAM>>], <<"args">> := Arguments} <- Containers
    ],
    ?assertMatch([_, _], OfPods),
    [
        begin
            Elsewhere = [
                case Argument of
                    [Digit | _] when Digit >= $0, Digit =< $9 -> "192.0.2.1:9700";
                    _ -> Argument
                end
             || Argument <- Arguments
            ],
            {1, Said} = commands:run(repository:target("release/accept-queue"), Elsewhere),
            ?assertMatch({match, _}, re:run(Said, "192\\.0\\.2\\.1:9700"))
        end
     || Arguments <- [string:lexemes(Line, " ") | OfPods]
    ].

%% The metrics of an exporter while a connection waits: its own, those of the listeners, those of the kernel.
exported() ->
    L = sockets:listen(5),
    [_] = sockets:clients(1, sockets:address(L)),
    {Exporter, Url} = exporter(),
    Metrics = fun() ->
        {200, Body} = commands:fetch(Url),
        found("# TYPE (accept_queue_[a-z_]+)", Body)
    end,
    eventually:is(true, fun() -> lists:member("accept_queue_oldest_wait_seconds", Metrics()) end),
    Names = Metrics(),
    ok = commands:stop(Exporter),
    ok = gen_tcp:close(L),
    ?assert(length(Names) > 20),
    Names.

%% Of this VM, and where it is to be asked.
exporter() ->
    Exporter = commands:start(repository:target("release/accept-queue"), [
        "export", "--listen", "127.0.0.1:0", "--pid", os:getpid()
    ]),
    "accept-queue: metrics at " ++ Url = commands:line(Exporter),
    {Exporter, Url}.

%% Names of metrics; those of the exporter's own rules have colons, and accept_queue_prometheus is a module.
named(Text) ->
    found("(?<![a-z_:])(accept_queue_[a-z_]+)(?![a-z_:/])", Text) -- ["accept_queue_prometheus"].

found(Pattern, Text) ->
    case re:run(Text, Pattern, [global, {capture, [1], list}]) of
        {match, Found} -> lists:usort(lists:append(Found));
        nomatch -> []
    end.

read(Name) ->
    {ok, Bytes} = file:read_file(file(Name)),
    unicode:characters_to_list(Bytes).

file(Name) ->
    repository:path("contrib/" ++ Name).
