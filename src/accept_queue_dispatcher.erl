%% @private
%% The process that runs the handlers of one channel, logger or telemetry.
%%
%% Handlers are other people's code, and may crash or hang: then only this process does. It notes which event it is publishing and
%% since when; {@link accept_queue_event} kills it when that takes too long and starts another, which goes on with the next event.
-module(accept_queue_dispatcher).

-export([start_link/3, wake/1]).
-export([run/3]).

-type take() :: fun(() -> {ok, Event :: term()} | none).
-type publish() :: fun((Event :: term()) -> term()).

-spec start_link(accept_queue_event_store:channel(), take(), publish()) -> pid().
start_link(Channel, Take, Publish) ->
    proc_lib:spawn_link(?MODULE, run, [Channel, Take, Publish]).

%% There is something to take. A caller that adds the event first and then wakes need not know what this process is doing.
-spec wake(pid()) -> ok.
wake(Dispatcher) ->
    Dispatcher ! wake,
    ok.

-spec run(accept_queue_event_store:channel(), take(), publish()) -> no_return().
run(Channel, Take, Publish) ->
    case Take() of
        {ok, Event} ->
            ok = accept_queue_event_store:publishing(Channel, Event, erlang:monotonic_time(millisecond)),
            _ = Publish(Event),
            ok = accept_queue_event_store:published(Channel);
        none ->
            receive
                wake -> ok
            end
    end,
    ?MODULE:run(Channel, Take, Publish).
