%% A client of a web server.
-module(http).

-export([serves/1]).

serves(Port) ->
    {ok, Client} = gen_tcp:connect({127, 0, 0, 1}, Port, [binary, {active, false}], 5000),
    ok = gen_tcp:send(Client, "GET / HTTP/1.0\r\nHost: localhost\r\n\r\n"),
    {ok, <<"HTTP/1.", _, " 200 ", _/binary>>} = gen_tcp:recv(Client, 0, 5000),
    gen_tcp:close(Client).
