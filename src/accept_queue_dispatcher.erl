%% @private
%% The process that runs the handlers of one channel, logger or telemetry.
%%
%% Handlers are other people's code, and may crash or hang: then only this process does. It notes which handler is running, on which
%% event and since when; {@link accept_queue_event} kills it when that takes too long and starts another, which goes on with the
%% handlers that have not had that event. One that was cut off by another kill is run again; one that hung, or that was cut off
%% three times, is not, and counts as lost.
-module(accept_queue_dispatcher).
-behaviour(gen_server).

-export([start_link/3, wake/1, given_up/2]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

-export_type([handler/0]).

-type channel() :: accept_queue_event_store:channel().
-type handler() :: {Id :: term(), fun(() -> term())}.
-type next() :: fun(() -> {ok, Key :: term(), Event :: term()} | none).
-type handlers() :: fun((Event :: term()) -> [handler()]).

-record(state, {
    channel :: channel(),
    next :: next(),
    handlers :: handlers()
}).

-define(ATTEMPTS_MAX, 3).

-spec start_link(channel(), next(), handlers()) -> pid().
start_link(Channel, Next, Handlers) ->
    {ok, Pid} = gen_server:start_link(?MODULE, #state{channel = Channel, next = Next, handlers = Handlers}, []),
    Pid.

%% There is something to take. A caller that adds the event first and then wakes need not know what this process is doing.
-spec wake(pid()) -> ok.
wake(Dispatcher) ->
    Dispatcher ! wake,
    ok.

%% For when a dispatcher has been ended: what it was running, where that was running for so long, is not run again on that event.
-spec given_up(channel(), AfterMs :: pos_integer()) -> {Handler :: term(), Event :: term(), RanMs :: pos_integer()} | none.
given_up(Channel, AfterMs) ->
    case accept_queue_event_store:in_hand(Channel) of
        #{running := {Handler, SinceMs, _Attempt}, event := Event} ->
            case erlang:monotonic_time(millisecond) - SinceMs of
                RanMs when RanMs > AfterMs ->
                    ok = give_up(Channel, Handler),
                    {Handler, Event, RanMs};
                _ ->
                    none
            end;
        _ ->
            none
    end.

give_up(Channel, Handler) ->
    ok = accept_queue_event_store:lost(Channel, 1),
    accept_queue_event_store:has_run(Channel, Handler).

%% One event at a time: between two, this process answers whoever asks it (`sys').

-spec init(#state{}) -> {ok, #state{}, 0}.
init(State) ->
    {ok, State, 0}.

-spec handle_call(term(), gen_server:from(), #state{}) -> {reply, {error, badarg}, #state{}, 0}.
handle_call(_, _From, State) ->
    {reply, {error, badarg}, State, 0}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}, 0}.
handle_cast(_, State) ->
    {noreply, State, 0}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}, 0 | infinity}.
handle_info(timeout, State) ->
    case publish_next(State) of
        published -> {noreply, State, 0};
        nothing -> {noreply, State, infinity}
    end;
handle_info(_, State) ->
    {noreply, State, 0}.

publish_next(#state{channel = Channel, next = Next} = State) ->
    case accept_queue_event_store:in_hand(Channel) of
        #{} = LeftByTheOneBefore ->
            publish(LeftByTheOneBefore, State);
        nothing ->
            case Next() of
                {ok, Key, Event} ->
                    ok = accept_queue_event_store:take_in_hand(Channel, Key, Event),
                    publish(#{event => Event, running => none, have_run => []}, State);
                none ->
                    nothing
            end
    end.

publish(#{event := Event, running := Running, have_run := HaveRun}, #state{channel = Channel, handlers = Handlers}) ->
    _ = [
        run(Id, Run, attempts(Id, Running), Channel)
     || {Id, Run} <- Handlers(Event), not lists:member(Id, HaveRun)
    ],
    ok = accept_queue_event_store:published(Channel),
    published.

attempts(Id, {Id, _SinceMs, Attempts}) -> Attempts;
attempts(_, _) -> 0.

run(Id, _Run, Attempts, Channel) when Attempts >= ?ATTEMPTS_MAX ->
    give_up(Channel, Id);
run(Id, Run, Attempts, Channel) ->
    ok = accept_queue_event_store:runs(Channel, {Id, erlang:monotonic_time(millisecond), Attempts + 1}),
    _ = Run(),
    accept_queue_event_store:has_run(Channel, Id).
