%% One listener in each of the ways that OTP has to make one, and what its owner would do with it.
-module(kinds).

-export([tcp/0, unix/0, listen/2, listen/3, address/1, accept/2, close/1]).

-define(ACCEPT_MS, 60000).

tcp() -> [gen_tcp, gen_tcp_over_socket, socket, ssl].

unix() -> [gen_tcp, gen_tcp_over_socket, socket].

%% On 127.0.0.1.
listen(Kind, Backlog) ->
    listen(Kind, Backlog, #{family => inet, addr => {127, 0, 0, 1}, port => 0}).

%% On an address of the `socket' module's spelling.
listen(gen_tcp, Backlog, At) ->
    {ok, Listener} = gen_tcp:listen(0, options(Backlog, At)),
    Listener;
listen(gen_tcp_over_socket, Backlog, At) ->
    {ok, Listener} = gen_tcp:listen(0, [{inet_backend, socket} | options(Backlog, At)]),
    Listener;
listen(socket, Backlog, #{family := Family} = At) ->
    {ok, Listener} = socket:open(Family, stream),
    ok = socket:bind(Listener, At),
    ok = socket:listen(Listener, Backlog),
    Listener;
listen(ssl, Backlog, At) ->
    {ok, _} = application:ensure_all_started(ssl),
    {ok, Listener} = ssl:listen(0, options(Backlog, At)),
    Listener.

options(Backlog, #{family := local, path := Name}) ->
    [binary, {active, false}, {backlog, Backlog}, {ifaddr, {local, Name}}];
options(Backlog, #{family := inet, addr := Ip}) ->
    [binary, {active, false}, {backlog, Backlog}, {ip, Ip}].

address({'$socket', _} = Listener) ->
    case socket:sockname(Listener) of
        {ok, #{family := local, path := Name}} -> {local, Name};
        {ok, #{addr := Ip, port := Port}} -> {Ip, Port}
    end;
address(Listener) when element(1, Listener) =:= sslsocket ->
    {ok, Address} = ssl:sockname(Listener),
    Address;
address(Listener) ->
    {ok, Address} = inet:sockname(Listener),
    Address.

%% Of an ssl listener a connection that has not begun its handshake.
accept(socket, Listener) -> socket:accept(Listener, ?ACCEPT_MS);
accept(ssl, Listener) -> ssl:transport_accept(Listener, ?ACCEPT_MS);
accept(_, Listener) -> gen_tcp:accept(Listener, ?ACCEPT_MS).

close({'$socket', _} = Socket) -> ok = socket:close(Socket);
%% ssl does not close a connection before its handshake.
close(Socket) when element(1, Socket) =:= sslsocket -> close(accept_queue_ssl:transport(Socket));
close(Socket) -> ok = gen_tcp:close(Socket).
