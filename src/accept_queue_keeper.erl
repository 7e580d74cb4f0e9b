%% @private
%% Supervises one process of this application, and starts it again after a pause that grows with each failure.
%%
%% A supervisor starts a child again at once, and gives up after some times: a fault that lasts is a hot loop, and then the end of
%% the application, which ends a permanent node. This process never gives up, and logs a failure once, until its child has run
%% for a minute; OTP reports none ({@link accept_queue_child}). A child that was killed is started again at once: that is no fault of its own, and logs nothing.
%%
%% Of the child's `start_link/0' `ignore' means that it is not wanted, and an error that is a sentence that the environment is wrong:
%% at the first start both are this process's own answer. `{error, {unavailable, Why}}' is logged as it is.
-module(accept_queue_keeper).
-behaviour(gen_server).

-include_lib("kernel/include/logger.hrl").

-export([start_link/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

-record(state, {
    module :: module(),
    child :: pid() | undefined,
    started_ms :: integer() | undefined,
    %% Since the child last ran for a minute.
    failures = 0 :: non_neg_integer(),
    logged = false :: boolean()
}).

-define(RUNS_WELL_MS, 60000).
-define(PAUSE_MAX_MS, 60000).
%% Fast enough for one that was killed, and no hot loop.
-define(KILLED_PAUSE_MS, 10).
-define(SHUTDOWN_MS, 4000).

-spec start_link(module()) -> {ok, pid()} | ignore | {error, term()}.
start_link(Module) ->
    gen_server:start_link(?MODULE, Module, []).

-spec init(module()) -> {ok, #state{}} | ignore | {stop, term()}.
init(Module) ->
    _ = process_flag(trap_exit, true),
    State = #state{module = Module},
    case start(Module) of
        {ok, Child} -> {ok, started(Child, State)};
        ignore -> ignore;
        %% No crash report: the supervisor has the sentence.
        {error, [_ | _] = Sentence} -> {stop, {shutdown, Sentence}};
        {error, Reason} -> {ok, failed(Reason, State)}
    end.

-spec handle_call(term(), gen_server:from(), #state{}) -> {reply, {error, unsupported}, #state{}}.
handle_call(_, _From, State) ->
    {reply, {error, unsupported}, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(_, State) ->
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}} | {stop, normal, #state{}}.
handle_info({'EXIT', Child, Reason}, #state{child = Child, started_ms = StartedMs} = State) ->
    Ended = State#state{child = undefined},
    case now_ms() - StartedMs >= ?RUNS_WELL_MS of
        true -> {noreply, failed(Reason, Ended#state{failures = 0, logged = false})};
        false -> {noreply, failed(Reason, Ended)}
    end;
handle_info(start, #state{module = Module, child = undefined} = State) ->
    case start(Module) of
        {ok, Child} -> {noreply, started(Child, State)};
        ignore -> {stop, normal, State};
        {error, Reason} -> {noreply, failed(Reason, State)}
    end;
handle_info(_, State) ->
    {noreply, State}.

-spec terminate(term(), #state{}) -> ok.
terminate(_Reason, #state{child = undefined}) ->
    ok;
terminate(_Reason, #state{child = Child}) ->
    Monitor = erlang:monitor(process, Child),
    true = exit(Child, shutdown),
    receive
        {'DOWN', Monitor, process, Child, _} -> ok
    after ?SHUTDOWN_MS ->
        true = exit(Child, kill),
        ok
    end.

start(Module) ->
    try
        ok = accept_queue_memory:ensure(),
        Module:start_link()
    of
        %% The one of a keeper that was killed, and is about to end.
        {error, {already_started, Before}} -> start_after(Before, Module);
        Answer -> Answer
    catch
        _:Reason -> {error, Reason}
    end.

start_after(Before, Module) ->
    Monitor = erlang:monitor(process, Before),
    receive
        {'DOWN', Monitor, process, Before, _} -> start(Module)
    after ?SHUTDOWN_MS ->
        true = erlang:demonitor(Monitor, [flush]),
        {error, {already_started, Before}}
    end.

started(Child, State) ->
    State#state{child = Child, started_ms = now_ms()}.

failed(killed, State) ->
    _ = erlang:send_after(?KILLED_PAUSE_MS, self(), start),
    State;
failed(Reason, #state{failures = Failures} = State) ->
    _ = erlang:send_after(min(?PAUSE_MAX_MS, pause_ms(Failures)), self(), start),
    logged(Reason, State#state{failures = Failures + 1}).

%% At once, and then after 1 s, 2 s, 4 s and so on.
pause_ms(0) -> 0;
pause_ms(Failures) -> 1000 bsl min(Failures - 1, 16).

logged(_Reason, #state{logged = true} = State) ->
    State;
logged(Reason, #state{module = Module} = State) ->
    ?LOG_ERROR("accept_queue: ~ts; it is tried again until it works", [why(Module, Reason)], #{application => accept_queue}),
    State#state{logged = true}.

why(_Module, {unavailable, Why}) -> Why;
why(Module, Reason) -> io_lib:format("~ts has ended (~0tP)", [Module, accept_queue_child:why(Reason), 30]).

now_ms() ->
    erlang:monotonic_time(millisecond).
