%% @private
%% Calls a process of this application. Never exits: the process may not run, restart, or be slow.
-module(accept_queue_call).

-export([call/2, call/3]).

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
