%% Samples -> Markdown: figures side by side, each with its goal and whether it was met.
-module(bench_report).

-export([markdown/7]).

%% {ours, theirs, goal}: at most so many times their time, or so many times faster than they are.
-define(COMPARISONS, [
    {depth, bare_getsockopt, {at_most, 1.25}},
    {depth, getopts, {faster, 2.5}},
    {depth, getopt_native, {faster, none}},
    {counts, bare_dump, {at_most, 1.25}},
    {counts, proc, {faster, 8}}
]).
%% The program, from the start of its process to the end.
-define(OUTSIDE, [
    {list, ss, {at_most, 1.0}},
    {list_all, ss, {at_most, 1.2}},
    {check, ss, {at_most, none}}
]).
%% The longest that a container's readiness probe should take.
-define(PROBE_NS, 30_000_000).
%% The depth does not grow with the sockets of others.
-define(FLATNESS, 0.10).
%% The longest that one in a thousand first-tier calls may take.
-define(TAIL_NS, 20_000).
%% Of a call's time in the VM, what must be spent on the schedulers it belongs to. The rest is the way there and back.
-define(HOME_SHARE, 0.75).

-define(MET, <<"met">>).
-define(MISSED, <<"**MISSED**">>).

-define(COMPARED, [
    "reading", "other sockets", "takes", "beside", "takes", "ratio", "quartiles", "of the best", "goal", ""
]).

-type sockets() :: non_neg_integer().

-spec markdown(
    [{sockets(), [bench_rounds:round()]}],
    [{string(), first_tier | none, bench_tail:tail(), fun()}],
    [{string(), atom(), #{atom() => non_neg_integer()}}],
    bench_ports:figures(),
    bench_monitor:figures(),
    bench_alarms:figures(),
    bench_outside:figures()
) -> iodata().
markdown(Rounds, Tails, Where, Ports, Monitor, Alarms, Outside) ->
    Sections = [
        section(
            "Time of a call",
            ?COMPARED,
            [comparison(Comparison, At) || Comparison <- ?COMPARISONS, At <- Rounds] ++ [flatness(Rounds)]
        ),
        section(
            "Single calls, the clock included",
            ["call", "p50", "p99", "p99.9", "goal", ""],
            [tail(Tail) || Tail <- Tails]
        ),
        section(
            "Where a call keeps the VM busy",
            ["call", "normal schedulers", "dirty I/O", "dirty CPU", "goal", ""],
            [where(Call) || Call <- Where]
        ),
        ports(Ports),
        monitor(Monitor),
        section(
            "How late an alarm is, after the time that it has to hold for",
            ["what begins", "each run", "the worst", "goal", ""],
            [alarm(Alarm) || Alarm <- Alarms]
        ),
        section(
            "The program, from its start to its end",
            ?COMPARED,
            [comparison(Comparison, At) || Comparison <- ?OUTSIDE, At <- Outside]
        ),
        [probe(At) || At <- Outside]
    ],
    [machine(), Sections, summary(iolist_to_binary(Sections))].

summary(Text) ->
    [Met, Missed] = [length(binary:matches(Text, <<Verdict/binary, " |\n">>)) || Verdict <- [?MET, ?MISSED]],
    io_lib:format("~n~b goals met, ~b missed.~n", [Met, Missed]).

machine() ->
    {ok, Kernel} = file:read_file("/proc/sys/kernel/osrelease"),
    {ok, Load} = file:read_file("/proc/loadavg"),
    {ok, Cpu} = file:read_file("/proc/cpuinfo"),
    {match, [Model]} = re:run(Cpu, "model name\\s*: (.*)", [{capture, all_but_first, binary}]),
    io_lib:format("~nLinux ~ts, ~ts, ~b cores, load average ~ts; OTP ~ts, erts ~ts; ~ts buckets; ~ts.~n", [
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

comparison({Ours, Theirs, Goal}, {Sockets, Rounds}) ->
    row(Ours, Sockets, name(Theirs), times(Ours, Rounds), times(Theirs, Rounds), Goal).

%% The crowd comes and goes in every cycle, so the rounds without it and with it lie side by side.
flatness([{Few, Alone}, {Many, Crowded}]) ->
    Itself = io_lib:format("itself at ~b", [Few]),
    row(depth, Many, Itself, times(depth, Crowded), times(depth, Alone), {at_most, 1 + ?FLATNESS}).

probe({Sockets, Rounds}) ->
    Slowest = lists:max(times(check, Rounds)),
    io_lib:format("~nThe slowest turn of a readiness probe beside ~b sockets: ~ts (goal: below ~ts).~n", [
        Sockets, time(Slowest), time(?PROBE_NS)
    ]).

%% Times are divided round by round. The ratio of the best rounds is what is left when the machine does nothing else.
row(Ours, Sockets, Beside, Times, OtherTimes, {Direction, _} = Goal) ->
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
        integer_to_list(Sockets),
        time(bench_rounds:median(Times)),
        Beside,
        time(bench_rounds:median(OtherTimes)),
        ratio(Direction, Ratio),
        io_lib:format("~.2f to ~.2f", [Low, High]),
        io_lib:format("~.2f", [lists:min(Dividends) / lists:min(Divisors)])
        | verdict(Goal, Ratio)
    ].

times(Name, Rounds) ->
    [maps:get(Name, Round) || Round <- Rounds].

tail({Name, Kind, Tail, _}) ->
    Percentiles = [bench_tail:percentile(Tail, Percent) || Percent <- [50, 99, 99.9]],
    [Name | [time(Ns) || Ns <- Percentiles]] ++ tail_verdict(Kind, lists:last(Percentiles)).

tail_verdict(first_tier, Ns) -> [["below ", time(?TAIL_NS)], met(Ns < ?TAIL_NS)];
tail_verdict(none, _) -> ["", ""].

where({Name, Home, Busy}) ->
    Share = maps:get(Home, Busy) / lists:sum(maps:values(Busy)),
    Times = [time(maps:get(Kind, Busy)) || Kind <- [scheduler, dirty_io_scheduler, dirty_cpu_scheduler]],
    [Name | Times] ++ [["on ", home(Home)], met(Share >= ?HOME_SHARE)].

ports(#{ports := Ports, longest_ms := Longest, calls := Calls}) ->
    [
        section(
            io_lib:format("In a VM with ~b ports", [Ports]),
            ["call", "median", "slowest", "goal", ""],
            [
                [Name, time(bench_rounds:median(Times)), time(lists:max(Times)), ["below ", time(Goal)], met(bench_rounds:median(Times) < Goal)]
             || {Name, Times, Goal} <- Calls
            ]
        ),
        io_lib:format("~nThe longest that anything held a normal scheduler meanwhile: ~b ms.~n", [Longest])
    ].

monitor(#{loads := Loads, timer := Timer, sleeper := Sleeper, bytes := Bytes, health_ns := Health, longest_ms := Longest}) ->
    [
        section(
            "What watching costs while nothing happens",
            ["listeners", "every", "of a core", "goal", ""],
            [
                [integer_to_list(Count), [integer_to_list(Ms), " ms"], percent(Percent), ["below ", percent(Goal)], met(Percent < Goal)]
             || {Count, Ms, Percent, Goal} <- Loads
            ] ++
                [
                    ["for comparison: an Erlang process that wakes up", "100 ms", percent(Timer), "", ""],
                    ["a C program that wakes up", "100 ms", percent(Sleeper), "", ""]
                ]
        ),
        io_lib:format(
            "~n~.1f KiB of memory a listener. `health()` takes ~ts. The longest that anything held a normal scheduler: ~b ms.~n",
            [Bytes / 1024, time(Health), Longest]
        )
    ].

alarm({Begins, Late, Goal}) ->
    Worst = lists:max(Late),
    Each = lists:join(", ", [milliseconds(Ms) || Ms <- Late]),
    [Begins, Each, milliseconds(Worst), ["at most ", integer_to_list(Goal), " ms"], met(Worst =< Goal)].

milliseconds(Ms) -> io_lib:format("~.1f ms", [Ms]).

percent(Percent) -> io_lib:format("~.2f %", [Percent]).

home(scheduler) -> "a normal one";
home(dirty_io_scheduler) -> "a dirty I/O one".

name(depth) -> "`depth(Handle)`";
name(counts) -> "`counts(Handle)`";
name(bare_getsockopt) -> "the same system calls in C";
name(getopts) -> "`inet:getopts`, two raw options";
name(getopt_native) -> "`socket:getopt_native`, twice";
name(bare_dump) -> "the same dump in C";
name(proc) -> "`/proc/net/tcp` in Erlang";
name(list) -> "`accept-queue list`, one BEAM";
name(list_all) -> "`accept-queue list --all`";
name(check) -> "`accept-queue check --samples 1 --port`";
name(ss) -> "`ss -ltnp`".

time(Ns) when Ns < 1_000_000 -> io_lib:format("~.2f us", [Ns / 1000]);
time(Ns) -> io_lib:format("~.2f ms", [Ns / 1_000_000]).

ratio(at_most, Ratio) -> io_lib:format("~.2f x", [Ratio]);
ratio(faster, Ratio) -> io_lib:format("~.2f x faster", [Ratio]).

verdict({_, none}, _) -> ["", ""];
verdict({at_most, Goal}, Ratio) -> [io_lib:format("at most ~p x", [Goal]), met(Ratio =< Goal)];
verdict({faster, Goal}, Ratio) -> [io_lib:format("at least ~p x", [Goal]), met(Ratio >= Goal)].

met(true) -> ?MET;
met(false) -> ?MISSED.

section(Title, Headings, Rows) ->
    Rule = ["---" || _ <- Headings],
    [$\n, "## ", Title, "\n\n", [line(Line) || Line <- [Headings, Rule | Rows]]].

line(Cells) ->
    ["| ", lists:join(" | ", Cells), " |\n"].
