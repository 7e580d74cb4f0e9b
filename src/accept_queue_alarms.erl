%% @private
%% What stands, as alarms of SASL's alarm_handler: `{{accept_queue, Condition, Address}, Details}'.
%%
%% alarm_handler need not be there, may come later, and may be another one after a crash. It does not de-duplicate. So what it
%% has been told is noted, and {@link settle/0} makes it agree with what stands: any number of times, from any state.
-module(accept_queue_alarms).

-export([settle/0, withdraw/0]).

-spec settle() -> ok.
settle() ->
    settle(accept_queue_event_store:standing()).

%% For when nobody will watch any more. What stands goes on to stand, and is set again by the next `settle/0'.
-spec withdraw() -> ok.
withdraw() ->
    settle(#{}).

settle(Standing) ->
    Alarms = accept_queue_event_store:alarms(),
    Handler = whereis(alarm_handler),
    ok = maps:foreach(fun(Id, Told) -> clear(Id, Told, Handler) end, maps:without(maps:keys(Standing), Alarms)),
    maps:foreach(fun(Id, Details) -> set(Id, Details, maps:get(Id, Alarms, untold), Handler) end, Standing).

set(_Id, _Details, _Told, undefined) ->
    ok;
set(_Id, _Details, {Handler, set}, Handler) ->
    ok;
set(Id, Details, {Handler, setting}, Handler) ->
    %% Killed in between, and nobody knows whether it was told: it is to have this alarm once.
    ok = notify(Handler, {clear_alarm, name(Id)}),
    set(Id, Details, untold, Handler);
set(Id, Details, _Untold, Handler) ->
    ok = accept_queue_event_store:alarm(Id, Handler, setting),
    ok = notify(Handler, {set_alarm, {name(Id), Details}}),
    accept_queue_event_store:alarm(Id, Handler, set).

clear(Id, {Handler, _}, Handler) ->
    ok = notify(Handler, {clear_alarm, name(Id)}),
    accept_queue_event_store:no_alarm(Id);
clear(Id, {_Gone, _}, _Handler) ->
    accept_queue_event_store:no_alarm(Id).

%% As alarm_handler:set_alarm/1 and clear_alarm/1 do, but to this one: they raise badarg where there is none, and it may have
%% gone since it was looked up.
notify(Handler, Event) ->
    gen_event:notify(Handler, Event).

name({Condition, Address}) -> {accept_queue, Condition, Address}.
