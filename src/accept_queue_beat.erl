%% @private
%% When the processes of the application wake while nothing happens, all at the same time: every ten seconds for a minute after something
%% has happened, and every thirty seconds then.
%%
%% To wake a scheduler costs more than what is done then: it looks for more work before it sleeps again.
-module(accept_queue_beat).

-export([next/2, next/3]).

-define(SOON_MS, 10000).
-define(REST_MS, 30000).
-define(RESTS_AFTER_MS, 60000).

%% The caller gets this message at the next beat. `SinceMs': when something last happened, by the VM's monotonic clock.
-spec next(Message :: term(), SinceMs :: integer()) -> reference().
next(Message, SinceMs) ->
    next(Message, SinceMs, ?SOON_MS).

%% The same, not more often than so.
-spec next(Message :: term(), SinceMs :: integer(), LeastMs :: pos_integer()) -> reference().
next(Message, SinceMs, LeastMs) ->
    NowMs = erlang:monotonic_time(millisecond),
    EveryMs = max(LeastMs, every_ms(NowMs - SinceMs)),
    erlang:send_after(NowMs - mod(NowMs, EveryMs) + EveryMs, self(), Message, [{abs, true}]).

every_ms(AgeMs) when AgeMs < ?RESTS_AFTER_MS -> ?SOON_MS;
every_ms(_AgeMs) -> ?REST_MS.

%% The VM's monotonic time begins below 0.
mod(NowMs, Ms) ->
    ((NowMs rem Ms) + Ms) rem Ms.
