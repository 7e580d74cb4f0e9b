%% Timing, and the arithmetic of samples.
%%
%% Contestants take turns within a round, in an order that is drawn anew, so that what disturbs the machine disturbs all
%% of them alike. What is compared is compared round by round.
-module(bench_rounds).

-export([erlang/1, program/1, play/2, median/1, quartiles/1]).

-export_type([contestant/0, round/0]).

-type contestant() :: fun((Calls :: pos_integer()) -> Nanoseconds :: non_neg_integer()).
-type round() :: #{Name :: atom() => NanosecondsPerCall :: float()}.

%% A turn lasts at least so long: its start, the caches still warm with the turn before, does not show in it.
-define(TURN_NS, 10_000_000).

%% A call in this VM. Each turn has a process of its own, so that no contestant pays for another's garbage.
-spec erlang(fun(() -> term())) -> contestant().
erlang(Call) ->
    fun(Calls) ->
        {_, Monitor} = spawn_monitor(fun() -> exit({took, time(Calls, Call)}) end),
        receive
            {'DOWN', Monitor, process, _, {took, Nanoseconds}} -> Nanoseconds;
            {'DOWN', Monitor, process, _, Reason} -> error(Reason)
        end
    end.

%% A C program that serves (serve.h).
-spec program(port()) -> contestant().
program(Program) ->
    fun(Calls) -> list_to_integer(bench_program:ask(Program, integer_to_list(Calls))) end.

-spec play(pos_integer(), #{atom() => contestant()}) -> [round()].
play(Rounds, Contestants) ->
    Sized = [{Name, Turn, calls(Turn, 1)} || {Name, Turn} <- maps:to_list(Contestants)],
    [
        maps:from_list([{Name, Turn(Calls) / Calls} || {Name, Turn, Calls} <- shuffle(Sized)])
     || _ <- lists:seq(1, Rounds)
    ].

-spec median([number()]) -> number().
median(Samples) ->
    at(1 / 2, Samples).

-spec quartiles([number()]) -> {number(), number()}.
quartiles(Samples) ->
    {at(1 / 4, Samples), at(3 / 4, Samples)}.

%% The calls that fill a turn; finding out also warms the contestant up.
calls(Turn, Calls) ->
    case Turn(Calls) of
        Nanoseconds when Nanoseconds >= ?TURN_NS -> Calls;
        _ -> calls(Turn, 2 * Calls)
    end.

time(Calls, Call) ->
    Started = erlang:monotonic_time(nanosecond),
    repeat(Calls, Call),
    erlang:monotonic_time(nanosecond) - Started.

repeat(0, _) ->
    ok;
repeat(Calls, Call) ->
    _ = Call(),
    repeat(Calls - 1, Call).

shuffle(List) ->
    [Item || {_, Item} <- lists:sort([{rand:uniform(), Item} || Item <- List])].

at(Share, Samples) ->
    lists:nth(1 + trunc(Share * (length(Samples) - 1)), lists:sort(Samples)).
