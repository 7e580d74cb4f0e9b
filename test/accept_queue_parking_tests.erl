%% Stacks of `erlang:process_info/2' on OTP 25, of processes that were held up in each of these ways.
-module(accept_queue_parking_tests).

-include_lib("eunit/include/eunit.hrl").

-define(LOOP, {my_acceptor, loop, 2, [{file, "my_acceptor.erl"}, {line, 7}]}).
-define(RANCH_LOOP, {ranch_acceptor, loop, 5, [{file, "src/ranch_acceptor.erl"}, {line, 41}]}).

each_way_to_wait_is_named_test_() ->
    [
        {Sentence, fun() ->
            {Id, Text} = accept_queue_parking:name(info(waiting, Stack)),
            ?assertEqual({Expected, match}, {Id, re:run(Text, Words, [{capture, none}])}),
            ?assertEqual(nomatch, re:run(Text, "\n"))
        end}
     || {Sentence, Stack, Expected, Words} <- waits()
    ].

%% Stacks of Thousand Island (0.6.7, 1.3.14 and later than 1.5.0) and of mochiweb 3.3.0, where they were seen; of esockd and elli by their source.
each_way_of_a_framework_to_wait_is_named_test_() ->
    [
        {Sentence, fun() ->
            {Id, Text} = accept_queue_parking:name((info(waiting, Stack))#{initial_call => Began}),
            ?assertEqual({Expected, match}, {Id, re:run(Text, Words, [{capture, none}])}),
            ?assertEqual(nomatch, re:run(Text, "\n"))
        end}
     || {Sentence, Began, Stack, Expected, Words} <- waits_of_frameworks()
    ].

waits_of_frameworks() ->
    Island = {'Elixir.ThousandIsland.Acceptor', run, 1},
    Sleep = {'Elixir.Process', sleep, 1, [{file, "lib/process.ex"}, {line, 250}]},
    Accept = {'Elixir.ThousandIsland.Acceptor', accept, 6, [{file, "lib/thousand_island/acceptor.ex"}, {line, 63}]},
    Loop = {gen_server, loop, 7, [{file, "gen_server.erl"}, {line, 871}]},
    Handshake = {mochiweb_socket, finish_accept, 1, [{file, "src/mochiweb_socket.erl"}, {line, 123}]},
    [
        {"Thousand Island at num_connections", Island,
            [Sleep, {'Elixir.ThousandIsland.Connection', do_start, 8, [{file, "lib/thousand_island/connection.ex"}, {line, 77}]}, Accept],
            max_connections, "num_connections"},
        {"Thousand Island that has got emfile", Island, [Sleep, Accept], no_descriptors, "ulimit -n"},
        {"Thousand Island whose connections' supervisor does not answer", Island,
            [gen(), {'Elixir.GenServer', call, 3, []}, {'Elixir.ThousandIsland.Connection', do_start, 8, []}, Accept],
            call, "answer to a call in Elixir.ThousandIsland.Connection:do_start/8"},
        {"mochiweb at max", {mochiweb_socket_server, init, 1}, [Loop], max_connections, "max is reached"},
        {"mochiweb that is suspended", {mochiweb_socket_server, init, 1}, [{sys, suspend_loop, 6, []}], suspended, "sys:resume"},
        {"mochiweb that has got emfile", {mochiweb_acceptor, init, 4}, [{mochiweb_acceptor, init, 4, []}], no_descriptors, "ulimit -n"},
        {"mochiweb in a TLS handshake", {mochiweb_acceptor, init, 4}, handshake([Handshake, {mochiweb_acceptor, init, 4, []}]), tls_handshake, "TLS"},
        {"elli whose acceptors all serve", {elli, init, 1}, [Loop], 'receive', "elli has no acceptor"},
        {"esockd that pauses", {esockd_acceptor, init, 1}, [{gen_statem, loop_receive, 3, []}], paused, "rate limit"},
        {"esockd that hibernates", {esockd_acceptor_fsm, init, 1}, [], paused, "rate limit"}
    ].

waits() ->
    [
        {"ranch 2.1 at max_connections",
            [{ranch_conns_sup, start_protocol, 3, [{file, "src/ranch_conns_sup.erl"}, {line, 76}]}, ?RANCH_LOOP],
            max_connections, "max_connections is reached"},
        {"ranch that has got emfile", [?RANCH_LOOP], no_descriptors, "ulimit -n"},
        {"a TLS handshake after ssl:transport_accept", handshake([]), tls_handshake, "TLS handshake"},
        {"a TLS handshake on a socket of gen_tcp",
            handshake([{ssl_gen_statem, handshake, 7, [{file, "ssl_gen_statem.erl"}, {line, 220}]}, ?LOOP]),
            tls_handshake, "TLS handshake"},
        {"timer:sleep", [{timer, sleep, 1, [{file, "timer.erl"}, {line, 219}]}, ?LOOP], sleep, "in my_acceptor:loop/2$"},
        {"a call of gen_server",
            [gen(), {gen_server, call, 3, [{file, "gen_server.erl"}, {line, 381}]}, ?LOOP],
            call, "in my_acceptor:loop/2, to <0.1.0>"},
        {"a call of gen_statem",
            [gen(), {gen_statem, call_dirty, 4, [{file, "gen_statem.erl"}, {line, 900}]}, ?LOOP],
            call, "in my_acceptor:loop/2, to <0.1.0>"},
        {"a call that is the last of its function",
            [gen(), {gen_server, call, 2, [{file, "gen_server.erl"}, {line, 370}]}],
            call, "answer to a call, to <0.1.0>"},
        {"accept of a port", [{prim_inet, accept0, 3, []}, inet_tcp(), ?LOOP], accept, "of another listener"},
        {"accept of a port, under ranch and ssl",
            [{prim_inet, accept0, 3, []}, inet_tcp(), {tls_socket, accept, 3, []}, ?RANCH_LOOP],
            accept, "of another listener"},
        {"accept of gen_tcp over socket, which is a call",
            [gen(), {gen_statem, call_dirty, 4, []}, {gen_tcp_socket, call, 2, []}, {gen_tcp_socket, accept, 2, []}],
            accept, "of another listener"},
        {"accept of socket",
            [{socket, accept_deadline, 2, [{file, "socket.erl"}, {line, 1747}]}, ?LOOP], accept, "of another listener"},
        {"a process that sys:suspend stopped", [{sys, suspend_loop_hib, 6, []}, {proc_lib, init_p_do_apply, 3, []}], suspended, "sys:resume"},
        {"the proxy protocol of ranch 2", [{ranch_tcp, recv_proxy_header, 2, []}, ?LOOP], proxy_protocol, "proxy protocol"},
        {"the proxy protocol of esockd", [{esockd_proxy_protocol, recv, 3, []}, ?LOOP], proxy_protocol, "proxy protocol"},
        {"Process.sleep", [{'Elixir.Process', sleep, 1, []}, ?LOOP], sleep, "in my_acceptor:loop/2$"},
        {"a receive of its own", [?LOOP], 'receive', "message in my_acceptor:loop/2$"},
        {"a process that hibernates has no stack", [], 'receive', "for a message$"}
    ].

the_called_process_is_named_as_far_as_it_is_known_test_() ->
    Call = [gen(), ?LOOP],
    [
        {Sentence, fun() ->
            {call, Text} = accept_queue_parking:name((info(waiting, Call))#{monitors := Monitors}),
            ?assertMatch({match, _}, re:run(Text, Words))
        end}
     || {Sentence, Monitors, Words} <- [
            {"nothing is monitored", [], "loop/2$"},
            {"by name", [{process, {some_server, node()}}], "to {some_server,nonode@nohost}$"},
            {"among others", [{process, pid("<0.1.0>")}, {process, pid("<0.2.0>")}], "to one of \\[<0.1.0>,<0.2.0>\\]$"},
            {"a port is not called", [{port, some_port}], "loop/2$"}
        ]
    ].

a_suspended_process_is_suspended_wherever_it_stands_test() ->
    ?assertMatch({suspended, _}, accept_queue_parking:name(info(suspended, [?LOOP]))).

a_process_that_does_not_wait_is_not_parked_test_() ->
    [
        ?_assertEqual(undefined, accept_queue_parking:name(info(Status, [?LOOP])))
     || Status <- [running, runnable, garbage_collecting, exiting]
    ].

info(Status, Stack) ->
    #{status => Status, current_stacktrace => Stack, monitors => [{process, pid("<0.1.0>")}], message_queue_len => 0}.

handshake(Below) ->
    [
        gen(),
        {gen_statem, call_dirty, 4, [{file, "gen_statem.erl"}, {line, 900}]},
        {ssl_gen_statem, call, 2, [{file, "ssl_gen_statem.erl"}, {line, 1239}]},
        {ssl_gen_statem, handshake, 2, [{file, "ssl_gen_statem.erl"}, {line, 234}]}
        | Below
    ].

gen() -> {gen, do_call, 4, [{file, "gen.erl"}, {line, 237}]}.

inet_tcp() -> {inet_tcp, accept, 2, [{file, "inet_tcp.erl"}, {line, 227}]}.

pid(Text) -> list_to_pid(Text).
