%% Samples -> Markdown: figures side by side, each with its goal and whether it was met.
-module(bench_report).

-export([markdown/3]).

%% {ours, theirs, goal}: at most so many times their time, or so many times faster than they are.
-define(COMPARISONS, [
    {depth, bare_getsockopt, {at_most, 1.25}},
    {depth, getopts, {faster, 2.5}},
    {depth, getopt_native, {faster, none}},
    {counts, bare_dump, {at_most, 1.25}},
    {counts, proc, {faster, 8}}
]).
%% The depth does not grow with the sockets of others.
-define(FLATNESS, 0.10).
%% The longest that one in a thousand first-tier calls may take.
-define(TAIL_NS, 20_000).
%% Of a call's time in the VM, what must be spent on the schedulers it belongs to. The rest is the way there and back.
-define(HOME_SHARE, 0.75).

-type sockets() :: non_neg_integer().

-spec markdown(
    [{sockets(), [bench_rounds:round()]}],
    [{string(), bench_tail:tail(), fun()}],
    [{string(), atom(), #{atom() => non_neg_integer()}}]
) -> iodata().
markdown(Rounds, Tails, Where) ->
    [
        machine(),
        section(
            "Time of a call",
            ["reading", "other sockets", "takes", "beside", "takes", "ratio", "quartiles", "goal", ""],
            [comparison(Comparison, At) || Comparison <- ?COMPARISONS, At <- Rounds] ++ [flatness(Rounds)]
        ),
        section("Single calls, the clock included", ["call", "p50", "p99", "p99.9", "goal", ""], [tail(Tail) || Tail <- Tails]),
        section(
            "Where a call keeps the VM busy",
            ["call", "normal schedulers", "dirty I/O", "dirty CPU", "goal", ""],
            [where(Call) || Call <- Where]
        )
    ].

machine() ->
    {ok, Kernel} = file:read_file("/proc/sys/kernel/osrelease"),
    {ok, Cpu} = file:read_file("/proc/cpuinfo"),
    {match, [Model]} = re:run(Cpu, "model name\\s*: (.*)", [{capture, all_but_first, binary}]),
    io_lib:format("~nLinux ~ts, ~ts, ~b cores; OTP ~ts, erts ~ts; ~ts.~n", [
        string:trim(Kernel),
        Model,
        erlang:system_info(logical_processors_available),
        erlang:system_info(otp_release),
        erlang:system_info(version),
        os:getenv("BENCH_NAMESPACE")
    ]).

comparison({Ours, Theirs, {Direction, Goal}}, {Sockets, Rounds}) ->
    Ratios =
        case Direction of
            at_most -> bench_rounds:ratios(Ours, Theirs, Rounds);
            faster -> bench_rounds:ratios(Theirs, Ours, Rounds)
        end,
    Ratio = bench_rounds:median(Ratios),
    [
        name(Ours),
        integer_to_list(Sockets),
        takes(Ours, Rounds),
        name(Theirs),
        takes(Theirs, Rounds),
        ratio(Ratio, Direction),
        spread(Ratios)
        | verdict(Direction, Goal, Ratio)
    ].

%% The crowd comes and goes in every cycle, so the rounds without it and with it lie side by side.
flatness([{Few, Alone}, {Many, Crowded}]) ->
    Ratios = [maps:get(depth, B) / maps:get(depth, A) || {A, B} <- lists:zip(Alone, Crowded)],
    Ratio = bench_rounds:median(Ratios),
    [
        name(depth),
        integer_to_list(Many),
        takes(depth, Crowded),
        io_lib:format("itself at ~b", [Few]),
        takes(depth, Alone),
        ratio(Ratio, at_most),
        spread(Ratios)
        | verdict(at_most, 1 + ?FLATNESS, Ratio)
    ].

tail({Name, Tail, _}) ->
    [P50, P99, P999] = [bench_tail:percentile(Tail, Percent) || Percent <- [50, 99, 99.9]],
    [Name, time(P50), time(P99), time(P999), ["below ", time(?TAIL_NS)], met(P999 < ?TAIL_NS)].

where({Name, Home, Busy}) ->
    Share = maps:get(Home, Busy) / lists:sum(maps:values(Busy)),
    [
        Name
        | [time(maps:get(Kind, Busy)) || Kind <- [scheduler, dirty_io_scheduler, dirty_cpu_scheduler]]
    ] ++ [["on ", home(Home)], met(Share >= ?HOME_SHARE)].

home(scheduler) -> "a normal one";
home(dirty_io_scheduler) -> "a dirty I/O one".

name(depth) -> "`depth(Handle)`";
name(counts) -> "`counts(Handle)`";
name(bare_getsockopt) -> "the same system calls in C";
name(getopts) -> "`inet:getopts`, two raw options";
name(getopt_native) -> "`socket:getopt_native`, twice";
name(bare_dump) -> "the same dump in C";
name(proc) -> "`/proc/net/tcp` in Erlang".

takes(Name, Rounds) ->
    time(bench_rounds:median([maps:get(Name, Round) || Round <- Rounds])).

time(Ns) when Ns < 1_000_000 -> io_lib:format("~.2f us", [Ns / 1000]);
time(Ns) -> io_lib:format("~.2f ms", [Ns / 1_000_000]).

ratio(Ratio, at_most) -> io_lib:format("~.2f x", [Ratio]);
ratio(Ratio, faster) -> io_lib:format("~.2f x faster", [Ratio]).

spread(Ratios) ->
    {Low, High} = bench_rounds:quartiles(Ratios),
    io_lib:format("~.2f to ~.2f", [Low, High]).

verdict(_, none, _) -> ["", ""];
verdict(at_most, Goal, Ratio) -> [io_lib:format("at most ~p x", [Goal]), met(Ratio =< Goal)];
verdict(faster, Goal, Ratio) -> [io_lib:format("at least ~p x", [Goal]), met(Ratio >= Goal)].

met(true) -> "met";
met(false) -> "**MISSED**".

section(Title, Headings, Rows) ->
    Rule = ["---" || _ <- Headings],
    [$\n, "## ", Title, "\n\n", [line(Line) || Line <- [Headings, Rule | Rows]]].

line(Cells) ->
    ["| ", lists:join(" | ", Cells), " |\n"].
