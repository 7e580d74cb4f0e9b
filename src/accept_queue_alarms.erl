%% @private
%% Raised conditions as alarms of SASL's alarm_handler: `{{accept_queue, Condition, Address}, Details}'.
%%
%% alarm_handler may be missing, may start later, and may be another process after a crash. It does not de-duplicate. So the
%% event store notes which alarms it has, and {@link settle/0} makes them agree with the raised conditions: any number of times,
%% from any state. {@link settle/1} does so for one condition, at the cost of that one.
%%
%% An event manager that has just started has no handler yet, and drops what it is notified of: it counts as there when it has one.
-module(accept_queue_alarms).

-export([settle/0, settle/1, withdraw/0]).

-define(ANSWER_MS, 100).

-spec settle() -> ok.
settle() ->
    settle_all(accept_queue_event_store:raised()).

-spec settle(accept_queue_event_store:id()) -> ok.
settle(Id) ->
    Alarm = accept_queue_event_store:alarm_of(Id),
    case accept_queue_event_store:raised(Id) of
        {ok, Details} -> set(Id, Details, Alarm, handler());
        no -> clear(Id, Alarm, handler())
    end.

%% For when watching ends. The conditions stay in the event store, and the next `settle/0' sets their alarms again.
-spec withdraw() -> ok.
withdraw() ->
    settle_all(#{}).

settle_all(Raised) ->
    Alarms = accept_queue_event_store:alarms(),
    Handler = handler(),
    ok = maps:foreach(fun(Id, Alarm) -> clear(Id, Alarm, Handler) end, maps:without(maps:keys(Raised), Alarms)),
    maps:foreach(fun(Id, Details) -> set(Id, Details, maps:get(Id, Alarms, none), Handler) end, Raised).

handler() ->
    case whereis(alarm_handler) of
        undefined ->
            undefined;
        Handler ->
            case accept_queue_event_store:alarm_handler() =:= Handler orelse has_handlers(Handler) of
                true -> ok = accept_queue_event_store:alarm_handler(Handler), Handler;
                false -> undefined
            end
    end.

%% Asked once of each. One that does not answer is asked again when alarms are settled next.
has_handlers(Handler) ->
    case accept_queue_call:within(?ANSWER_MS, fun() -> {ok, gen_event:which_handlers(Handler)} end) of
        {ok, Handlers} -> Handlers =/= [];
        {error, _} -> false
    end.

set(_Id, _Details, _Alarm, undefined) ->
    ok;
set(_Id, _Details, {Handler, set}, Handler) ->
    ok;
set(Id, Details, {Handler, setting}, Handler) ->
    %% The process before this one was killed in between, and may have set the alarm or not: it is set once.
    ok = notify(Handler, {clear_alarm, name(Id)}),
    set(Id, Details, none, Handler);
set(Id, Details, _Alarm, Handler) ->
    ok = accept_queue_event_store:alarm(Id, Handler, setting),
    ok = notify(Handler, {set_alarm, {name(Id), Details}}),
    accept_queue_event_store:alarm(Id, Handler, set).

%% Then nothing is left of it.
clear(Id, Alarm, Handler) ->
    ok =
        case Alarm of
            {Handler, _} -> notify(Handler, {clear_alarm, name(Id)});
            _NoneOrOfAnother -> ok
        end,
    ok = accept_queue_event_store:no_alarm(Id),
    accept_queue_event_store:forget_cleared(Id).

%% As alarm_handler:set_alarm/1 and clear_alarm/1 do, but to this process: those raise badarg where there is none, and it may
%% have ended since it was found.
notify(Handler, Event) ->
    gen_event:notify(Handler, Event).

name({Condition, Address}) -> {accept_queue, Condition, Address}.
