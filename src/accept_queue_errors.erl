%% @private
%% What is allowed where {@link accept_queue} raised `badarg': a sentence about the argument, for the shell, for logger and for Elixir's
%% `Exception.blame/3' (`erlang:error/3', `error_info').
-module(accept_queue_errors).

-export([format_error/2]).

-define(LISTENER,
    "no listener; allowed is a listen socket of gen_tcp, socket or ssl, {port, Port}, {Ip, Port}, {local, Path}, {ranch, Ref} or a "
    "handle of open/1"
).
-define(PORT, "no listener: the port number is not from 1 to 65535").
-define(CONNECTION, "no connection; allowed is an accepted socket of gen_tcp, socket or ssl").
-define(LIMIT, "no options; allowed is #{limit => Count}, with Count above 0").
-define(BACKLOG, "no backlog; allowed is an integer from 0 to 2147483647").
-define(CALL, "no reading of accept_queue; allowed is the name of a function that reads, or {Name, Arguments}").
-define(TIMEOUT, "no time-out; allowed is an integer from 0 to 4294967295, in milliseconds").

-spec format_error(term(), erlang:stacktrace()) -> #{pos_integer() => unicode:chardata()}.
format_error(badarg, [{accept_queue, Function, Arguments, Info} | _]) when is_list(Arguments) ->
    case proplists:get_value(error_info, Info) of
        #{cause := Sentence} -> #{length(Arguments) => Sentence};
        #{} -> wrong(Function, Arguments)
    end;
format_error(_Reason, _Stack) ->
    #{}.

wrong(Asks, [_Connection]) when Asks =:= wait_ms; Asks =:= peer_closed ->
    #{1 => ?CONNECTION};
wrong(accepted, [Listener, Connection]) ->
    case is_connection(Connection) of
        true -> listener(Listener);
        false -> #{2 => ?CONNECTION}
    end;
wrong(cluster, [_Call]) ->
    #{1 => ?CALL};
wrong(cluster, [_Call, Timeout]) when is_integer(Timeout), Timeout >= 0, Timeout =< 16#ffffffff ->
    #{1 => ?CALL};
wrong(cluster, [_Call, _Timeout]) ->
    #{2 => ?TIMEOUT};
wrong(resize, [_Listener, Backlog]) when not is_integer(Backlog); Backlog < 0; Backlog > 16#7fffffff ->
    #{2 => ?BACKLOG};
wrong(holders, [Listener, Options]) ->
    case Options of
        #{limit := Limit} when map_size(Options) =:= 1, is_integer(Limit), Limit > 0 -> listener(Listener);
        #{} when map_size(Options) > 0 -> #{2 => unknown_or_limit(maps:keys(Options) -- [limit])};
        _ -> #{2 => ?LIMIT}
    end;
wrong(_Function, [Listener | _]) ->
    listener(Listener);
wrong(_Function, []) ->
    #{}.

unknown_or_limit([]) -> ?LIMIT;
unknown_or_limit([Key | _]) -> io_lib:format("~0tp is no option; there is limit", [Key]).

listener({port, Port}) when is_integer(Port) -> #{1 => ?PORT};
listener({Ip, Port}) when is_tuple(Ip), is_integer(Port) -> port_or_ip(Ip);
listener({Ip, Port, Scope}) when is_tuple(Ip), is_integer(Port), is_integer(Scope) -> port_or_ip(Ip);
listener(_) -> #{1 => ?LISTENER}.

port_or_ip(Ip) ->
    case inet:is_ip_address(Ip) of
        true -> #{1 => ?PORT};
        false -> #{1 => ?LISTENER}
    end.

%% A port of another driver is none.
is_connection(Term) ->
    Socket = accept_queue_ssl:transport(Term),
    accept_queue_backend:is_socket(Socket) andalso accept_queue_backend:descriptor(Socket) =/= {error, badarg}.
