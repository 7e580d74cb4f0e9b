%% @private
%% When the processes of the application wake while nothing happens: every ten seconds, all at the same time.
%%
%% To wake a scheduler costs more than what is done then: it looks for more work before it sleeps again.
-module(accept_queue_beat).

-export([next/1, next/2]).

-define(BEAT_MS, 10000).

%% The caller gets this message at the next beat.
-spec next(Message :: term()) -> reference().
next(Message) ->
    next(Message, 1).

%% At the beat of that number from now.
-spec next(Message :: term(), Beats :: pos_integer()) -> reference().
next(Message, Beats) ->
    NowMs = erlang:monotonic_time(millisecond),
    erlang:send_after(NowMs - mod(NowMs, ?BEAT_MS) + Beats * ?BEAT_MS, self(), Message, [{abs, true}]).

%% The VM's monotonic time begins below 0.
mod(NowMs, Ms) ->
    ((NowMs rem Ms) + Ms) rem Ms.
