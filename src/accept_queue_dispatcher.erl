%% @private
%% The process in which the handlers of one audience run.
%%
%% They are other people's code, and may crash or hang: then this process alone does. It notes what it is telling and since
%% when; {@link accept_queue_event} kills it when that takes too long and starts another, which goes on with what is next.
-module(accept_queue_dispatcher).

-export([start_link/3, wake/1]).
-export([run/3]).

-type take() :: fun(() -> {ok, Event :: term()} | none).
-type tell() :: fun((Event :: term()) -> term()).

-spec start_link(accept_queue_event_store:audience(), take(), tell()) -> pid().
start_link(Audience, Take, Tell) ->
    proc_lib:spawn_link(?MODULE, run, [Audience, Take, Tell]).

%% There is something to take. Whoever writes first and wakes then need not know what this process is doing.
-spec wake(pid()) -> ok.
wake(Teller) ->
    Teller ! wake,
    ok.

-spec run(accept_queue_event_store:audience(), take(), tell()) -> no_return().
run(Audience, Take, Tell) ->
    case Take() of
        {ok, Event} ->
            ok = accept_queue_event_store:now_telling(Audience, Event, erlang:monotonic_time(millisecond)),
            _ = Tell(Event),
            ok = accept_queue_event_store:told(Audience);
        none ->
            receive
                wake -> ok
            end
    end,
    ?MODULE:run(Audience, Take, Tell).
