%% Listeners and clients on loopback. A client is a `socket' of the kernel's own making, so that a test can leave it in
%% the middle of its handshake and ask how many SYNs it has sent.
-module(sockets).

-export([listen/1, listen/2, lasting_port/0, group/2, address/1]).
-export([client/1, client/2, clients/2, new/1, peer/1, dial/1, send/2, close/1, reset/1]).
-export([state/1, syns/1, descriptor_target/1]).

%% include/uapi/asm-generic/socket.h; gen_tcp has no name for it.
-define(SO_REUSEPORT, {raw, 1, 15, <<1:32/native>>}).
-define(HANDSHAKE_MS, 60000).
-define(TCP_INFO, {6, 11}).
-define(TCP_INFO_BYTES, 104).

listen(Backlog) ->
    listen(Backlog, []).

%% On 127.0.0.1, or where the options say. Where they name no port, on one that no client is given, so that a second listener on another
%% address, and one that is opened again, can have it too, whatever connects meanwhile.
listen(Backlog, Options) ->
    Where =
        case lists:member(inet6, Options) orelse lists:keymember(ip, 1, Options) of
            true -> [];
            false -> [{ip, {127, 0, 0, 1}}]
        end,
    All = [binary, {active, false}, {backlog, Backlog} | Where],
    case lists:keytake(port, 1, Options) of
        {value, {port, Port}, Others} ->
            {ok, Listener} = gen_tcp:listen(Port, All ++ Others),
            Listener;
        false ->
            listen_somewhere(All ++ Options)
    end.

listen_somewhere(Options) ->
    case gen_tcp:listen(lasting_port(), Options) of
        {ok, Listener} -> Listener;
        {error, eaddrinuse} -> listen_somewhere(Options)
    end.

%% A free port that the kernel gives to no client, and above those of well-known services.
lasting_port() ->
    {ok, Range} = file:read_file("/proc/sys/net/ipv4/ip_local_port_range"),
    [Lowest | _] = string:lexemes(Range, "\t\n "),
    Port = 20000 + rand:uniform(binary_to_integer(Lowest) - 20001),
    case gen_tcp:listen(Port, [{ip, {127, 0, 0, 1}}]) of
        {ok, Listener} -> ok = gen_tcp:close(Listener), Port;
        {error, eaddrinuse} -> lasting_port();
        %% In a network without a loopback no other process has it.
        {error, eaddrnotavail} -> Port
    end.

%% So many listeners that share an address.
group(Size, Backlog) ->
    First = listen(Backlog, [?SO_REUSEPORT]),
    {_, Port} = address(First),
    [First | [listen(Backlog, [?SO_REUSEPORT, {port, Port}]) || _ <- lists:seq(2, Size)]].

%% Where a client reaches this listener.
address(Listener) ->
    {ok, {Ip, Port}} = inet:sockname(Listener),
    case Ip of
        {0, 0, 0, 0} -> {{127, 0, 0, 1}, Port};
        {0, 0, 0, 0, 0, 0, 0, 0} -> {{0, 0, 0, 0, 0, 0, 0, 1}, Port};
        _ -> {Ip, Port}
    end.

%% A client whose handshake is done.
client(Address) ->
    client(Address, #{}).

%% With options of `socket:open/4', such as the network namespace to come from.
client(Address, Options) ->
    Client = new(Address, Options),
    ok = socket:connect(Client, peer(Address), ?HANDSHAKE_MS),
    Client.

clients(Count, Address) ->
    [client(Address) || _ <- lists:seq(1, Count)].

%% A client that has sent its first SYN and does not wait for what becomes of it.
dial(Address) ->
    Client = new(Address),
    {select, _} = socket:connect(Client, peer(Address), nowait),
    Client.

send(Client, Bytes) ->
    ok = socket:send(Client, Bytes).

%% Leaves with a FIN.
close(Client) ->
    ok = socket:close(Client).

%% Leaves with a RST.
reset(Client) ->
    ok = socket:setopt(Client, {socket, linger}, #{onoff => true, linger => 0}),
    ok = socket:close(Client).

state(Client) ->
    <<State, _/binary>> = tcp_info(Client),
    %% include/net/tcp_states.h
    maps:get(State, #{1 => established, 2 => syn_sent}, State).

%% How many SYNs this client has sent: the first one, and `tcpi_total_retrans'.
syns(Client) ->
    <<2, _:99/binary, Retransmitted:32/native>> = tcp_info(Client),
    1 + Retransmitted.

%% What a descriptor number of this VM is, as `/proc' spells it; `undefined' where it is free.
descriptor_target(Fd) ->
    case file:read_link("/proc/self/fd/" ++ integer_to_list(Fd)) of
        {ok, Target} -> Target;
        {error, enoent} -> undefined
    end.

tcp_info(Client) ->
    {ok, Info} = socket:getopt_native(Client, ?TCP_INFO, ?TCP_INFO_BYTES),
    Info.

new(Address) ->
    new(Address, #{}).

new({local, _Name}, Options) ->
    {ok, Client} = socket:open(local, stream, default, Options),
    Client;
new(Address, Options) ->
    {ok, Client} = socket:open(family(element(1, Address)), stream, tcp, Options),
    Client.

peer({local, Name}) ->
    #{family => local, path => Name};
peer({Ip, Port}) ->
    #{family => family(Ip), addr => Ip, port => Port};
peer({Ip, Port, Scope}) ->
    #{family => inet6, addr => Ip, port => Port, scope_id => Scope}.

family(Ip) when tuple_size(Ip) =:= 4 -> inet;
family(Ip) when tuple_size(Ip) =:= 8 -> inet6.
