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
