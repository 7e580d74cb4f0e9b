%% Samples -> sections of figures side by side, each with its goal and whether it was met.
-module(bench_report).

-export([machine/0, markdown/2, json/1]).
-export([readings/1, calls/2, port/1, ports/1, monitor/1, alarms/2, watchdog/1, program/1, watch/1, record/1, diagnose/1, acceptors/1]).

-export_type([part/0]).

-type part() :: #{name := string(), settings := iodata(), machine := machine(), seconds := integer(), sections := [section()]}.
-type machine() :: #{description := iodata(), load := binary(), day := calendar:date()}.

%% {ours, theirs, goal}: at most so many times their time, or so many times faster than they are.
-define(READINGS, [
    {depth, bare_getsockopt, {at_most, 1.25}},
    {depth, getopts, {faster, 2.5}},
    {depth, getopt_native, {faster, none}},
    {depth, raindrops, {faster, 80}},
    {depth, ss, {faster, none}},
    {depth, os_cmd, {faster, 2000}},
    {counts, bare_dump, {at_most, 1.15}},
    {counts, proc, {faster, none}}
]).
-define(READINGS_OF_ALL, [
    {depth_all, raindrops_all, {faster, none}},
    {depth_all, ss, {faster, none}},
    {depth_all, os_cmd, {faster, none}},
    {list, ss, {faster, none}}
]).
%% The program, from the start of its process to the end.
-define(OUTSIDE, [
    {program_list, ss_owners, {at_most, 1.0}},
    {program_list_all, ss_owners, {at_most, 1.2}},
    {program_check, ss_owners, {at_most, none}}
]).
%% The longest that a container's readiness probe should take.
-define(PROBE_NS, 30_000_000).
%% The depth does not grow with the sockets of others.
-define(FLATNESS, 1.10).
%% The longest that one in a thousand first-tier calls may take.
-define(TAIL_NS, 20_000).
%% What the documents say of one with a handle.
-define(SAID_NS, 2000).
%% Of the program beside ten listeners.
-define(WATCH_PERCENT, 0.5).
-define(CROWDED_PERCENT, 5).
%% The limit in contrib/kubernetes/daemonset.yaml.
-define(CROWDED_MIB, 128).
-define(WATCH_MIB, 20).
%% Of a core, a look of `diagnose'.
-define(DIAGNOSE_PERCENT, 1.0).
-define(LISTENER_KIB, 2).
-define(WATCHED_RATE, 0.99).
-define(HEALTH_NS, 5000).
%% Of a call's time in the VM, what must be spent on the schedulers it belongs to. The rest is the way there and back.
-define(HOME_SHARE, 0.75).

-define(COMPARED, ["reading", "takes", "beside", "which takes", "ratio", "quartiles", "of the best", "goal", ""]).

-type section() :: bench_table:section().

-spec machine() -> machine().
machine() ->
    {ok, Kernel} = file:read_file("/proc/sys/kernel/osrelease"),
    {ok, Load} = file:read_file("/proc/loadavg"),
    {ok, Cpu} = file:read_file("/proc/cpuinfo"),
    {match, [Model]} = re:run(Cpu, "model name\\s*: (.*)", [{capture, all_but_first, binary}]),
    {Day, _} = calendar:local_time(),
    #{
        description => io_lib:format("Linux ~ts, ~ts, ~b cores; OTP ~ts, erts ~ts; ~ts buckets; ~ts", [
            string:trim(Kernel),
            Model,
            erlang:system_info(logical_processors_available),
            erlang:system_info(otp_release),
            erlang:system_info(version),
            buckets(),
            os:getenv("APART")
        ]),
        load => hd(binary:split(Load, <<" ">>)),
        day => Day
    }.

%% The size of the table that a dump walks through, from end to end. Negative: shared with other network namespaces.
buckets() ->
    case file:read_file("/proc/sys/net/ipv4/tcp_ehash_entries") of
        {ok, Buckets} -> string:trim(Buckets);
        {error, _} -> "an unknown number of"
    end.

%% Each part between marks by which bench/into finds it.
-spec markdown([part(), ...], boolean()) -> iodata().
markdown(Parts, IsWhole) ->
    [
        block("machine", [$\n, headline(Parts, IsWhole), $\n])
        | [
            block(Name, [[bench_table:markdown(Section) || Section <- Sections], "\n(", by(Name), "; ", Settings, ".)\n"])
         || #{name := Name, settings := Settings, sections := Sections} <- Parts
        ]
    ].

block(Name, Text) ->
    ["<!-- bench: ", Name, " -->\n", Text, "\n<!-- bench: end -->\n"].

by(Name) ->
    io_lib:format("`make bench PARTS=~ts`", [Name]).

headline([#{machine := #{description := Description, day := Day}} | _] = Parts, IsWhole) ->
    Loads = lists:join(", ", [[Name, $\s, Load] || #{name := Name, machine := #{load := Load}} <- Parts]),
    Verdicts = [
        Verdict
     || #{sections := Sections} <- Parts, #{rows := Rows} = Section <- Sections, not is_map_key(only, Section), Row <- Rows, {goal, Verdict} <- Row
    ],
    Met = length([met || met <- Verdicts]),
    io_lib:format("~ts, ~ts of `make bench` in ~b s: ~ts.~n~nLoad average as each part began: ~ts. Of the goals ~b are met, ~b missed.", [
        day(Day),
        case IsWhole of
            true -> "one whole run";
            false -> "some parts"
        end,
        lists:sum([Seconds || #{seconds := Seconds} <- Parts]),
        Description,
        Loads,
        Met,
        length(Verdicts) - Met
    ]).

day({Year, Month, Day}) ->
    Months = {
        "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"
    },
    io_lib:format("~b ~ts ~b", [Day, element(Month, Months), Year]).

-spec json([part(), ...]) -> iodata().
json([#{machine := #{description := Description}} | _] = Parts) ->
    bench_table:json(#{
        machine => Description,
        parts =>
            {list, [
                #{name => Name, settings => Settings, load => Load, sections => {list, Sections}}
             || #{name := Name, settings := Settings, machine := #{load := Load}, sections := Sections} <- Parts
            ]}
    }).

-spec readings(bench_readings:figures()) -> [section()].
readings(#{cells := Cells, skipped := Skipped}) ->
    Notes = [io_lib:format("Skipped: ~ts, ~ts.", [name(Name), Why]) || {Name, Why} <- Skipped],
    Sockets = lists:usort([S || {S, _, _} <- Cells]),
    Listeners = lists:usort([L || {_, L, _} <- Cells]),
    At = fun(S, L) -> hd([Rounds || {S1, L1, Rounds} <- Cells, S1 =:= S, L1 =:= L]) end,
    Names = [Name || Name <- order(), maps:is_key(Name, hd(At(hd(Sockets), hd(Listeners))))],
    Measured = fun(Comparisons) -> [Comparison || {_, Theirs, _} = Comparison <- Comparisons, lists:member(Theirs, Names)] end,
    [
        #{
            title => "How a reading grows with the sockets of others, beside one listener",
            headings => ["reading" | [others(S) || S <- Sockets]] ++ ["grows", "goal", ""],
            rows => [grown(Name, [times(Name, At(S, hd(Listeners))) || S <- Sockets]) || Name <- Names],
            notes => Notes
        },
        #{
            title => "How a reading grows with the listeners, beside no other socket",
            headings => ["reading" | [listeners(L) || L <- Listeners]] ++ ["grows"],
            rows => [lists:sublist(grown(Name, [times(Name, At(hd(Sockets), L)) || L <- Listeners]), length(Listeners) + 2) || Name <- Names]
        },
        #{
            title => "One listener, beside what a user would take instead, or the least that the kernel allows",
            headings => ["reading", "beside" | [others(S) || S <- Sockets]] ++ ["goal", ""],
            rows => [
                across(Comparison, [At(S, hd(Listeners)) || S <- Sockets], [Rounds || {_, _, Rounds} <- Cells])
             || Comparison <- Measured(?READINGS)
            ],
            notes => [
                io_lib:format(
                    "The median of the rounds, and its quartiles. The verdict is over the ~b combinations of sockets and listeners.",
                    [length(Cells)]
                )
            ]
        },
        #{
            title => io_lib:format("All of ~b listeners", [lists:last(Listeners)]),
            headings => ["reading", "beside" | [others(S) || S <- Sockets]] ++ ["goal", ""],
            rows => [
                across(Comparison, [At(S, lists:last(Listeners)) || S <- Sockets], [])
             || Comparison <- Measured(?READINGS_OF_ALL)
            ]
        },
        #{
            only => json,
            title => "Every comparison",
            headings => ["other sockets", "listeners" | ?COMPARED],
            rows => [
                [{count, S}, {count, L} | comparison(Comparison, Rounds)]
             || Comparison <- Measured(?READINGS ++ ?READINGS_OF_ALL), {S, L, Rounds} <- Cells
            ]
        }
    ].

%% One cell for each number of other sockets, and in how many of all combinations the goal is missed.
across({Ours, Theirs, Goal} = Comparison, Shown, All) ->
    Verdicts = [verdict(Goal, ratio(Comparison, Rounds)) || Rounds <- All],
    [name(Ours), name(Theirs)] ++ [ratio_with_quartiles(Comparison, Rounds) || Rounds <- Shown] ++ together(Verdicts).

together([]) -> [none, none];
together([[Goal, none] | _]) -> [Goal, none];
together([[Goal, _] | _] = Verdicts) ->
    case length([missed || [_, {goal, missed}] <- Verdicts]) of
        0 -> [Goal, {goal, met}];
        Missed -> [Goal, {goal, {missed, Missed, length(Verdicts)}}]
    end.

ratio_with_quartiles({_, _, {Direction, _}} = Comparison, Rounds) ->
    {Low, High} = bench_rounds:quartiles(ratios(Comparison, Rounds)),
    [bench_table:text({Direction, ratio(Comparison, Rounds)}), " (", bench_table:text({ratios, Low, High}), ")"].

order() ->
    [depth, bare_getsockopt, getopts, getopt_native, raindrops, ss, os_cmd, counts, bare_dump, proc, depth_all, raindrops_all, list].

others(Count) -> [bench_table:text({count, Count}), " sockets"].

listeners(1) -> "1 listener";
listeners(Count) -> io_lib:format("~b listeners", [Count]).

grown(Name, [First | _] = Times) ->
    Last = lists:last(Times),
    Growth = bench_rounds:median(Last) / bench_rounds:median(First),
    [name(Name) | [{ns, bench_rounds:median(Each)} || Each <- Times]] ++
        [{ratio, Growth} | case Name of depth -> verdict({at_most, ?FLATNESS}, Growth); _ -> [none, none] end].

-spec calls([{string(), first_tier | none, bench_tail:tail()}], [{string(), atom(), #{atom() => non_neg_integer()}}]) -> [section()].
calls(Tails, Where) ->
    [
        tails("Single calls, the clock included", Tails),
        said(hd(Tails)),
        #{
            title => "Where a call keeps the VM busy",
            headings => ["call", "normal schedulers", "dirty I/O", "dirty CPU", "goal", ""],
            rows => [where(Call) || Call <- Where]
        }
    ].

%% The sentence is also in the documentation of `depth/1' and in docs/configuration.md.
said({Name, _, Tail}) ->
    Ns = bench_tail:percentile(Tail, 50),
    #{
        title => "What README.md says of it",
        headings => ["sentence", "p50", "goal", ""],
        rows => [[[Name, ": in 1 to 2 µs"], {ns, Ns} | below({ns, ?SAID_NS}, Ns =< ?SAID_NS)]]
    }.

-spec port([{string(), none, bench_tail:tail()}]) -> [section()].
port(Tails) ->
    [tails("Single calls by the port program", Tails)].

tails(Title, Tails) ->
    #{title => Title, headings => ["call", "p50", "p99", "p99.9", "goal", ""], rows => [tail(Tail) || Tail <- Tails]}.

tail({Name, Kind, Tail}) ->
    Percentiles = [bench_tail:percentile(Tail, Percent) || Percent <- [50, 99, 99.9]],
    [Name | [{ns, Ns} || Ns <- Percentiles]] ++ tail_verdict(Kind, lists:last(Percentiles)).

tail_verdict(first_tier, Ns) -> below({ns, ?TAIL_NS}, Ns < ?TAIL_NS);
tail_verdict(none, _) -> [none, none].

where({Name, Home, Busy}) ->
    Share = maps:get(Home, Busy) / lists:sum(maps:values(Busy)),
    Times = [{ns, maps:get(Kind, Busy)} || Kind <- [scheduler, dirty_io_scheduler, dirty_cpu_scheduler]],
    [Name | Times] ++ [["on ", home(Home)], met(Share >= ?HOME_SHARE)].

-spec ports(bench_ports:figures()) -> [section()].
ports(#{ports := Ports, longest_ms := Longest, calls := Calls}) ->
    [
        #{
            title => ["In a VM with ", bench_table:text({count, Ports}), " ports"],
            headings => ["call", "median", "slowest", "goal", ""],
            rows => [
                [Name, {ns, bench_rounds:median(Times)}, {ns, lists:max(Times)} | below({ns, Goal}, bench_rounds:median(Times) < Goal)]
             || {Name, Times, Goal} <- Calls
            ],
            notes => [io_lib:format("The longest that anything held a normal scheduler meanwhile: ~b ms.", [Longest])]
        }
    ].

-spec monitor(bench_monitor:figures()) -> [section()].
monitor(#{loads := Loads, timer := Timer, sleeper := Sleeper, bytes := Memory, health_ns := Health, longest_ms := Longest}) ->
    Bytes = bench_rounds:median(Memory),
    Nothing = [none, none, none, none],
    [
        #{
            title => "What the monitor costs",
            headings => ["listeners", "what happens", "of a core", "goal", "", "wake-ups a second: its threads", "the VM's threads"],
            rows =>
                lists:append([monitored(Load) || Load <- Loads]) ++
                    [
                        [none, "an Erlang process that wakes up every 100 ms", {percent, Timer} | Nothing],
                        [none, "a C program that does so, and no VM", {percent, Sleeper} | Nothing]
                    ],
            notes => [
                "Default settings. While nothing happens: all threads of the VM, less those of the same VM with the same listeners and without the "
                "application. While connections come: the threads of the application alone."
            ]
        },
        #{
            title => "Beside what is watched",
            headings => ["what", "", "goal", ""],
            rows => [
                [memory(Memory), {kib, Bytes / 1024} | below({kib, ?LISTENER_KIB}, Bytes < 1024 * ?LISTENER_KIB)],
                ["`health()`, with 1,000 listeners", {ns, Health} | below({ns, ?HEALTH_NS}, Health < ?HEALTH_NS)],
                ["the longest that anything held a normal scheduler, opening and closing included", {ms, Longest}, none, none]
            ]
        }
    ].

memory(Memory) ->
    lists:flatten(io_lib:format("memory a listener, from ~.1f to ~.1f KiB", [lists:min(Memory) / 1024, lists:max(Memory) / 1024])).

monitored(#{listeners := Count, name := Name, percent := Percent, goal := Goal, before := Before, our_wakeups := Ours, vm_wakeups := Vm}) ->
    Verdict =
        case Goal of
            {below, Limit} -> below({percent, Limit}, Percent < Limit);
            none -> [none, none]
        end,
    [
        [{count, Count}, Name, {percent, Percent}] ++ Verdict ++ [{rate, Ours}, {rate, Vm}]
        | [
            [{count, Count}, [Name, ", by the build before"], {percent, Was}, none, none, {rate, OursWas}, {rate, VmWas}]
         || #{percent := Was, our_wakeups := OursWas, vm_wakeups := VmWas} <- [Before]
        ]
    ].

-spec alarms(bench_alarms:figures(), bench_full_speed:figures()) -> [section()].
alarms(Alarms, #{per_second := PerSecond, counts := Counts, false := False, most := Most, watched := Watched}) ->
    Ratio = bench_rounds:median(Watched),
    {Low, High} = bench_rounds:quartiles(Watched),
    [
        #{
            title => "How late an alarm is, after the time that it has to hold for",
            headings => ["what begins", "each run", "the worst", "goal", ""],
            rows => [alarm(Alarm) || Alarm <- Alarms]
        },
        #{
            title => "Resets that never were, at a server at full speed",
            headings => ["connections a second", "`counts`", "with a reset", "the most at once"],
            rows => [[{count, PerSecond}, {count, Counts}, {percent, 100 * False / Counts}, {count, Most}]]
        },
        #{
            title => "What it accepts while it is watched, of what it accepts while it is not",
            headings => ["rounds", "ratio", "quartiles", "goal", ""],
            rows => [
                [
                    {count, length(Watched)},
                    {ratio, Ratio},
                    io_lib:format("~.3f to ~.3f", [Low, High]),
                    ["at least ", bench_table:text({ratio, ?WATCHED_RATE})],
                    met(Ratio >= ?WATCHED_RATE)
                ]
            ]
        }
    ].

alarm({Begins, Late, Goal}) ->
    Each = lists:join(", ", [io_lib:format("~.1f ms", [Ms]) || Ms <- Late]),
    [Begins, Each, {ms, lists:max(Late)}, io_lib:format("at most ~b ms", [Goal]), met(lists:max(Late) =< Goal)].

-spec watchdog(bench_watch:figures()) -> [section()].
watchdog(Figures) ->
    [used("What the watchdog costs", Figures, {?WATCH_PERCENT, ?WATCH_MIB})].

-spec watch({bench_watch:figures(), bench_watch:figures()}) -> [section()].
watch({Own, Foreign}) ->
    [
        used("What watching from outside costs, beside ten listeners, every 100 ms", Own, {?WATCH_PERCENT, ?WATCH_MIB}),
        used("The same beside 15,000 listeners of another process", Foreign, {?CROWDED_PERCENT, ?CROWDED_MIB})
    ].

used(Title, Figures, {MostPercent, MostMib}) ->
    #{
        title => Title,
        headings => ["command", "while", "of a core", "goal", "", "memory at most", "its goal", " "],
        rows => [
            [Name, When, {percent, Percent} | within(Goal, {percent, MostPercent}, Percent)] ++ [{mib, MiB} | within(Goal, {mib, MostMib}, MiB)]
         || {Name, When, Percent, MiB, Goal} <- Figures
        ]
    }.

within(goal, {_, Limit} = Below, Figure) -> below(Below, Figure < Limit);
within(none, _, _) -> [none, none].

-spec diagnose(bench_outside:diagnose()) -> [section()].
diagnose(#{looks := Looks, pollsets := Pollsets}) ->
    [Took, Processor, KiB] = [bench_rounds:median([element(Nth, Look) || Look <- Looks]) || Nth <- [1, 2, 3]],
    Percent = 100 * Processor / Took,
    [
        #{
            title => "What `diagnose` costs, beside an idle VM",
            headings => ["takes", "of a processor", "of a core", "goal", "", "memory at most"],
            rows => [[{ns, Took}, {ns, Processor}, {percent, Percent}] ++ below({percent, ?DIAGNOSE_PERCENT}, Percent < ?DIAGNOSE_PERCENT) ++ [{mib, KiB / 1024}]]
        },
        #{
            title => "For how long an epoll set is locked while it is read",
            headings => ["descriptors in it", "locked for"],
            rows => [[{count, Count}, {ns, Ns}] || {Count, Ns} <- Pollsets]
        }
    ].

-spec record(bench_record:figures()) -> [section()].
record(Figures) ->
    [
        #{
            title => "How large a recording of one listener becomes, every 100 ms",
            headings => ["while", "bytes an hour"],
            rows => [[What, {count, round(Bytes)}] || {What, Bytes} <- Figures]
        }
    ].

-spec acceptors(bench_acceptors:figures()) -> [section()].
acceptors(#{sizes := Sizes, waiting := Waiting, rates := Rates}) ->
    [
        #{
            title => ["Connections accepted and closed a second, of ", bench_table:text({count, Waiting}), " that wait"],
            headings => ["acceptors" | [bench_table:text({count, Size}) || Size <- Sizes]],
            rows => [[backend(Backend) | [{count, round(PerSecond)} || PerSecond <- PerSecondBySize]] || {Backend, PerSecondBySize} <- Rates]
        }
    ].

backend(inet) -> "`gen_tcp`, the inet driver";
backend(gen_tcp_socket) -> "`gen_tcp`, `{inet_backend, socket}`";
backend(socket) -> "`socket`".

-spec program(bench_outside:figures()) -> [section()].
program(Outside) ->
    [
        #{
            title => "The program, from its start to its end",
            headings => ["other sockets" | ?COMPARED],
            rows => [[{count, Sockets} | comparison(Comparison, Rounds)] || Comparison <- ?OUTSIDE, {Sockets, Rounds} <- Outside]
        },
        #{
            title => "The slowest turn of a readiness probe",
            headings => ["other sockets", "took", "goal", ""],
            rows => [probe(At) || At <- Outside]
        }
    ].

probe({Sockets, Rounds}) ->
    Slowest = lists:max(times(program_check, Rounds)),
    [{count, Sockets}, {ns, Slowest} | below({ns, ?PROBE_NS}, Slowest < ?PROBE_NS)].

%% Times are divided round by round. The ratio of the best rounds is what is left when the machine does nothing else.
comparison({Ours, Theirs, {Direction, _} = Goal} = Comparison, Rounds) ->
    {Dividends, Divisors} = divided(Comparison, Rounds),
    {Low, High} = bench_rounds:quartiles(ratios(Comparison, Rounds)),
    Ratio = ratio(Comparison, Rounds),
    [
        name(Ours),
        {ns, bench_rounds:median(times(Ours, Rounds))},
        name(Theirs),
        {ns, bench_rounds:median(times(Theirs, Rounds))},
        {Direction, Ratio},
        {ratios, Low, High},
        {ratio, lists:min(Dividends) / lists:min(Divisors)}
        | verdict(Goal, Ratio)
    ].

ratio(Comparison, Rounds) ->
    bench_rounds:median(ratios(Comparison, Rounds)).

ratios(Comparison, Rounds) ->
    {Dividends, Divisors} = divided(Comparison, Rounds),
    lists:zipwith(fun(Dividend, Divisor) -> Dividend / Divisor end, Dividends, Divisors).

divided({Ours, Theirs, {at_most, _}}, Rounds) -> {times(Ours, Rounds), times(Theirs, Rounds)};
divided({Ours, Theirs, {faster, _}}, Rounds) -> {times(Theirs, Rounds), times(Ours, Rounds)}.

times(Name, Rounds) ->
    [maps:get(Name, Round) || Round <- Rounds].

home(scheduler) -> "a normal one";
home(dirty_io_scheduler) -> "a dirty I/O one".

name(depth) -> "`depth(Handle)`";
name(depth_all) -> "`depth(Handle)` of each";
name(counts) -> "`counts(Handle)`";
name(bare_getsockopt) -> "the same system calls in C";
name(getopts) -> "`inet:getopts`, two raw options";
name(getopt_native) -> "`socket:getopt_native`, twice";
name(bare_dump) -> "the same dump in C";
name(proc) -> "`/proc/net/tcp` in Erlang";
name(raindrops) -> "Raindrops, one listener";
name(raindrops_all) -> "Raindrops, all listeners";
name(os_cmd) -> "`os:cmd(\"ss -Hltn\")`";
name(list) -> "`list()`, all listeners";
name(program_list) -> "`accept-queue list`, one BEAM";
name(program_list_all) -> "`accept-queue list --all`";
name(ss_owners) -> "`ss -ltnp`";
name(program_check) -> "`accept-queue check --samples 1 --port`";
name(ss) -> "`ss -Hltn`".

verdict({_, none}, _) -> [none, none];
verdict({at_most, Goal}, Ratio) -> [["at most ", bench_table:text({ratio, Goal})], met(Ratio =< Goal)];
verdict({faster, Goal}, Ratio) -> [["at least ", bench_table:text({ratio, Goal})], met(Ratio >= Goal)].

below(Limit, IsMet) -> [["below ", bench_table:text(Limit)], met(IsMet)].

met(true) -> {goal, met};
met(false) -> {goal, missed}.
