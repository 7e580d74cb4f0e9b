%% @private
-module(accept_queue_app).
-behaviour(application).

-include_lib("kernel/include/logger.hrl").

-export([start/2, stop/1, config_change/3]).

%% What these modules call of OTP, beside what every VM has loaded; `accept_queue_trouble_SUITE' compares.
-define(OF_OTP, [inet, io, io_lib, io_lib_format, io_lib_pretty, proplists, queue, socket, string, unicode_util]).

-spec start(application:start_type(), term()) -> {ok, pid()} | {error, term()}.
start(_Type, _Args) ->
    ok = load_modules(),
    accept_queue_sup:start_link().

-spec stop(term()) -> ok.
stop(_State) ->
    accept_queue_source:reset().

%% A release was upgraded, or its configuration read again. Every key takes effect, and a wrong one changes nothing. Runs in the process
%% of all applications: nothing here asks that one.
-spec config_change([{atom(), term()}], [{atom(), term()}], [atom()]) -> ok.
config_change(Changed, New, Removed) ->
    Keys = [Key || {Key, _} <- Changed ++ New] ++ Removed,
    case accept_queue_config:environment() of
        {error, Sentence} ->
            ?LOG_ERROR("accept_queue: the change of its environment has no effect: ~ts", [Sentence], #{application => accept_queue});
        _ ->
            accept_queue_sup:reconfigure(Keys)
    end.

%% All that a call or an event may take, so that none waits for the code server and a file when the VM is in trouble. A module that
%% cannot be loaded is reported by the first call of it, as ever.
load_modules() ->
    {ok, Modules} = application:get_key(accept_queue, modules),
    _ = code:ensure_modules_loaded(Modules ++ ?OF_OTP),
    ok.
