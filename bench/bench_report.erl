%% Samples -> sections of figures side by side, each with its goal and whether it was met.
-module(bench_report).

-export([machine/0, headline/1, summary/1]).
-export([readings/1, calls/2, ports/1, monitor/1, alarms/1, program/1]).

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
%% Of a call's time in the VM, what must be spent on the schedulers it belongs to. The rest is the way there and back.
-define(HOME_SHARE, 0.75).

-define(COMPARED, ["reading", "takes", "beside", "which takes", "ratio", "quartiles", "of the best", "goal", ""]).

-type section() :: bench_table:section().

-spec machine() -> iodata().
machine() ->
    {ok, Kernel} = file:read_file("/proc/sys/kernel/osrelease"),
    {ok, Load} = file:read_file("/proc/loadavg"),
    {ok, Cpu} = file:read_file("/proc/cpuinfo"),
    {match, [Model]} = re:run(Cpu, "model name\\s*: (.*)", [{capture, all_but_first, binary}]),
    io_lib:format("Linux ~ts, ~ts, ~b cores, load average ~ts; OTP ~ts, erts ~ts; ~ts buckets; ~ts.", [
        string:trim(Kernel),
        Model,
        erlang:system_info(logical_processors_available),
        hd(string:split(Load, " ")),
        erlang:system_info(otp_release),
        erlang:system_info(version),
        buckets(),
        os:getenv("APART")
    ]).

%% The size of the table that a dump walks through, from end to end. Negative: shared with other network namespaces.
buckets() ->
    case file:read_file("/proc/sys/net/ipv4/tcp_ehash_entries") of
        {ok, Buckets} -> string:trim(Buckets);
        {error, _} -> "an unknown number of"
    end.

-spec headline(iodata()) -> iodata().
headline(Machine) ->
    [$\n, Machine, $\n].

-spec summary([section()]) -> iodata().
summary(Sections) ->
    Verdicts = [Verdict || #{rows := Rows} <- Sections, Row <- Rows, {goal, Verdict} <- Row],
    [Met, Missed] = [length([V || V <- Verdicts, V =:= Which]) || Which <- [met, missed]],
    io_lib:format("~n~b goals met, ~b missed.~n", [Met, Missed]).

-spec readings(bench_readings:figures()) -> [section()].
readings(#{cells := Cells, skipped := Skipped}) ->
    Notes = [io_lib:format("Skipped: ~ts, ~ts.", [name(Name), Why]) || {Name, Why} <- Skipped],
    Sockets = lists:usort([S || {S, _, _} <- Cells]),
    Listeners = lists:usort([L || {_, L, _} <- Cells]),
    At = fun(S, L) -> hd([Rounds || {S1, L1, Rounds} <- Cells, S1 =:= S, L1 =:= L]) end,
    Names = [Name || Name <- order(), maps:is_key(Name, hd(At(hd(Sockets), hd(Listeners))))],
    [
        #{
            title => "How a reading grows with the sockets of others, beside one listener",
            headings => ["reading" | [io_lib:format("~b sockets", [S]) || S <- Sockets]] ++ ["grows", "goal", ""],
            rows => [grown(Name, [times(Name, At(S, hd(Listeners))) || S <- Sockets]) || Name <- Names],
            notes => Notes
        },
        #{
            title => "How a reading grows with the listeners, beside no other socket",
            headings => ["reading" | [listeners(L) || L <- Listeners]] ++ ["grows", "", ""],
            rows => [lists:sublist(grown(Name, [times(Name, At(hd(Sockets), L)) || L <- Listeners]), length(Listeners) + 2) ++ [none, none] || Name <- Names]
        }
    ] ++
        [
            #{
                title => "The time of a call, beside what a user would take instead, or the least that the kernel allows",
                headings => ["other sockets", "listeners" | ?COMPARED],
                rows => [
                    [{count, S}, {count, L} | comparison(Comparison, Rounds)]
                 || {_, Theirs, _} = Comparison <- ?READINGS ++ ?READINGS_OF_ALL, lists:member(Theirs, Names), {S, L, Rounds} <- Cells
                ]
            }
        ].

order() ->
    [depth, bare_getsockopt, getopts, getopt_native, raindrops, ss, os_cmd, counts, bare_dump, proc, depth_all, raindrops_all, list].

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
        #{
            title => "Single calls, the clock included",
            headings => ["call", "p50", "p99", "p99.9", "goal", ""],
            rows => [tail(Tail) || Tail <- Tails]
        },
        #{
            title => "Where a call keeps the VM busy",
            headings => ["call", "normal schedulers", "dirty I/O", "dirty CPU", "goal", ""],
            rows => [where(Call) || Call <- Where]
        }
    ].

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
            title => io_lib:format("In a VM with ~b ports", [Ports]),
            headings => ["call", "median", "slowest", "goal", ""],
            rows => [
                [Name, {ns, bench_rounds:median(Times)}, {ns, lists:max(Times)} | below({ns, Goal}, bench_rounds:median(Times) < Goal)]
             || {Name, Times, Goal} <- Calls
            ],
            notes => [io_lib:format("The longest that anything held a normal scheduler meanwhile: ~b ms.", [Longest])]
        }
    ].

-spec monitor(bench_monitor:figures()) -> [section()].
monitor(#{loads := Loads, timer := Timer, sleeper := Sleeper, bytes := Bytes, health_ns := Health, longest_ms := Longest}) ->
    [
        #{
            title => "What watching costs while nothing happens",
            headings => ["listeners", "every", "of a core", "goal", ""],
            rows =>
                [
                    [{count, Count}, {ms, Ms}, {percent, Percent} | below({percent, Goal}, Percent < Goal)]
                 || {Count, Ms, Percent, Goal} <- Loads
                ] ++
                    [
                        ["for comparison: an Erlang process that wakes up", {ms, 100}, {percent, Timer}, none, none],
                        ["a C program that wakes up", {ms, 100}, {percent, Sleeper}, none, none]
                    ],
            notes => [
                io_lib:format(
                    "~.1f KiB of memory a listener. `health()` takes ~.2f us. The longest that anything held a normal scheduler: ~b ms.",
                    [Bytes / 1024, Health / 1000, Longest]
                )
            ]
        }
    ].

-spec alarms(bench_alarms:figures()) -> [section()].
alarms(Alarms) ->
    [
        #{
            title => "How late an alarm is, after the time that it has to hold for",
            headings => ["what begins", "each run", "the worst", "goal", ""],
            rows => [alarm(Alarm) || Alarm <- Alarms]
        }
    ].

alarm({Begins, Late, Goal}) ->
    Each = lists:join(", ", [io_lib:format("~.1f ms", [Ms]) || Ms <- Late]),
    [Begins, Each, {ms, lists:max(Late)}, io_lib:format("at most ~b ms", [Goal]), met(lists:max(Late) =< Goal)].

-spec program(bench_outside:figures()) -> [section()].
program(Outside) ->
    [
        #{
            title => "The program, from its start to its end",
            headings => ["other sockets" | ?COMPARED],
            rows => [[{count, Sockets} | comparison(Comparison, Rounds)] || Comparison <- ?OUTSIDE, {Sockets, Rounds} <- Outside],
            notes => [probe(At) || At <- Outside]
        }
    ].

probe({Sockets, Rounds}) ->
    io_lib:format("The slowest turn of a readiness probe beside ~b sockets: ~.1f ms (goal: below ~b ms).", [
        Sockets, lists:max(times(program_check, Rounds)) / 1_000_000, ?PROBE_NS div 1_000_000
    ]).

%% Times are divided round by round. The ratio of the best rounds is what is left when the machine does nothing else.
comparison({Ours, Theirs, {Direction, _} = Goal}, Rounds) ->
    [Times, OtherTimes] = [times(Name, Rounds) || Name <- [Ours, Theirs]],
    {Dividends, Divisors} =
        case Direction of
            at_most -> {Times, OtherTimes};
            faster -> {OtherTimes, Times}
        end,
    Ratios = lists:zipwith(fun(Dividend, Divisor) -> Dividend / Divisor end, Dividends, Divisors),
    Ratio = bench_rounds:median(Ratios),
    {Low, High} = bench_rounds:quartiles(Ratios),
    [
        name(Ours),
        {ns, bench_rounds:median(Times)},
        name(Theirs),
        {ns, bench_rounds:median(OtherTimes)},
        {case Direction of at_most -> ratio; faster -> faster end, Ratio},
        {ratios, Low, High},
        {ratio, lists:min(Dividends) / lists:min(Divisors)}
        | verdict(Goal, Ratio)
    ].

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
verdict({at_most, Goal}, Ratio) -> [io_lib:format("at most ~p x", [Goal]), met(Ratio =< Goal)];
verdict({faster, Goal}, Ratio) -> [io_lib:format("at least ~p x", [Goal]), met(Ratio >= Goal)].

below(Limit, IsMet) -> [["below ", bench_table:text(Limit)], met(IsMet)].

met(true) -> {goal, met};
met(false) -> {goal, missed}.
