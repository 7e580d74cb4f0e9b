%% How large a recording becomes, by what goes on at the listener that is recorded.
-module(bench_record).

-export([measure/0]).

-export_type([figures/0]).

-type figures() :: [{What :: string(), BytesAnHour :: float()}].

-define(LIMIT, 30).
-define(CLIENTS, 45).
-define(CHANGE_MS, 50).
-define(PAST_MS, 5000).
-define(RECORDED_MS, 60_000).

-spec measure() -> figures().
measure() ->
    Recordings = [
        {"no connection comes", record("idle", listener(fun(_, _) -> ok end))},
        {"full and overflowing, and no process accepts", record("full", listener(fun overflow/2))},
        {"its queue is another at each reading", record("changing", listener(fun change/2))}
    ],
    timer:sleep(?PAST_MS),
    Before = [size_of(Recording) || {_, Recording} <- Recordings],
    timer:sleep(?RECORDED_MS),
    [
        {What, (size_of(Recording) - Then) * 3600_000 / ?RECORDED_MS}
     || {{What, Recording}, Then} <- lists:zip(Recordings, Before)
    ].

listener(Clients) ->
    {ok, Listener} = gen_tcp:listen(0, [{ip, {127, 0, 0, 1}}, {backlog, ?LIMIT}, {active, false}]),
    {ok, Port} = inet:port(Listener),
    _ = spawn_link(fun() -> Clients(Listener, Port), receive never -> ok end end),
    Port.

overflow(_Listener, Port) ->
    [spawn_link(fun() -> gen_tcp:connect({127, 0, 0, 1}, Port, [{active, false}]), receive never -> ok end end) || _ <- lists:seq(1, ?CLIENTS)].

%% One more each time, and all gone when it is half full.
change(Listener, Port) ->
    Clients = [client(Port) || _ <- lists:seq(1, ?LIMIT div 2)],
    Accepted = [element(2, {ok, _} = gen_tcp:accept(Listener)) || _ <- Clients],
    lists:foreach(fun gen_tcp:close/1, Clients ++ Accepted),
    change(Listener, Port).

client(Port) ->
    {ok, Client} = gen_tcp:connect({127, 0, 0, 1}, Port, [{active, false}, {linger, {true, 0}}]),
    timer:sleep(?CHANGE_MS),
    Client.

%% The program ends with the namespace in which it is measured.
record(Name, Port) ->
    File = filename:join(filename:dirname(code:which(?MODULE)), Name ++ ".aq"),
    _ = file:delete(File),
    Program = accept_queue_port:program(),
    _ = open_port({spawn_executable, Program}, [{args, ["record", File, "--port", integer_to_list(Port)]}, stderr_to_stdout]),
    File.

size_of(File) ->
    true = filelib:is_regular(File),
    filelib:file_size(File).
