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
            {"ERL_LIBS", lists:flatten(lists:join(":", [Packages ++ "/usr/lib/erlang/lib" | own(Packages)]))},
            {"EJABBERD_CONFIG_PATH", Configuration},
            {"EJABBERD_LOG_PATH", filename:join(Folder, "ejabberd.log")}
        ],
        node => "ejabberd@localhost",
        port => 5222,
        limit => limit(Packages)
    }.

own(Packages) ->
    filelib:wildcard(Packages ++ "/usr/lib/*-linux-gnu*").

%% Before 23.10 it is gen_tcp's own default; then ejabberd asks for 128.
limit(Packages) ->
    [Folder | _] = lists:append([filelib:wildcard(Own ++ "/ejabberd-*") || Own <- own(Packages)]),
    [_, Version | _] = string:lexemes(filename:basename(Folder), "-"),
    case [list_to_integer(Part) || Part <- lists:sublist(string:lexemes(Version, "."), 2)] of
        Before when Before < [23, 10] -> 5;
        _ -> 128
    end.

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
