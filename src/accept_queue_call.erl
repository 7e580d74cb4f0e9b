%% @private
%% Asks processes that may not run, restart, or be slow: one of this application, or those of a framework. Never exits.
-module(accept_queue_call).

-export([call/2, call/3, within/2]).

-define(CALL_MS, 5000).

-spec call(atom() | pid(), Request :: term()) -> Answer :: term() | {error, not_running | timeout}.
call(Name, Request) ->
    call(Name, Request, ?CALL_MS).

%% An answer that comes after the time is dropped: the call has an alias (OTP 24).
-spec call(atom() | pid(), Request :: term(), timeout()) -> Answer :: term() | {error, not_running | timeout}.
call(Name, Request, TimeoutMs) ->
    try
        gen_server:call(Name, Request, TimeoutMs)
    catch
        exit:{timeout, _} -> {error, timeout};
        exit:_ -> {error, not_running}
    end.

%% The answer of a function that asks processes of others, unless it takes too long or one of them ends before. No answer is left behind.
-spec within(TimeoutMs :: pos_integer(), fun(() -> Answer)) -> Answer | {error, not_found | timeout}.
-dialyzer({nowarn_function, within/2}).
within(TimeoutMs, Ask) ->
    %% The exit of the asking process carries the answer.
    {Pid, Monitor} = spawn_monitor(fun() -> exit({answer, Ask()}) end),
    receive
        {'DOWN', Monitor, process, Pid, {answer, Answer}} -> Answer;
        {'DOWN', Monitor, process, Pid, _NoProcess} -> {error, not_found}
    after TimeoutMs ->
        exit(Pid, kill),
        true = erlang:demonitor(Monitor, [flush]),
        {error, timeout}
    end.
