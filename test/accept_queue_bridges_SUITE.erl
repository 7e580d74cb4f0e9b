%% The bridges to other people's tools, each with the real thing at its other end.
-module(accept_queue_bridges_SUITE).

-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

-define(PROMETHEUS, accept_queue_prometheus).
-define(DEADLINE_MS, 60000).

all() ->
    [
        {group, prometheus},
        {group, observer_cli},
        {group, ranch}
    ].

groups() ->
    [
        {prometheus, [], [
            the_collector_has_the_callbacks_of_prometheus,
            a_scrape_has_the_queued_connections,
            promtool_accepts_a_scrape,
            a_scrape_has_the_waits_of_accepted_connections_as_a_histogram,
            a_scrape_of_the_listeners_asks_the_kernel_nothing,
            the_metrics_are_those_of_the_exporter,
            a_vm_that_watches_nothing_has_no_listener_in_a_scrape,
            what_the_monitor_does_not_know_has_no_line
        ]},
        {observer_cli, [], [
            the_page_has_the_callbacks_of_observer_cli,
            a_page_on_a_terminal_shows_the_listeners,
            a_name_is_no_format
        ]},
        {ranch, [], [
            every_reference_is_watched_with_its_name,
            a_listener_that_is_started_later_is_watched,
            a_listener_that_was_stopped_and_started_is_watched_again,
            options_that_are_wrong_are_refused_in_a_sentence,
            without_ranch_it_waits_for_it
        ]}
    ].

%% A group whose library is not there is skipped, with the reason.
init_per_group(prometheus, Config) -> needs([prometheus], Config);
init_per_group(observer_cli, Config) -> needs([observer_cli], Config);
init_per_group(ranch, Config) -> needs([ranch], Config).

end_per_group(_, _) ->
    ok.

needs(Applications, Config) ->
    case components:load(Applications) of
        ok ->
            %% Their dependencies differ by release.
            case components:load(lists:append([missing(Application) || Application <- Applications])) of
                ok ->
                    [{ok, _} = application:ensure_all_started(Application) || Application <- Applications],
                    Config;
                {skip, _} = Skip ->
                    Skip
            end;
        {skip, _} = Skip ->
            Skip
    end.

missing(Application) ->
    _ = application:load(Application),
    {ok, Others} = application:get_key(Application, applications),
    [Other || Other <- Others, code:lib_dir(Other) =:= {error, bad_name}].

init_per_testcase(the_metrics_are_those_of_the_exporter = Case, Config) ->
    case code:lib_dir(inets) of
        {error, bad_name} -> {skip, "this Erlang has no inets, by which the exporter is asked"};
        _ -> started_for(Case, Config)
    end;
init_per_testcase(Case, Config) ->
    started_for(Case, Config).

started_for(Case, Config) ->
    case commands:needs(programs(Case)) of
        ok ->
            {ok, _} = application:ensure_all_started(accept_queue),
            Config;
        {skip, _} = Skip ->
            Skip
    end.

programs(promtool_accepts_a_scrape) -> ["promtool"];
programs(a_page_on_a_terminal_shows_the_listeners) -> ["script"];
programs(_) -> [].

end_per_testcase(_, _) ->
    [ranch:stop_listener(Ref) || Ref <- accept_queue_ranch:refs()],
    _ = application:unset_env(accept_queue, watch),
    _ = application:stop(accept_queue).

%% prometheus.erl

the_collector_has_the_callbacks_of_prometheus(_) ->
    has_callbacks(prometheus_collector, ?PROMETHEUS).

has_callbacks(Behaviour, Module) ->
    {module, _} = code:ensure_loaded(Module),
    Callbacks = Behaviour:behaviour_info(callbacks) -- Behaviour:behaviour_info(optional_callbacks),
    ?assertMatch([_ | _], Callbacks),
    ?assertEqual([], [Callback || {Name, Arity} = Callback <- Callbacks, not erlang:function_exported(Module, Name, Arity)]).

a_scrape_has_the_queued_connections(_) ->
    L = sockets:listen(5),
    Address = sockets:address(L),
    Clients = sockets:clients(3, Address),
    [First | _] = Clients,
    sockets:close(First),
    Of = fun(Metric, Labels) -> value(scraped(), Metric, [{"listener", text(Address)} | Labels]) end,
    eventually:is({"3", "5", "3", "0"}, fun() ->
        {Of("queued_connections", []), Of("limit", []), Of("peak_connections", []), Of("dropped_packets_total", [])}
    end),
    eventually:is({"2", "1", "0"}, fun() ->
        list_to_tuple([Of("connections", [{"state", State}]) || State <- ["alive", "closed", "reset"]])
    end),
    ?assertEqual("0", Of("accepted_connections", [{"state", "close_wait"}])),
    eventually:is("1", fun() -> Of("condition", [{"condition", "behind"}]) end),
    ?assertEqual("0", Of("condition", [{"condition", "leaking"}])),
    ?assert(list_to_float(Of("oldest_wait_seconds", [])) > 0.1),
    [sockets:close(Client) || Client <- tl(Clients)],
    ok = gen_tcp:close(L),
    eventually:is(undefined, fun() -> Of("limit", []) end).

promtool_accepts_a_scrape(Config) ->
    L = sockets:listen(5, [{ip, {0, 0, 0, 0}}]),
    [_] = sockets:clients(1, sockets:address(L)),
    Named = named(Config),
    eventually:is(true, fun() -> value(scraped(), "connections", [{"state", "alive"}]) =/= undefined end),
    eventually:is(true, fun() -> string:find(scraped(), "unix:") =/= nomatch end),
    ?assertEqual({0, ""}, commands:run("promtool", ["check", "metrics"], scraped())),
    ok = gen_tcp:close(Named),
    ok = gen_tcp:close(L).

a_scrape_has_the_waits_of_accepted_connections_as_a_histogram(_) ->
    L = sockets:listen(5),
    Of = [{"listener", text(sockets:address(L))}],
    eventually:is("5", fun() -> value(scraped(), "limit", Of) end),
    ?assertEqual(undefined, value(scraped(), "wait_seconds_count", Of)),
    _Clients = sockets:clients(3, sockets:address(L)),
    Waits = [
        begin
            {ok, Connection} = gen_tcp:accept(L, 60000),
            {ok, #{wait_ms := Ms}} = accept_queue:accepted(L, Connection),
            Ms
        end
     || _ <- [1, 2, 3]
    ],
    Text = scraped(),
    {match, Lines} = re:run(Text, "wait_seconds_bucket\\{(.*)le=\"([^\"]+)\"\\} ([0-9]+)", [global, {capture, all_but_first, list}]),
    Buckets = [{bound(Bound), list_to_integer(Count)} || [Labels, Bound, Count] <- Lines, string:find(Labels, text(sockets:address(L))) =/= nomatch],
    {ok, #{buckets := Known}} = accept_queue:waits(L),
    ?assertEqual(
        [{UpTo, length([Ms || Ms <- Waits, Ms =< UpTo])} || {UpTo, _} <- Known],
        Buckets
    ),
    ?assertEqual("3", value(Text, "wait_seconds_count", Of)),
    ?assertEqual(lists:sum(Waits), round(1000 * number(value(Text, "wait_seconds_sum", Of)))),
    ok = gen_tcp:close(L).

bound("+Inf") -> infinity;
bound(Seconds) -> round(1000 * number(Seconds)).

number(Text) ->
    try list_to_float(Text)
    catch error:badarg -> list_to_integer(Text)
    end.

a_scrape_of_the_listeners_asks_the_kernel_nothing(_) ->
    L = sockets:listen(5),
    eventually:is("5", fun() -> value(scraped(), "limit", [{"listener", text(sockets:address(L))}]) end),
    1 = erlang:trace_pattern({accept_queue_source, listening, 0}, true, []),
    1 = erlang:trace(self(), true, [call]),
    _ = scraped(),
    1 = erlang:trace(self(), false, [call]),
    _ = erlang:trace_pattern({accept_queue_source, listening, 0}, false, []),
    receive {trace, _, call, Call} -> ct:fail(Call) after 0 -> ok end,
    ok = gen_tcp:close(L).

%% A Unix listener with an unusual name.
named(_Config) ->
    %% The name of such a socket is at most 107 bytes long.
    Path = filename:join("/tmp", "aq" ++ os:getpid() ++ integer_to_list(erlang:unique_integer([positive]))),
    Name = <<(list_to_binary(Path))/binary, " \"~s~p\n\\", 255>>,
    {ok, Named} = gen_tcp:listen(0, [{ifaddr, {local, Name}}]),
    ok = file:delete(Name),
    Named.

%% Types too. Only what an exporter has and a collector has not differs, and what connections the application has counted.
the_metrics_are_those_of_the_exporter(Config) ->
    L = sockets:listen(5),
    Named = named(Config),
    [_] = sockets:clients(1, sockets:address(L)),
    Counted = sockets:listen(5),
    _ = sockets:client(sockets:address(Counted)),
    {ok, Connection} = gen_tcp:accept(Counted, 60000),
    {ok, _} = accept_queue:accepted(Counted, Connection),
    Port = commands:start(repository:target("release/accept-queue"), [
        "export", "--listen", "127.0.0.1:0", "--pid", os:getpid()
    ]),
    "accept-queue: metrics at " ++ Url = commands:line(Port),
    Listener = "listener=\"" ++ text(sockets:address(L)) ++ "\"",
    Exported = fun() ->
        {200, Body} = commands:fetch(Url),
        Body
    end,
    eventually:is(true, fun() ->
        Both = [Exported(), scraped()],
        lists:all(fun(Text) -> string:find(Text, "oldest_wait_seconds{" ++ Listener) =/= nomatch end, Both)
    end),
    ?assertEqual(
        [
            "failed_samples_total counter",
            "last_sample_duration_seconds gauge",
            "partly_read_listeners gauge",
            "process_info gauge",
            "samples_total counter",
            "sampling_seconds_total counter",
            "unreadable_processes gauge"
        ],
        families(Exported()) -- families(scraped())
    ),
    %% As soon as that listener is watched.
    eventually:is(["wait_seconds histogram"], fun() -> families(scraped()) -- families(Exported()) end),
    ok = gen_tcp:close(Counted),
    %% And listeners are called the same, whatever their names are.
    eventually:agree(fun() -> listeners(Exported()) end, fun() -> listeners(scraped()) end),
    ?assertMatch([_, _ | _], listeners(scraped())),
    ok = gen_tcp:close(Named),
    ok = commands:stop(Port),
    ok = gen_tcp:close(L).

a_vm_that_watches_nothing_has_no_listener_in_a_scrape(_) ->
    ok = application:stop(accept_queue),
    ok = application:set_env(accept_queue, watch, none),
    {ok, _} = application:ensure_all_started(accept_queue),
    L = sockets:listen(5),
    eventually:is("1", fun() -> value(scraped(), "up", []) end),
    Text = scraped(),
    ?assertEqual("0", value(Text, "listeners", [])),
    ?assertEqual(nomatch, string:find(Text, "listener=")),
    ok = gen_tcp:close(L).

what_the_monitor_does_not_know_has_no_line(_) ->
    L = sockets:listen(5),
    eventually:is("5", fun() -> value(scraped(), "limit", [{"listener", text(sockets:address(L))}]) end),
    ?assertEqual(undefined, value(scraped(), "oldest_wait_seconds", [])),
    ok = supervisor:terminate_child(accept_queue_sup, accept_queue_monitor),
    eventually:is("0", fun() -> value(scraped(), "up", []) end),
    ok = gen_tcp:close(L).

scraped() ->
    ok = prometheus_registry:register_collector(?MODULE, ?PROMETHEUS),
    unicode:characters_to_list(prometheus_text_format:format(?MODULE)).

%% Of the first line that has these labels.
value(Text, Metric, Labels) ->
    Lines = [
        Line
     || "accept_queue_" ++ Line <- string:split(Text, "\n", all),
        [Metric] =:= string:lexemes(hd(string:lexemes(Line, "{ ")), ""),
        lists:all(fun({Name, Value}) -> string:find(Line, [Name, "=\"", Value, "\""]) =/= nomatch end, Labels)
    ],
    case Lines of
        [Line | _] -> lists:last(string:lexemes(Line, " "));
        [] -> undefined
    end.

families(Text) ->
    lists:sort([Family || "# TYPE accept_queue_" ++ Family <- string:split(Text, "\n", all)]).

listeners(Text) ->
    {match, Found} = re:run(Text, "accept_queue_limit\\{listener=(\"(?:[^\"\\\\]|\\\\.)*\")", [global, {capture, [1], list}]),
    lists:usort(Found).

text(Address) ->
    lists:flatten(accept_queue_text:address(Address)).

%% observer_cli

the_page_has_the_callbacks_of_observer_cli(_) ->
    has_callbacks(observer_cli_plugin, accept_queue_observer_cli).

%% As a person has it: in a shell on a pseudo-terminal, which script(1) makes.
a_page_on_a_terminal_shows_the_listeners(_) ->
    Terminal = terminal("[gen_tcp:connect({127, 0, 0, 1}, P, []) || _ <- [1, 2]]"),
    shows(Terminal, "Accept queues"),
    Port = shown(Terminal, "listens on ([0-9]+)"),
    ok = says(Terminal, "P\n"),
    shows(Terminal, "Health: "),
    shows(Terminal, "Address *\\|Queued\\(Q\\) *\\|Limit\\(L\\)"),
    %% Queued, limit, and what of it.
    shows(Terminal, "0\\.0\\.0\\.0:" ++ Port ++ " *\\| 2 *\\| 7 *\\| [0-9]+ *\\| 0 *\\| 0 *\\| <[0-9.]+> *\\| till *\\| nobody accepts"),
    %% The owner's page, by the line's number.
    ok = says(Terminal, "1\n"),
    shows(Terminal, "registered_name|Process Info"),
    ok = commands:stop(Terminal).

terminal(Clients) ->
    Plugin = "#{module => accept_queue_observer_cli, title => \"Accept queues\", shortcut => \"A\", interval => 1500, sort_column => 2}",
    Lines = [
        "{ok, _} = application:ensure_all_started(accept_queue)",
        "true = register(till, self())",
        "{ok, L} = gen_tcp:listen(0, [{backlog, 7}])",
        "{ok, P} = inet:port(L)",
        Clients,
        "ok = application:load(observer_cli)",
        "application:set_env(observer_cli, plugins, [" ++ Plugin ++ "])",
        "io:format(\"Accept queues: listens on ~b~n\", [P])",
        "observer_cli:start()"
    ],
    Erl = commands:quoted([filename:join([code:root_dir(), "bin", "erl"]), "-pa" | other_vm:code_path()]),
    Terminal = commands:start("script", ["-qfc", "stty rows 50 cols 200; exec " ++ Erl, "/dev/null"], [stream]),
    shows(Terminal, "1> "),
    [ok = says(Terminal, [Line, ".\n"]) || Line <- Lines],
    Terminal.

says(Terminal, Text) ->
    true = port_command(Terminal, Text),
    ok.

shows(Terminal, Pattern) ->
    _ = shown(Terminal, "(" ++ Pattern ++ ")"),
    ok.

shown(Terminal, Pattern) ->
    shown(Terminal, Pattern, erlang:monotonic_time(millisecond) + ?DEADLINE_MS).

%% What has come since the terminal was started, as a person sees it: without the sequences that move and colour.
shown(Terminal, Pattern, Deadline) ->
    So = iolist_to_binary([get({screen, Terminal}) || get({screen, Terminal}) =/= undefined]),
    Plain = re:replace(So, "\e\\[[0-9;?]*[A-Za-z]", "", [global, {return, binary}]),
    case re:run(Plain, Pattern, [{capture, [1], list}]) of
        {match, [Found]} ->
            Found;
        nomatch ->
            receive
                {Terminal, {data, Bytes}} ->
                    _ = put({screen, Terminal}, <<So/binary, Bytes/binary>>),
                    shown(Terminal, Pattern, Deadline)
            after max(0, Deadline - erlang:monotonic_time(millisecond)) ->
                erlang:error({not_shown, Pattern, Plain})
            end
    end.

%% observer_cli gives the page to io:format/2 as a format, of Latin-1.
a_name_is_no_format(Config) ->
    L = named(Config),
    {Lines, state} = accept_queue_observer_cli:sheet_body(state),
    [Line] = [Line || [Address | _] = Line <- Lines, string:find(Address, "?s?p") =/= nomatch],
    ?assertEqual(9, length(Line)),
    ?assertEqual(length(accept_queue_observer_cli:sheet_header()), length(Line)),
    Texts = [Cell || Cell <- Line, is_list(Cell)],
    ?assertEqual([], [Char || Text <- Texts, Char <- Text, Char < $\s orelse Char >= $~]),
    {[Attributes], state} = accept_queue_observer_cli:attributes(state),
    ?assertMatch([#{content := "Health: " ++ _}, #{content := "Kernel: somaxconn " ++ _}], Attributes),
    ok = gen_tcp:close(L).

%% ranch

every_reference_is_watched_with_its_name(_) ->
    watching_nothing(),
    Refs = [shop, {admin, 2}],
    Addresses = [started(Ref) || Ref <- Refs],
    Other = sockets:listen(5),
    ok = accept_queue:subscribe(),
    {ok, Watcher} = accept_queue_ranch_watcher:start_link(#{for_ms => 100, max_wait_ms => 50}),
    ?assertEqual(lists:sort(Addresses), accept_queue:watched()),
    ?assertEqual(lists:sort(Refs), lists:sort(maps:keys(accept_queue_ranch_watcher:status()))),
    ?assertMatch(#{shop := {ok, #{conditions := []}}}, accept_queue_ranch_watcher:status()),
    %% With the options that were given, and the name.
    Held = sockets:clients(3, hd(Addresses)),
    receive
        {accept_queue, raised, behind, #{server := Server, address := Address}} ->
            ?assertEqual({{ranch, shop}, hd(Addresses)}, {Server, Address})
    after ?DEADLINE_MS -> erlang:error(not_raised)
    end,
    [sockets:close(Client) || Client <- Held],
    ok = accept_queue:unsubscribe(),
    ok = gen_server:stop(Watcher),
    eventually:is([], fun accept_queue:watched/0),
    ok = gen_tcp:close(Other).

a_listener_that_is_started_later_is_watched(_) ->
    watching_nothing(),
    #{start := {Module, Function, Arguments}} = accept_queue_ranch_watcher:child_spec(#{}),
    {ok, Watcher} = apply(Module, Function, Arguments),
    ?assertEqual([], accept_queue:watched()),
    Address = started(later),
    eventually:is([Address], fun accept_queue:watched/0),
    ok = gen_server:stop(Watcher).

a_listener_that_was_stopped_and_started_is_watched_again(_) ->
    watching_nothing(),
    Port = sockets:lasting_port(),
    Before = started(again, Port),
    {ok, Watcher} = accept_queue_ranch_watcher:start_link(#{}),
    ?assertEqual([Before], accept_queue:watched()),
    [
        begin
            ok = Stop(again),
            eventually:is([], fun accept_queue:watched/0),
            _ = Start(),
            eventually:is([Before], fun accept_queue:watched/0)
        end
     || {Stop, Start} <- [
            {fun ranch:stop_listener/1, fun() -> started(again, Port) end},
            {fun ranch:suspend_listener/1, fun() -> ok = ranch:resume_listener(again) end}
        ]
    ],
    ok = gen_server:stop(Watcher).

options_that_are_wrong_are_refused_in_a_sentence(_) ->
    {error, Sentence} = accept_queue_ranch_watcher:start_link(#{stuck_ms => soon}),
    ?assertMatch({match, _}, re:run(Sentence, "stuck_ms.*soon")).

without_ranch_it_waits_for_it(_) ->
    Vm = other_vm:start(#{paths => other_vm:code_path_without(ranch)}),
    {ok, _} = other_vm:call(Vm, application, ensure_all_started, [accept_queue]),
    ?assertEqual(non_existing, other_vm:call(Vm, code, which, [ranch])),
    {ok, Watcher} = other_vm:call(Vm, accept_queue_ranch_watcher, start_link, [#{}]),
    ?assertEqual(#{}, other_vm:call(Vm, accept_queue_ranch_watcher, status, [])),
    ok = other_vm:call(Vm, gen_server, stop, [Watcher]),
    other_vm:stop(Vm).

watching_nothing() ->
    ok = application:stop(accept_queue),
    ok = application:set_env(accept_queue, watch, none),
    {ok, _} = application:ensure_all_started(accept_queue).

started(Ref) ->
    started(Ref, 0).

%% One acceptor, which is parked with its first connection.
started(Ref, Port) ->
    Socket = [{ip, {127, 0, 0, 1}}, {port, Port}],
    Options = #{num_acceptors => 1, max_connections => 1, socket_opts => Socket},
    {ok, _} = ranch:start_listener(Ref, ranch_tcp, Options, ?MODULE, []),
    ranch:get_addr(Ref).

%% As ranch's protocol: holds its connection.
start_link(_Ref, _Transport, _Options) ->
    {ok, spawn_link(fun() -> receive stop -> ok end end)}.
