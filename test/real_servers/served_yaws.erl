%% yaws, the web server: one site with one page.
-module(served_yaws).
-behaviour(real_servers).

-export([server/2, serves/1, more/1]).

server(Packages, Folder) ->
    Site = filename:join(Folder, "site"),
    ok = filelib:ensure_path(Site),
    ok = file:write_file(filename:join(Site, "index.html"), "served\n"),
    Configuration = filename:join(Folder, "yaws.conf"),
    ok = file:write_file(
        Configuration,
        io_lib:format(
            "logdir = ~ts\n<server localhost>\n port = 8000\n listen = 127.0.0.1\n docroot = ~ts\n</server>\n", [Folder, Site]
        )
    ),
    #{
        %% As /usr/bin/yaws --daemon does, whose own paths are fixed.
        run => ["erl", "-sname", "yaws@localhost", "-noinput", "-pa", Packages ++ "/usr/lib/yaws/ebin"] ++
            ["-kernel", "inet_dist_use_interface", "{127,0,0,1}", "-run", "yaws", "-conf", Configuration, "-yaws", "id", "real"],
        node => "yaws@localhost",
        port => 8000,
        limit => 1024
    }.

serves(Port) ->
    http:serves(Port).

more(_) ->
    ok.
