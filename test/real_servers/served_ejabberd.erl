%% ejabberd, the XMPP server: one host, no modules, one listener for clients.
-module(served_ejabberd).
-behaviour(real_servers).

-export([server/2, serves/1, more/1]).

server(Packages, Folder) ->
    Configuration = filename:join(Folder, "ejabberd.yml"),
    ok = file:write_file(
        Configuration,
        "hosts: [localhost]\nloglevel: info\nauth_method: internal\nmodules: {}\n"
        "listen:\n  -\n    port: 5222\n    ip: \"127.0.0.1\"\n    module: ejabberd_c2s\n"
    ),
    #{
        %% As ejabberdctl does, whose own paths are fixed and which wants to become a user of its own.
        run => ["erl", "-sname", "ejabberd@localhost", "-noinput", "-kernel", "inet_dist_use_interface", "{127,0,0,1}"] ++
            ["-mnesia", "dir", "\"" ++ filename:join(Folder, "mnesia") ++ "\"", "-s", "ejabberd"],
        environment => [
            {"ERL_LIBS", Packages ++ "/usr/lib/x86_64-linux-gnu:" ++ Packages ++ "/usr/lib/erlang/lib"},
            {"EJABBERD_CONFIG_PATH", Configuration},
            {"EJABBERD_LOG_PATH", filename:join(Folder, "ejabberd.log")}
        ],
        node => "ejabberd@localhost",
        port => 5222,
        %% gen_tcp's own default: 23.10 and later ask for 128.
        limit => 5
    }.

%% The greeting of a stream.
serves(Port) ->
    {ok, Client} = gen_tcp:connect({127, 0, 0, 1}, Port, [binary, {active, false}], 5000),
    ok = gen_tcp:send(
        Client,
        "<?xml version='1.0'?><stream:stream to='localhost' version='1.0' xmlns='jabber:client' "
        "xmlns:stream='http://etherx.jabber.org/streams'>"
    ),
    {ok, Answer} = gen_tcp:recv(Client, 0, 5000),
    {_, _} = binary:match(Answer, <<"<stream:stream ">>),
    gen_tcp:close(Client).

more(_) ->
    ok.
