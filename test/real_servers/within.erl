%% Waiting for what a server is about to do, with a deadline for each: a server may take a minute to start.
-module(within).

-export([true/2, passes/2]).

-define(PAUSE_MS, 20).

%% Asks until it is so.
true(Ms, Condition) ->
    passes(Ms, fun() -> Condition() orelse error({not_within_ms, Ms, Condition}) end).

%% Tries until nothing is raised, and raises at the deadline what still is.
passes(Ms, Attempt) ->
    attempts(erlang:monotonic_time(millisecond) + Ms, Attempt).

attempts(Deadline, Attempt) ->
    try
        Attempt()
    catch
        Class:Reason:Stack ->
            erlang:monotonic_time(millisecond) < Deadline orelse erlang:raise(Class, Reason, Stack),
            timer:sleep(?PAUSE_MS),
            attempts(Deadline, Attempt)
    end.
