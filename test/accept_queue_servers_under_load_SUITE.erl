%% Servers under load, each in a network namespace of its own, so that the kernel's count of overflows there is this server's alone:
%% every overflow that the kernel counts is published, in one condition that is raised once and cleared once for as long as it goes on; nothing else is, and a
%% server that keeps up raises nothing at all.
%%
%% The short form is below a minute. `make load MINUTES=10' gives the server at full speed that time alone, and the others that time
%% side by side; the figures stay in _build/load.
-module(accept_queue_servers_under_load_SUITE).

-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

-define(LOOPBACK, {127, 0, 0, 1}).
%% Accepted sockets inherit it: no connection stays in TIME_WAIT, and ports do not run out at full speed.
-define(LEAVE_NO_TIME_WAIT, {linger, {true, 0}}).
%% A queue that no number of clients here fills.
-define(ROOMY, 1024).
-define(MEMBERS, 4).
%% What a condition may take beyond its own time on a busy machine; and how long the kernel has counted nothing when all is over.
-define(LATE_MS, 1500).
-define(DEADLINE_MS, 20_000).
%% Before a SYN that was dropped is sent again.
-define(STAYS_MS, 300).
-define(PATIENCE_MS, 120_000).
%% A long run asks the server so often.
-define(ACT_MS, 10_000).

suite() ->
    [{timetrap, {seconds, 300 + maps:get(seconds, form())}}].

all() ->
    [
        a_healthy_server_at_full_speed_raises_nothing,
        {group, side_by_side}
    ].

groups() ->
    [
        {side_by_side, [parallel], [
            clients_that_send_and_close_at_once_raise_nothing,
            a_unix_server_whose_clients_come_again_raises_nothing,
            every_burst_that_overflows_is_raised_once_however_short,
            a_group_that_is_restarted_member_by_member_raises_nothing,
            a_dead_member_of_a_group_is_overflowing_and_stuck,
            a_listener_that_is_closed_while_stuck_has_not_recovered
        ]}
    ].

init_per_suite(Config) ->
    _ = file:delete(figures()),
    Config.

end_per_suite(_) ->
    ok.

form() ->
    case os:getenv("ACCEPT_QUEUE_SERVERS_MINUTES") of
        false ->
            Settings = #{interval_ms => 50, for_ms => 500, stuck_ms => 1500, clear_ms => 700, census_ms => 500},
            #{seconds => 12, settings => Settings};
        Minutes ->
            %% The defaults, but that there is time for more stories.
            #{seconds => 60 * list_to_integer(Minutes), settings => #{clear_ms => 1000}}
    end.

a_healthy_server_at_full_speed_raises_nothing(_) ->
    case os:find_executable("perl") of
        false -> {skip, "the clients at full speed are written in perl"};
        _ -> under_load(full_speed)
    end.

clients_that_send_and_close_at_once_raise_nothing(_) -> under_load(fire_and_forget).

a_unix_server_whose_clients_come_again_raises_nothing(_) -> under_load(unix).

every_burst_that_overflows_is_raised_once_however_short(_) -> under_load(bursts).

a_group_that_is_restarted_member_by_member_raises_nothing(_) -> under_load(restarts).

a_dead_member_of_a_group_is_overflowing_and_stuck(_) -> under_load(dead_member).

a_listener_that_is_closed_while_stuck_has_not_recovered(_) -> under_load(closed).

%% One act after the other until the time is over.
under_load(Kind) ->
    other_vm:with_own_network(fun(Server) ->
        #{seconds := Seconds, settings := Settings} = form(),
        ok = other_vm:call(Server, ?MODULE, start, [Kind, Settings]),
        Begun = now_ms(),
        Acts = acts(Kind, Server, Begun + 1000 * Seconds),
        Figures = figures_of(Kind, Acts, now_ms() - Begun),
        ct:pal("~ts~n~p", [Figures, [Events || #{wrong := [_ | _], events := Events} <- Acts]]),
        ok = keep(Figures),
        ?assertEqual([], lists:append([Wrong || #{wrong := Wrong} <- Acts])),
        ?assert(lists:sum([Served || #{served := Served} <- Acts]) > 0),
        %% The story was told: what it is about has happened.
        ?assertEqual(due(Kind, 1) =/= [], lists:any(fun(#{published := Published}) -> Published =/= [] end, Acts)),
        ok
    end).

acts(Kind, Server, UntilMs) ->
    case UntilMs - now_ms() of
        LeftMs when LeftMs > 0 -> [other_vm:call(Server, ?MODULE, act, [Kind, min(LeftMs, ?ACT_MS)]) | acts(Kind, Server, UntilMs)];
        _ -> []
    end.

%% The conditions that are due of an act of so many overflows.
due(bursts, Overflows) when Overflows > 0 -> [overflowing];
due(restarts, _) -> [overflowing];
due(dead_member, _) -> [behind, overflowing, stuck];
due(closed, _) -> [behind, stuck];
due(_, _) -> [].

ends_as(closed) -> closed;
ends_as(_) -> recovered.

figures_of(Kind, Acts, Ms) ->
    Sum = fun(Key) -> lists:sum([maps:get(Key, Act) || Act <- Acts]) end,
    Wrong = [How || #{wrong := All} <- Acts, {How, _} <- All],
    Latencies = [{Condition, After} || #{raised_ms := All} <- Acts, {Condition, After} <- All],
    Each = [
        io_lib:format("`~s` ~b, after ~b to ~b ms", [Condition, length(Of), lists:min(Of), lists:max(Of)])
     || Condition <- lists:usort([C || {C, _} <- Latencies]), Of <- [[A || {C, A} <- Latencies, C =:= Condition]]
    ],
    Counts = [length(Acts), Sum(served), Sum(served) * 1000 div Ms, Sum(overflows), Sum(reported)],
    Differences = [length([How || How <- Wrong, How =:= Which]) || Which <- [missed, false, doubled]],
    io_lib:format("| `~s` | ~b | ~b | ~b | ~b | ~b | ~ts | ~b | ~b | ~b |~n", [
        Kind | Counts ++ [case Each of [] -> "nothing"; _ -> lists:join("; ", Each) end | Differences]
    ]).

figures() ->
    repository:path("_build/load/servers.md").

%% A table, a line a server, whichever ends first.
keep(Line) ->
    ok = filelib:ensure_dir(figures()),
    Head =
        "| server | acts | served | a second | overflows (kernel) | overflows (published) | raised | missed | false | doubled |\n"
        "|---|---|---|---|---|---|---|---|---|---|\n",
    _ = [ok = file:write_file(figures(), Head) || not filelib:is_file(figures())],
    file:write_file(figures(), unicode:characters_to_binary(Line), [append]).

%% In the server's VM.

start(Kind, Settings) ->
    {ok, _} = application:ensure_all_started(sasl),
    ok = logger:set_primary_config(level, none),
    _ = application:load(accept_queue),
    ok = application:set_env([{accept_queue, maps:to_list(maps:merge(Settings, settings(Kind)))}]),
    {ok, _} = application:ensure_all_started(accept_queue),
    Self = self(),
    put(recorder, spawn_link(fun() -> ok = accept_queue:subscribe(), Self ! subscribed, record([], {overflows(), now_ms()}) end)),
    receive subscribed -> ok end,
    put(overflows, overflows()),
    put(served, counters:new(1, [])),
    put(clients, other_vm:start()),
    put(world, set_up(Kind)),
    ok.

%% The last of eight clients waits for seven others, of 50 ms each: that is what this server is for.
settings(unix) -> #{max_wait_ms => 2000};
%% A machine that is busy may hold a whole server up for longer than the short form has for a condition.
settings(Healthy) when Healthy =:= full_speed; Healthy =:= fire_and_forget -> #{for_ms => 2000};
settings(_) -> #{}.

%% What happens, until all is well again; and what was published of it, beside what the kernel has counted since the last act.
act(Kind, Ms) ->
    Begun = now_ms(),
    Served = counters:get(get(served), 1),
    {World, Wrong} = story(Kind, get(world), Ms),
    put(world, World),
    Calm = [{missed, {calm, Why}} || {error, Why} <- [becomes_calm()]],
    Overflows = overflows() - get(overflows),
    put(overflows, get(overflows) + Overflows),
    Events = ask_recorder(take),
    Due = due(Kind, Overflows) ++ further_overflows(Events),
    Raised = [{Condition, At - Begun} || {At, {raised, Condition, _}} <- Events],
    Cleared = [{Condition, maps:get(reason, Details, none)} || {_, {cleared, Condition, Details}} <- Events],
    [Reported, Otherwise] = [
        lists:sum([maps:get(Key, Details, 0) || {_, {cleared, overflowing, Details}} <- Events])
     || Key <- [dropped, dropped_otherwise]
    ],
    #{
        served => counters:get(get(served), 1) - Served,
        overflows => Overflows,
        reported => Reported,
        raised_ms => Raised,
        published => Raised ++ Cleared,
        events => Events,
        wrong =>
            differences(Due, [Condition || {Condition, _} <- Raised]) ++
            differences([{Condition, ends_as(Kind)} || Condition <- Due], Cleared) ++
            [{missed, {overflows, #{kernel => Overflows, published => Reported, otherwise => Otherwise}}} || Overflows =/= Reported] ++
            Wrong ++ Calm
    }.

%% A machine that holds one acceptor up lets a queue overflow once more after it was well, and that is another overflow: the kernel has
%% counted nothing for long enough before the first was cleared, and more before the next was raised.
further_overflows(Events) ->
    Overflows = [{Event, Seen} || {_, {Event, overflowing, #{seen := Seen}}} <- Events],
    Pairs = lists:zip(lists:droplast([none | Overflows]), Overflows),
    ClearMs = application:get_env(accept_queue, clear_ms, none),
    [
        overflowing
     || {{cleared, #{overflows := Then, calm_ms := CalmMs}}, {raised, #{overflows := Now}}} <- Pairs, Now > Then, CalmMs >= ClearMs div 2
    ].

differences(Due, Published) ->
    [{missed, What} || What <- Due -- Published] ++
        [{case lists:member(What, Due) of true -> doubled; false -> false end, What} || What <- Published -- Due].

%% Nothing is raised any more, and the kernel has counted no overflow for so long that one would have been published.
becomes_calm() ->
    becomes_calm(overflows(), now_ms(), now_ms() + ?DEADLINE_MS).

becomes_calm(Overflows, SinceMs, DeadlineMs) ->
    timer:sleep(20),
    Now = now_ms(),
    case {overflows(), accept_queue:health()} of
        {Overflows, ok} when Now - SinceMs > ?LATE_MS -> ok;
        Last when Now > DeadlineMs -> {error, {Last, accept_queue:list(), [accept_queue:status(A) || A <- accept_queue:watched()]}};
        {Overflows, _} -> becomes_calm(Overflows, SinceMs, DeadlineMs);
        {More, _} -> becomes_calm(More, Now, DeadlineMs)
    end.

%% ListenOverflows of this namespace, read by the test itself.
overflows() ->
    {ok, Text} = file:read_file("/proc/self/net/netstat"),
    [Names, Values] = [string:lexemes(Line, " ") || <<"TcpExt:", Line/binary>> <- binary:split(Text, <<"\n">>, [global])],
    {_, Value} = lists:keyfind(<<"ListenOverflows">>, 1, lists:zip(Names, Values)),
    binary_to_integer(Value).

set_up(full_speed) ->
    served(listen(?ROOMY, []), 8, fun close/1);
set_up(fire_and_forget) ->
    L = served(listen(?ROOMY, []), ?MEMBERS, fun read_and_close/1),
    come_to(sockets:address(L), fire_and_forget, 4),
    L;
set_up(unix) ->
    Name = <<0, "accept_queue servers">>,
    L = kinds:listen(gen_tcp, 128, #{family => local, path => Name}),
    served(L, 1, fun(Socket) -> timer:sleep(50), close(Socket) end),
    is_watched({local, Name}),
    come_to({local, Name}, patient, 8),
    L;
set_up(bursts) ->
    served(listen(5, []), 1, fun close/1);
set_up(closed) ->
    none;
set_up(Group) when Group =:= restarts; Group =:= dead_member ->
    First = member(0, backlog(Group)),
    {_, Port} = Address = sockets:address(First),
    Others = [member(Port, backlog(Group)) || _ <- lists:seq(2, ?MEMBERS)],
    is_watched(Address),
    put(address, Address),
    Members = [{L, pool(L, 1, fun close/1)} || L <- [First | Others]],
    come_to(Address, patient, steady(Group)),
    Members.

come_to(Address, Manners, Count) ->
    ok = other_vm:call(get(clients), ?MODULE, keep_coming, [Manners, Count, Address]).

listen(Backlog, Options) ->
    L = sockets:listen(Backlog, [?LEAVE_NO_TIME_WAIT | Options]),
    is_watched(sockets:address(L)),
    L.

%% Steady clients are fewer than a queue has places, or those of a dead member: enough to fill its queue, and hardly more, so that no
%% other one is filled where the machine holds the server up.
backlog(restarts) -> 5;
backlog(dead_member) -> 15.

steady(restarts) -> 5;
steady(dead_member) -> 20.

%% With SO_REUSEPORT.
member(Port, Backlog) ->
    sockets:listen(Backlog, [?LEAVE_NO_TIME_WAIT, {raw, 1, 15, <<1:32/native>>}, {port, Port}]).

is_watched(Address) ->
    eventually:is(true, fun() -> lists:member(Address, accept_queue:watched()) end).

served(L, Acceptors, Serve) ->
    _ = pool(L, Acceptors, Serve),
    L.

pool(L, Acceptors, Serve) ->
    Served = get(served),
    [spawn(fun() -> accept(L, Serve, Served) end) || _ <- lists:seq(1, Acceptors)].

accept(L, Serve, Served) ->
    case gen_tcp:accept(L) of
        {ok, Socket} ->
            counters:add(Served, 1, 1),
            Serve(Socket),
            accept(L, Serve, Served);
        %% A client that has reset its connection while it waited.
        {error, econnaborted} ->
            accept(L, Serve, Served);
        {error, closed} ->
            ok
    end.

close(Socket) -> gen_tcp:close(Socket).

read_and_close(Socket) ->
    _ = gen_tcp:recv(Socket, 0, 5000),
    gen_tcp:close(Socket).

kill(Pool) -> lists:foreach(fun(Pid) -> exit(Pid, kill) end, Pool).

%% The world after it, and what went wrong.
story(full_speed, L, Ms) ->
    {_, Port} = sockets:address(L),
    0 = full_speed(Port, 12, max(1, Ms div 1000)),
    {L, []};
story(Steady, L, Ms) when Steady =:= fire_and_forget; Steady =:= unix ->
    timer:sleep(Ms),
    {L, []};
%% Some of one place too many, some of many, some of none.
story(bursts, L, _) ->
    Sizes = [rand:uniform(20) || _ <- lists:seq(1, rand:uniform(5))],
    [
        begin
            ok = other_vm:call(get(clients), ?MODULE, dial, [Size, sockets:address(L)]),
            timer:sleep(100)
        end
     || Size <- Sizes
    ],
    timer:sleep(?STAYS_MS - 100),
    ok = other_vm:call(get(clients), ?MODULE, hang_up, []),
    {L, []};
%% Each member drops some, so that each takes a count with it when it is closed.
story(restarts, Members, _) ->
    lists:foreach(fun({_, Pool}) -> kill(Pool) end, Members),
    Before = overflows(),
    Places = ?MEMBERS * (1 + backlog(restarts)),
    ok = other_vm:call(get(clients), ?MODULE, dial, [4 * Places, get(address)]),
    Overflow = happens(fun() -> overflows() >= Before + 3 * Places end),
    Revived = [{L, pool(L, 1, fun close/1)} || {L, _} <- Members],
    ok = other_vm:call(get(clients), ?MODULE, hang_up, []),
    Calm = becomes_calm(),
    New = lists:map(fun restarted/1, Revived),
    {New, [{missed, What} || {What, false} <- [{overflow, Overflow}]] ++ [{missed, {calm, Why}} || {error, Why} <- [Calm]]};
story(dead_member, [{L, Pool} | Others], _) ->
    kill(Pool),
    #{cookie := Cookie} = listed(L),
    Raised = happens(fun() -> raised() =:= [behind, overflowing, stuck] end),
    Named = [maps:get(cookie, maps:get(socket, Details, #{}), none) || {_, {raised, C, Details}} <- ask_recorder(look), C =/= behind],
    Wrong = [{missed, raised_in_time} || not Raised] ++ [{false, {socket, Other}} || Other <- Named, Other =/= Cookie],
    %% The next one dies the next time.
    {Others ++ [{L, pool(L, 1, fun close/1)}], Wrong};
story(closed, none, _) ->
    L = listen(64, []),
    Address = sockets:address(L),
    ok = other_vm:call(get(clients), ?MODULE, dial, [3, Address]),
    Raised = happens(fun() -> raised() =:= [behind, stuck] end),
    ok = gen_tcp:close(L),
    counters:add(get(served), 1, 1),
    Removed = happens(fun() -> [] =/= [removed || {_, {listener, removed, _}} <- ask_recorder(look)] end),
    %% What holds is cleared before its listener is removed.
    After = lists:dropwhile(fun({_, Event}) -> element(2, Event) =/= removed end, ask_recorder(look)),
    Late = [C || {_, {cleared, C, _}} <- After],
    ok = other_vm:call(get(clients), ?MODULE, hang_up, []),
    {none, [{missed, What} || {What, false} <- [{raised_in_time, Raised}, {removed, Removed}]] ++ [{false, {cleared_after_removed, C}} || C <- Late]}.

%% As a server does that is deployed again: the new one listens before the old one is closed.
restarted({Old, Pool}) ->
    {_, Port} = get(address),
    New = member(Port, backlog(restarts)),
    Served = {New, pool(New, 1, fun close/1)},
    timer:sleep(100),
    kill(Pool),
    ok = gen_tcp:close(Old),
    timer:sleep(100),
    Served.

listed(L) ->
    {ok, All} = accept_queue:list(),
    [Listed] = [One || #{socket := Socket} = One <- All, Socket =:= L],
    Listed.

%% In this act.
raised() ->
    lists:usort([Condition || {_, {raised, Condition, _}} <- ask_recorder(look)]).

happens(Condition) ->
    happens(Condition, now_ms() + ?DEADLINE_MS).

happens(Condition, DeadlineMs) ->
    Late = now_ms() > DeadlineMs,
    case Condition() of
        true -> true;
        false when Late -> false;
        false -> timer:sleep(20), happens(Condition, DeadlineMs)
    end.

ask_recorder(Question) ->
    get(recorder) ! {self(), Question},
    receive {recorder, Answer} -> Answer end.

%% Oldest first: all since the last act, or these for the last time. Beside an overflow stands what the kernel had counted by then, and for
%% how long it had counted no more.
record(Log, Counted) ->
    receive
        {accept_queue, listener, Event, #{address := Address}} ->
            record([{now_ms(), {listener, Event, Address}} | Log], Counted);
        {accept_queue, Event, overflowing, Details} when Event =:= raised; Event =:= cleared ->
            {Overflows, SinceMs} = Now = counted(Counted),
            Seen = #{overflows => Overflows, calm_ms => now_ms() - SinceMs},
            record([{now_ms(), {Event, overflowing, Details#{seen => Seen}}} | Log], Now);
        {accept_queue, Event, Condition, Details} when Event =:= raised; Event =:= cleared ->
            record([{now_ms(), {Event, Condition, Details}} | Log], Counted);
        {From, look} ->
            From ! {recorder, lists:reverse(Log)},
            record(Log, Counted);
        {From, take} ->
            From ! {recorder, lists:reverse(Log)},
            record([], Counted)
    after 20 -> record(Log, counted(Counted))
    end.

counted({Before, SinceMs}) ->
    case overflows() of
        Before -> {Before, SinceMs};
        More -> {More, now_ms()}
    end.

now_ms() ->
    erlang:monotonic_time(millisecond).

%% Connect, until the server has closed, and again: perl has the processors to spare for the server that a client in Erlang takes.
%% A connection may be accepted and reset before connect has returned.
full_speed(Port, Processes, Seconds) ->
    Script =
        "use Socket; my ($port, $processes, $seconds) = @ARGV; my $to = sockaddr_in($port, INADDR_LOOPBACK); my $until = time + $seconds;"
        "for (1 .. $processes) { next if fork; while (time < $until) { socket(my $s, PF_INET, SOCK_STREAM, 0) or die; connect($s, $to) or $!{ECONNRESET} or die;"
        " sysread($s, my $closed, 1); close $s } exit }"
        "while (wait != -1) { exit 1 if $? }",
    Arguments = ["-e", Script | lists:map(fun integer_to_list/1, [Port, Processes, Seconds])],
    Perl = open_port({spawn_executable, os:find_executable("perl")}, [exit_status, {args, Arguments}]),
    receive {Perl, {exit_status, Status}} -> Status end.

%% In the VM of clients.

%% So many SYNs in one go, whatever becomes of them; those that were dropped are not sent again before they hang up.
dial(Count, Address) ->
    Holders = case get(holders) of undefined -> []; Others -> Others end,
    Self = self(),
    Holder = spawn_link(fun() ->
        Clients = [sockets:dial(Address) || _ <- lists:seq(1, Count)],
        Self ! {self(), dialled},
        receive hang_up -> lists:foreach(fun sockets:reset/1, Clients) end
    end),
    receive {Holder, dialled} -> ok end,
    put(holders, [Holder | Holders]),
    ok.

hang_up() ->
    lists:foreach(fun(Holder) -> ok = eventually:ends(Holder, hang_up) end, get(holders)),
    put(holders, []),
    ok.

%% Clients that come again as soon as they have been served.
keep_coming(Manners, Count, Address) ->
    _ = [spawn_link(fun() -> come_again(Manners, Address) end) || _ <- lists:seq(1, Count)],
    ok.

come_again(Manners, Address) ->
    come(Manners, Address),
    come_again(Manners, Address).

%% A crowd that is gone before it is accepted. The last one waits until it is served: no more come than the server takes.
come(fire_and_forget, Address) ->
    Clients = sockets:clients(5 + rand:uniform(10), Address),
    lists:foreach(fun(Client) -> sockets:send(Client, <<"x">>), sockets:close(Client) end, Clients),
    Last = sockets:client(Address),
    sockets:send(Last, <<"x">>),
    _ = socket:recv(Last, 0, ?PATIENCE_MS),
    sockets:close(Last),
    timer:sleep(rand:uniform(20));
%% Not as patient before it is queued as afterwards: what was dropped is not sent again.
come(patient, Address) ->
    Client = sockets:new(Address),
    case socket:connect(Client, sockets:peer(Address), ?STAYS_MS) of
        ok -> _ = socket:recv(Client, 0, ?PATIENCE_MS);
        {error, _} -> ok
    end,
    ok = socket:close(Client),
    timer:sleep(pause_ms(Address)).

%% A Unix server has one acceptor, and its clients are never away from its queue.
pause_ms({local, _}) -> 0;
pause_ms(_) -> 5.
