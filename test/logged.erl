%% What the default handler of logger would show, as messages `{logged, Level, Text}'.
-module(logged).

-export([start/0, stop/0, filters/0]).
-export([log/2]).

start() ->
    Handler = #{level => debug, filter_default => stop, filters => filters(), config => #{to => self()}},
    logger:add_handler(?MODULE, ?MODULE, Handler).

stop() ->
    logger:remove_handler(?MODULE).

%% As kernel sets them up (lib/kernel/src/logger.erl): what is in another domain never reaches a terminal.
filters() ->
    [
        {domain, {fun logger_filters:domain/2, {log, super, [otp, sasl]}}},
        {no_domain, {fun logger_filters:domain/2, {log, undefined, []}}}
    ].

log(#{level := Level, msg := {Format, Arguments}}, #{config := #{to := Pid}}) when is_list(Format) ->
    Pid ! {logged, Level, lists:flatten(io_lib:format(Format, Arguments))};
log(_, _) ->
    ok.
