%% What a reading costs: beside what a user would take instead, and beside the least that the kernel allows.
%%
%% Each part is measured in a VM of its own (bench/run), with the settings that stand beside it here, and leaves its figures in a
%% file; `report' makes one report of them. A goal that is missed is reported and is no failure: machines are noisy.
-module(bench).

-export([names/0, part/0, report/0]).

%% {name, the settings the application runs with, how it is measured}
-define(PARTS, [
    {"readings", #{watch => none}, fun() -> bench_report:readings(bench_readings:measure()) end},
    {"calls", not_started, fun() -> bench_report:calls(bench_calls:tails(), bench_calls:where()) end},
    {"port", #{watch => none, source => port}, fun() -> bench_report:port(bench_calls:over_port()) end},
    {"ports", #{}, fun() -> bench_report:ports(bench_ports:measure()) end},
    %% Each row in a VM of its own.
    {"monitor", #{}, fun() -> bench_report:monitor(bench_monitor:measure()) end},
    {"alarms", #{}, fun() -> bench_report:alarms(bench_alarms:measure(), bench_full_speed:measure()) end},
    {"watchdog", #{watchdog => #{directory => "_build/bench/watchdog"}}, fun() -> bench_report:watchdog(bench_watch:watchdog()) end},
    {"program", not_started, fun() -> bench_report:program(bench_outside:measure()) end},
    {"watch", not_started, fun() -> bench_report:watch(bench_watch:measure()) end},
    {"record", not_started, fun() -> bench_report:record(bench_record:measure()) end},
    {"diagnose", not_started, fun() -> bench_report:diagnose(bench_outside:diagnose()) end},
    {"acceptors", not_started, fun() -> bench_report:acceptors(bench_acceptors:measure()) end}
]).

%% Those that are wanted, all where none is named, one a line.
-spec names() -> ok.
names() ->
    Known = [Name || {Name, _, _} <- ?PARTS],
    case init:get_plain_arguments() of
        [] ->
            say(standard_io, "~ts", [lists:join($\n, Known)]);
        Named ->
            [] =:= Named -- Known orelse fail("~ts is no part; there are ~ts", [hd(Named -- Known), lists:join(", ", Known)]),
            say(standard_io, "~ts", [lists:join($\n, [Name || Name <- Known, lists:member(Name, Named)])])
    end.

-spec part() -> ok.
part() ->
    [Name] = init:get_plain_arguments(),
    {Name, Settings, Measure} = lists:keyfind(Name, 1, ?PARTS),
    say(standard_error, "~ts: ~ts", [Name, settings(Settings)]),
    Began = erlang:monotonic_time(second),
    %% The load is that of before.
    Machine = bench_report:machine(),
    ok = logger:set_primary_config(level, error),
    ok = started(Settings),
    Sections = Measure(),
    Seconds = erlang:monotonic_time(second) - Began,
    say(standard_error, "~ts: ~b s", [Name, Seconds]),
    Part = #{name => Name, settings => settings(Settings), machine => Machine, seconds => Seconds, sections => Sections},
    ok = file:write_file(file(Name ++ ".part"), term_to_binary(Part)).

-spec report() -> ok.
report() ->
    Names = init:get_plain_arguments(),
    Parts = [binary_to_term(element(2, {ok, _} = file:read_file(file(Name ++ ".part")))) || Name <- Names],
    IsWhole = Names =:= [Name || {Name, _, _} <- ?PARTS],
    ok = file:write_file(file("bench.md"), unicode:characters_to_binary(bench_report:markdown(Parts, IsWhole))),
    ok = file:write_file(file("bench.json"), bench_report:json(Parts)).

started(#{} = Settings) -> bench_application:start(Settings);
started(_) -> ok.

settings(not_started) -> "the application does not run";
settings(Settings) -> bench_application:settings(Settings).

file(Name) ->
    filename:join(filename:dirname(code:which(?MODULE)), Name).

say(Device, Format, Arguments) ->
    io:format(Device, Format ++ "~n", Arguments).

-spec fail(string(), [term()]) -> no_return().
fail(Format, Arguments) ->
    say(standard_error, Format, Arguments),
    halt(1).
