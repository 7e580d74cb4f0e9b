%% The application under measurement, with exactly the settings that are named.
-module(bench_application).

-export([start/1, settings/1]).

-spec start(#{atom() => term()}) -> ok.
start(Settings) ->
    ok = application:load(accept_queue),
    %% A setting that another part has left behind would be measured as a default.
    [] = application:get_all_env(accept_queue),
    [ok = application:set_env(accept_queue, Key, Value) || {Key, Value} <- maps:to_list(Settings)],
    {ok, _} = application:ensure_all_started(accept_queue),
    ok.

%% A sentence for the reader of a table.
-spec settings(#{atom() => term()}) -> iodata().
settings(Settings) when Settings =:= #{} -> "default settings";
settings(Settings) -> io_lib:format("settings `~0tp`, all others by default", [Settings]).
