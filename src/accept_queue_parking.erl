%% @private
%% What a process that should be in accept waits for instead, by its stack: a name, and a sentence for the person on call.
%% The only place that knows the frames of each. Pure.
-module(accept_queue_parking).

-export([name/1, items/0]).

-export_type([id/0]).

%% The modules between a call and `gen:do_call/4'.
-define(CALLS, [gen, gen_server, gen_statem, gen_event, supervisor]).

-type id() :: suspended | max_connections | no_descriptors | tls_handshake | sleep | accept | call | 'receive'.

%% What `name/1' needs of `erlang:process_info/2'.
-spec items() -> [status | current_stacktrace | monitors, ...].
items() ->
    [status, current_stacktrace, monitors].

%% `undefined' where it does not wait: it runs, or is ready to run.
-spec name(#{status := atom(), current_stacktrace := [tuple()], monitors := [term()], _ => _}) ->
    {id(), binary()} | undefined.
name(#{status := suspended}) ->
    {suspended, <<"suspended by erlang:suspend_process or a debugger, which must resume it">>};
name(#{status := waiting, current_stacktrace := Stack, monitors := Monitors}) ->
    Calls = [{Module, Function} || {Module, Function, _Arity, _Location} <- Stack],
    Id = id(Calls),
    {Id, unicode:characters_to_binary(waits(Id, Stack, Monitors))};
name(_) ->
    undefined.

%% The first that fits: a handshake and an accept may themselves be calls.
id([{ranch_acceptor, loop} | _]) ->
    no_descriptors;
id([{timer, sleep} | _]) ->
    sleep;
id(Calls) ->
    Rules = [
        {max_connections, [{ranch_conns_sup, start_protocol}]},
        %% lib/ssl/src/ssl_gen_statem.erl; the calls of `ssl' itself are last ones, and leave no frame.
        {tls_handshake, [{ssl_gen_statem, handshake}, {ssl_gen_statem, handshake_continue}]},
        {accept, [{prim_inet, accept0}, {gen_tcp_socket, accept}, {socket, accept_deadline}, {socket, accept_nowait}]},
        {call, [{gen, do_call}]}
    ],
    hd([Id || {Id, Known} <- Rules, lists:any(fun(Call) -> lists:member(Call, Known) end, Calls)] ++ ['receive']).

waits(max_connections, _, _) ->
    "waits for ranch's connections supervisor: max_connections is reached, or the supervisor is held up in the start_link "
    "of a protocol";
waits(no_descriptors, _, _) ->
    "ranch pauses for 100 ms, because accept returned emfile: this VM has no descriptor left (ulimit -n)";
waits(tls_handshake, _, _) ->
    "in a TLS handshake, and the client is slow or silent: give ssl:handshake a time-out, or call it in the process that "
    "serves the connection";
waits(sleep, Stack, _) ->
    io_lib:format("sleeps in timer:sleep~ts", [caller(Stack, [timer])]);
waits(accept, _, _) ->
    "in accept: of another listener, or of this one since the waiting processes were read";
waits(call, Stack, Monitors) ->
    io_lib:format("waits for the answer to a call~ts~ts", [caller(Stack, ?CALLS), callee(Monitors)]);
waits('receive', Stack, _) ->
    io_lib:format("waits for a message~ts", [caller(Stack, [])]).

%% The first on the stack that is not of these modules.
caller(Stack, Libraries) ->
    case [Frame || {Module, _, _, _} = Frame <- Stack, not lists:member(Module, Libraries)] of
        [{Module, Function, Arity, _} | _] when is_integer(Arity) ->
            io_lib:format(" in ~ts:~ts/~b", [Module, Function, Arity]);
        _ ->
            ""
    end.

%% A call monitors the called process. The caller may monitor others too, and its stack does not show which one it called.
callee(Monitors) ->
    case [Name || {process, Name} <- Monitors] of
        [] -> "";
        [One] -> io_lib:format(", to ~0tp", [One]);
        Several -> io_lib:format(", to one of ~0tp", [lists:sublist(Several, 5)])
    end.
