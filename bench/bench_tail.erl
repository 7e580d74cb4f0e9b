%% How long single calls take at the worst: a histogram of fixed size, so that keeping the samples makes no garbage that
%% the calls would pay for.
-module(bench_tail).

-export([new/0, add/3, percentile/2]).

-export_type([tail/0]).

-opaque tail() :: counters:counters_ref().

%% 10 ns wide; the last one is for 2 ms and more.
-define(BIN_NS, 10).
-define(BINS, 200_000).

-spec new() -> tail().
new() ->
    counters:new(?BINS, []).

%% Times every single call; the reading of the clock is in the figure.
-spec add(tail(), pos_integer(), fun(() -> term())) -> ok.
add(Tail, Calls, Call) ->
    {_, Monitor} = spawn_monitor(fun() -> sample(Tail, Calls, Call) end),
    receive
        {'DOWN', Monitor, process, _, normal} -> ok;
        {'DOWN', Monitor, process, _, Reason} -> error(Reason)
    end.

%% In nanoseconds, rounded up to the next bin.
-spec percentile(tail(), number()) -> pos_integer().
percentile(Tail, Percent) ->
    Bins = [counters:get(Tail, Bin) || Bin <- lists:seq(1, ?BINS)],
    below(Percent / 100 * lists:sum(Bins), Bins, 1).

sample(_Tail, 0, _Call) ->
    ok;
sample(Tail, Calls, Call) ->
    Started = erlang:monotonic_time(nanosecond),
    _ = Call(),
    Nanoseconds = erlang:monotonic_time(nanosecond) - Started,
    counters:add(Tail, min(Nanoseconds div ?BIN_NS + 1, ?BINS), 1),
    sample(Tail, Calls - 1, Call).

below(Wanted, [Count | Bins], Bin) when Wanted > Count, Bins =/= [] -> below(Wanted - Count, Bins, Bin + 1);
below(_, _, Bin) -> Bin * ?BIN_NS.
