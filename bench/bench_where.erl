%% Which kind of scheduler a call keeps busy, as the VM's own accounting of its threads sees it.
-module(bench_where).

-export([nanoseconds/2]).

-type kind() :: scheduler | dirty_io_scheduler | dirty_cpu_scheduler.

%% Nanoseconds per call that threads of each kind spent in the emulator, which is where a NIF's time is counted (erts,
%% erl_msacc.h: the state `nif' exists only in builds with extra states).
-spec nanoseconds(pos_integer(), fun(() -> term())) -> #{kind() => non_neg_integer()}.
nanoseconds(Calls, Call) ->
    true = is_boolean(erlang:system_flag(microstate_accounting, reset)),
    true = is_boolean(erlang:system_flag(microstate_accounting, true)),
    _ = [Call() || _ <- lists:seq(1, Calls)],
    true = erlang:system_flag(microstate_accounting, false),
    Kinds = [scheduler, dirty_io_scheduler, dirty_cpu_scheduler],
    Threads = erlang:statistics(microstate_accounting),
    maps:from_list([
        {Kind, erlang:convert_time_unit(emulator(Kind, Threads), perf_counter, nanosecond) div Calls}
     || Kind <- Kinds
    ]).

emulator(Kind, Threads) ->
    lists:sum([Time || #{type := Type, counters := #{emulator := Time}} <- Threads, Type =:= Kind]).
