%% @private
%% What a process that should be in accept waits for instead, by its stack: a name, and a sentence for the person on call.
%% The only place that knows the frames of each. Pure.
-module(accept_queue_parking).

-export([name/1, behind/1, items/0]).

-export_type([id/0]).

%% The modules between a call and `gen:do_call/4'.
-define(CALLS, [gen, gen_server, gen_statem, gen_event, supervisor, 'Elixir.GenServer', 'Elixir.DynamicSupervisor', 'Elixir.Supervisor']).

-type id() ::
    suspended | max_connections | no_descriptors | paused | proxy_protocol | tls_handshake | sleep | accept | call | 'receive'.

%% What `name/1' needs of `erlang:process_info/2'.
-spec items() -> [status | current_stacktrace | monitors, ...].
items() ->
    [status, current_stacktrace, monitors].

%% `undefined' where it does not wait: it runs, or is ready to run.
-spec name(#{status := atom(), current_stacktrace := [tuple()], monitors := [term()], _ => _}) ->
    {id(), binary()} | undefined.
name(#{status := suspended}) ->
    {suspended, <<"suspended by erlang:suspend_process or a debugger, which must resume it">>};
name(#{status := waiting, current_stacktrace := Stack, monitors := Monitors} = Description) ->
    Calls = [{Module, Function} || {Module, Function, _Arity, _Location} <- Stack],
    {Began, _, _} = maps:get(initial_call, Description, {undefined, undefined, 0}),
    {Id, Text} =
        case of_framework(Calls, Began) of
            {_, _} = Known ->
                Known;
            none ->
                Waits = id(Calls),
                {Waits, waits(Waits, Stack, Monitors)}
        end,
    {Id, unicode:characters_to_binary(Text)};
name(_) ->
    undefined.

%% Of a process in accept: this other one has been woken for the connection, and does something else.
-spec behind(pid()) -> {accept, binary()}.
behind(Holder) ->
    Text = "in accept, behind ~0tp, which has been woken for the connection and has not come back to accept it",
    {accept, unicode:characters_to_binary(io_lib:format(Text, [Holder]))}.

%% What the frameworks do, by the frames of their acceptors, and by what an idle process of theirs began with.
of_framework(Calls, Began) ->
    Has = fun(Call) -> lists:member(Call, Calls) end,
    HasModule = fun(Module) -> lists:keymember(Module, 1, Calls) end,
    Sleeps = Has({'Elixir.Process', sleep}) orelse Has({timer, sleep}),
    IsIdle = Calls =:= [] orelse lists:member(element(1, hd(Calls)), [gen_server, gen_statem]),
    case Began of
        _ when hd(Calls) =:= {ranch_acceptor, loop} ->
            no_descriptors("ranch", "100 ms");
        'Elixir.ThousandIsland.Acceptor' ->
            case Sleeps of
                true -> thousand_island(HasModule('Elixir.ThousandIsland.Connection'));
                false -> none
            end;
        mochiweb_socket_server when IsIdle ->
            {max_connections,
                "mochiweb has no acceptor: its option max is reached, and it starts one when a connection ends"};
        mochiweb_acceptor when hd(Calls) =:= {mochiweb_acceptor, init} ->
            no_descriptors("mochiweb", "100 ms");
        elli when IsIdle ->
            {'receive', "elli has no acceptor: each that it has started serves a connection, and the message that starts the next is missing"};
        Acceptor when IsIdle, Acceptor =:= esockd_acceptor_fsm orelse Acceptor =:= esockd_acceptor ->
            {paused, "esockd pauses: the rate limit of the listener is reached, or accept returned emfile"};
        _ ->
            none
    end.

thousand_island(true) ->
    {max_connections,
        "Thousand Island waits for a place among num_connections of this acceptor, with a client in hand: "
        "max_connections_retry_count times max_connections_retry_wait, and then it closes the client"};
thousand_island(false) ->
    no_descriptors("Thousand Island", "100 ms").

no_descriptors(Framework, Pause) ->
    {no_descriptors, [Framework, " pauses for ", Pause, ", because accept returned emfile: this VM has no descriptor left (ulimit -n)"]}.

%% The first that fits: a handshake and an accept may themselves be calls.
id([{timer, sleep} | _]) ->
    sleep;
id([{'Elixir.Process', sleep} | _]) ->
    sleep;
id(Calls) ->
    Rules = [
        {suspended, [{sys, suspend_loop}, {sys, suspend_loop_hib}]},
        {max_connections, [{ranch_conns_sup, start_protocol}]},
        {proxy_protocol, [
            {ranch, recv_proxy_header}, {ranch_tcp, recv_proxy_header}, {ranch_ssl, recv_proxy_header}, {esockd_proxy_protocol, recv}
        ]},
        %% lib/ssl/src/ssl_gen_statem.erl; the calls of `ssl' itself are last ones, and leave no frame.
        {tls_handshake, [{ssl_gen_statem, handshake}, {ssl_gen_statem, handshake_continue}]},
        {accept, [{prim_inet, accept0}, {gen_tcp_socket, accept}, {socket, accept_deadline}, {socket, accept_nowait}]},
        {call, [{gen, do_call}]}
    ],
    hd([Id || {Id, Known} <- Rules, lists:any(fun(Call) -> lists:member(Call, Known) end, Calls)] ++ ['receive']).

waits(max_connections, _, _) ->
    "waits for ranch's connections supervisor: max_connections is reached, or the supervisor is held up in the start_link "
    "of a protocol";
waits(suspended, _, _) ->
    "suspended by sys:suspend, and waits for sys:resume";
waits(proxy_protocol, _, _) ->
    "waits for the header of the proxy protocol, and the client sends none: it does not come from the proxy, or the proxy is not set so";
waits(tls_handshake, _, _) ->
    "in a TLS handshake, and the client is slow or silent: give ssl:handshake a time-out, or call it in the process that "
    "serves the connection";
waits(sleep, Stack, _) ->
    io_lib:format("sleeps~ts", [caller(Stack, [timer, 'Elixir.Process'])]);
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
