%% @private
-module(accept_queue_app).
-behaviour(application).

-export([start/2, stop/1]).

%% What these modules call of OTP, beside what every VM has loaded; `accept_queue_trouble_SUITE' compares.
-define(OF_OTP, [inet, io, io_lib, io_lib_format, io_lib_pretty, proplists, queue, socket, string, unicode_util]).

-spec start(application:start_type(), term()) -> {ok, pid()} | {error, term()}.
start(_Type, _Args) ->
    ok = load_modules(),
    accept_queue_sup:start_link().

-spec stop(term()) -> ok.
stop(_State) ->
    accept_queue_source:reset().

%% All that a call or an event may take, so that none waits for the code server and a file when the VM is in trouble. A module that
%% cannot be loaded is reported by the first call of it, as ever.
load_modules() ->
    {ok, Modules} = application:get_key(accept_queue, modules),
    _ = code:ensure_modules_loaded(Modules ++ ?OF_OTP),
    ok.
