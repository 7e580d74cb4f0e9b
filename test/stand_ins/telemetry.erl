%% Stands in for the application `telemetry', which Debian does not carry: what of it is used, with its promises. Handlers run
%% in the process that calls execute/3, and one that crashes is detached.
-module(telemetry).

-export([attach/4, detach/1, list_handlers/1, execute/3]).

-define(HANDLERS, {?MODULE, handlers}).

attach(Id, Name, Handler, Config) ->
    persistent_term:put(?HANDLERS, [#{id => Id, event_name => Name, function => Handler, config => Config} | all()]).

detach(Id) ->
    persistent_term:put(?HANDLERS, [Handler || #{id := Other} = Handler <- all(), Other =/= Id]),
    ok.

list_handlers(Prefix) ->
    [Handler || #{event_name := Name} = Handler <- all(), lists:prefix(Prefix, Name)].

execute(Name, Measurements, Metadata) when is_map(Measurements), is_map(Metadata) ->
    [call(Handler, Name, Measurements, Metadata) || #{event_name := Attached} = Handler <- all(), Attached =:= Name],
    ok.

call(#{id := Id, function := Handler, config := Config}, Name, Measurements, Metadata) ->
    try
        Handler(Name, Measurements, Metadata, Config)
    catch
        _:_ -> detach(Id)
    end.

all() ->
    persistent_term:get(?HANDLERS, []).
