%% @private
%% The application `telemetry', where it is loaded. It is no dependency: a handler cannot be attached before telemetry is loaded.
-module(accept_queue_telemetry).

-export([execute/3, is_attached/1]).

%% Calls the handlers, in this process. telemetry itself detaches those that crash.
-spec execute([atom(), ...], Measurements :: map(), Metadata :: map()) -> ok.
execute(Name, Measurements, Metadata) ->
    call(execute, [Name, Measurements, Metadata], ok).

-spec is_attached([atom(), ...]) -> boolean().
is_attached(Name) ->
    call(list_handlers, [Name], []) =/= [].

call(Function, Arguments, Absent) ->
    case erlang:function_exported(telemetry, Function, length(Arguments)) andalso is_started() of
        true -> apply(telemetry, Function, Arguments);
        false -> Absent
    end.

%% Loaded and not started, it logs a warning at each call. The stand-in of the tests has no such process, and needs none.
is_started() ->
    not erlang:module_loaded(telemetry_handler_table) orelse whereis(telemetry_handler_table) =/= undefined.
