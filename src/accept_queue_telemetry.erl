%% @private
%% The application `telemetry', where it is loaded. It is no dependency: a handler cannot be attached before telemetry is loaded.
-module(accept_queue_telemetry).

-include_lib("kernel/include/logger.hrl").

-export([handlers/3, is_attached/1]).

%% What `telemetry:execute/3' would call, one by one: a caller that is killed in the middle knows which handlers have had the event.
-spec handlers([atom(), ...], Measurements :: map(), Metadata :: map()) -> [accept_queue_dispatcher:handler()].
handlers(Name, Measurements, Metadata) ->
    [
        {Id, fun() -> run(Handler, Measurements, Metadata) end}
     || #{id := Id, event_name := Attached} = Handler <- call(list_handlers, [Name], []), Attached =:= Name
    ].

-spec is_attached([atom(), ...]) -> boolean().
is_attached(Name) ->
    call(list_handlers, [Name], []) =/= [].

%% As telemetry does it: one that crashes is detached, which is an event and an error in the log.
run(#{id := Id, event_name := Name, function := Function, config := Config}, Measurements, Metadata) ->
    try
        Function(Name, Measurements, Metadata, Config)
    catch
        Class:Reason:Stack ->
            _ = call(detach, [Id], ok),
            Failure = #{
                event_name => Name, handler_id => Id, handler_config => Config, kind => Class, reason => Reason, stacktrace => Stack
            },
            Times = #{monotonic_time => erlang:monotonic_time(), system_time => erlang:system_time()},
            _ = call(execute, [[telemetry, handler, failure], Times, Failure], ok),
            Text = "Handler ~0tp has failed and has been detached. Class=~0tp~nReason=~0tp~nStacktrace=~0tp",
            ?LOG_ERROR(Text, [Id, Class, Reason, Stack], #{application => accept_queue})
    end.

call(Function, Arguments, Absent) ->
    case erlang:function_exported(telemetry, Function, length(Arguments)) andalso is_started() of
        true -> apply(telemetry, Function, Arguments);
        false -> Absent
    end.

%% Loaded and not started, it logs a warning at each call. The stand-in of the tests has no such process, and needs none.
is_started() ->
    not erlang:module_loaded(telemetry_handler_table) orelse whereis(telemetry_handler_table) =/= undefined.
