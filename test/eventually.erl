%% Waiting for what the kernel or another process is about to do: a condition and a deadline, never a mere pause.
-module(eventually).

-export([is/2, agree/2, succeeds/1, passes/1, ends/2]).

-define(DEADLINE_MS, 60000).
-define(PAUSE_MS, 5).

%% Reads until the reading is the one expected.
is(Expected, Read) ->
    agree(fun() -> Expected end, Read).

%% Reads both until they say the same, and returns that. For two figures that cannot be read at one instant.
agree(Expect, Read) ->
    until(fun() ->
        Expected = Expect(),
        case Read() of
            Expected -> {ok, Expected};
            Got -> {error, #{expected => Expected, got => Got}}
        end
    end).

%% Tries until it succeeds, and returns the value.
-spec succeeds(fun(() -> {ok, Value} | {error, term()})) -> Value.
succeeds(Attempt) ->
    until(Attempt).

%% Waits until it is that late on the monotonic clock: for tests of ages, where time itself is what is measured.
passes(MonotonicMs) ->
    timer:sleep(max(0, MonotonicMs - erlang:monotonic_time(millisecond))).

%% Sends a process the message that ends it, and waits until it has ended.
ends(Pid, Message) ->
    Monitor = monitor(process, Pid),
    Pid ! Message,
    receive
        {'DOWN', Monitor, process, Pid, _} -> ok
    after ?DEADLINE_MS -> erlang:error({not_within_ms, ?DEADLINE_MS, Pid})
    end.

until(Attempt) ->
    until(Attempt, erlang:monotonic_time(millisecond) + ?DEADLINE_MS).

until(Attempt, Deadline) ->
    Late = erlang:monotonic_time(millisecond) > Deadline,
    case Attempt() of
        {ok, Value} ->
            Value;
        {error, Why} when Late ->
            erlang:error({not_within_ms, ?DEADLINE_MS, Why});
        {error, _} ->
            timer:sleep(?PAUSE_MS),
            until(Attempt, Deadline)
    end.
