%% What a reading costs: beside what a user would take instead, and beside the least that the kernel allows.
%%
%% Everything is measured in one run, or the parts that are named. Goals that are missed are told, not failed: machines are
%% noisy.
-module(bench).

-export([main/0]).

-define(PARTS, [
    {"readings", fun readings/0},
    {"calls", fun calls/0},
    {"ports", fun ports/0},
    {"monitor", fun monitor/0},
    {"program", fun program/0},
    {"alarms", fun alarms/0},
    {"watch", fun watch/0}
]).
-define(SINGLE_CALLS, 200_000).

-spec main() -> ok.
main() ->
    Sections = lists:append([measured(Name, part(Name)) || Name <- wanted()]),
    Machine = bench_report:machine(),
    Markdown = [bench_report:headline(Machine), [bench_table:markdown(Section) || Section <- Sections], bench_report:summary(Sections)],
    keep("bench.md", unicode:characters_to_binary(Markdown)),
    keep("bench.json", bench_table:json(#{machine => Machine, sections => Sections})),
    io:put_chars(Markdown).

wanted() ->
    case init:get_plain_arguments() of
        [] -> [Name || {Name, _} <- ?PARTS];
        Names -> Names
    end.

part(Name) ->
    case lists:keyfind(Name, 1, ?PARTS) of
        {Name, Measure} -> Measure;
        false -> error({no_such_part, Name, [Known || {Known, _} <- ?PARTS]})
    end.

measured(Name, Measure) ->
    Began = erlang:monotonic_time(second),
    progress("~s", [Name]),
    Sections = Measure(),
    progress("~s: ~b s", [Name, erlang:monotonic_time(second) - Began]),
    Sections.

keep(File, Text) ->
    ok = file:write_file(filename:join(filename:dirname(code:which(?MODULE)), File), Text).

progress(Format, Arguments) ->
    io:format(standard_error, Format ++ "~n", Arguments).

readings() ->
    bench_report:readings(bench_readings:measure()).

calls() ->
    {ok, Socket} = gen_tcp:listen(0, [{ip, loopback}, {backlog, 128}]),
    {ok, Handle} = accept_queue:open(Socket),
    Sections = bench_report:calls(tails(Socket, Handle), where(Socket, Handle)),
    ok = gen_tcp:close(Socket),
    Sections.

ports() ->
    bench_report:ports(bench_ports:measure()).

monitor() ->
    bench_report:monitor(bench_monitor:measure()).

program() ->
    bench_report:program(bench_outside:measure()).

alarms() ->
    bench_report:alarms(bench_alarms:measure()).

watch() ->
    [#{markdown => bench_watch:markdown()}].

tails(Socket, Handle) ->
    Bytes = binary:copy(<<1>>, 600),
    [
        begin
            Tail = bench_tail:new(),
            ok = bench_tail:add(Tail, ?SINGLE_CALLS, Call),
            {Name, Kind, Tail}
        end
     || {Name, Kind, Call} <- [
            {"`depth(Handle)`", first_tier, fun() -> {ok, #{}} = accept_queue:depth(Handle) end},
            {"`depth(Socket)`", first_tier, fun() -> {ok, #{}} = accept_queue:depth(Socket) end},
            {"`open(Socket)`", first_tier, fun() -> {ok, _} = accept_queue:open(Socket) end},
            %% Arithmetic that takes as long as the longest call above: what interrupts alone do to the tail here.
            {"`erlang:md5` of 600 bytes", none, fun() -> erlang:md5(Bytes) end},
            {"the clock alone", none, fun() -> ok end}
        ]
    ].

%% {call, the schedulers that must do the work, nanoseconds by kind of scheduler}
where(Socket, Handle) ->
    [
        {Name, Kind, bench_where:nanoseconds(1000, Call)}
     || {Name, Kind, Call} <- [
            {"`depth`", scheduler, fun() -> accept_queue:depth(Handle) end},
            {"`open`", scheduler, fun() -> accept_queue:open(Socket) end},
            {"`counts`", dirty_io_scheduler, fun() -> accept_queue:counts(Handle) end},
            {"the dump of `list`", dirty_io_scheduler, fun accept_queue_nif:listening/0},
            {"`kernel`", dirty_io_scheduler, fun accept_queue:kernel/0}
        ]
    ].
