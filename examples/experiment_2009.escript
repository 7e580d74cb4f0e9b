#!/usr/bin/env escript
%%! +Bd
%% In one line: a listener without an acceptor, 100 clients, and the figures of the kernel and of netstat
%%
%% The experiment of 2009, run again: a listener with backlog 30 and no acceptor, and 100 clients that come,
%% wait and give up. `make demo' runs it.
%%
%% Three sources side by side: what netstat counted in 2009 (Linux 2.6.26), what accept_queue:counts/1 reads
%% now, and the file that netstat reads, /proc/net/tcp, which has nothing to do with our code. The exit status is 0 only
%% if every figure is the one that the rules of the kernel demand.
%%
%% A step waits until all its figures are as demanded, and fails when they are not so in time: a retransmission between
%% two readings then costs a tenth of a second, and nothing else.
-mode(compile).

-define(BACKLOG, 30).
-define(PLACES, (?BACKLOG + 1)).
-define(CLIENTS, 100).
-define(PATIENCE_MS, 18000).
%% How much longer than it should a step may take, on a machine that is busy.
-define(GRACE_MS, 10000).
-define(POLL_MS, 100).
-define(PLAIN_PROGRESS_MS, 5000).
%% The kernel's clock for tcpi_last_data_sent: two jiffies where HZ is 100.
-define(JIFFIES_MS, 20).

main([]) -> halt(experiment());
main(["clients", Port]) -> clients(list_to_integer(Port)).

experiment() ->
    {ok, Listener} = gen_tcp:listen(0, [{backlog, ?BACKLOG}]),
    {ok, Port} = inet:port(Listener),
    Scene = #{listener => Listener, port => Port, overflows_before => overflows()},
    try
        Listening = step(listening, Scene),
        StartedMs = now_ms(),
        start_clients(Port),
        Settled = step(settled, Listening#{started_ms => StartedMs}),
        TimedOut = step(timed_out, Settled#{settled => Settled}),
        Drained = step(drained, TimedOut#{timed_out => TimedOut, acceptor => start_acceptor(Listener)}),
        #{rules := Rules} = Drained,
        say("~ts~n", [green(["All ", integer_to_list(Rules), " figures are as the rules of the kernel demand."])]),
        0
    catch
        throw:{broken, Broken} ->
            say("~ts~n", [red("Not as the rules of the kernel demand:")]),
            [say("  ~ts: ~ts was demanded, ~ts was found~n", [Name, demanded(D), text(F)]) || {Name, D, F} <- Broken],
            1
    end.

%% The four steps.

title(listening) -> "1. A server listens with backlog 30, and never accepts";
title(settled) -> "2. 100 clients come";
title(timed_out) -> "3. The clients time out";
title(drained) -> "4. One acceptor drains the queue".

%% What `netstat -an | grep 9999 | awk '{print $NF}' | sort | uniq -c' printed in 2009, server and client.
in_2009(settled) ->
    {#{'LISTEN' => 1, 'ESTABLISHED' => 31, 'SYN_RECV' => 29}, #{'ESTABLISHED' => 60, 'SYN_SENT' => 40}};
in_2009(timed_out) ->
    {#{'LISTEN' => 1, 'CLOSE_WAIT' => 31}, not_noted};
in_2009(_) ->
    {not_noted, not_noted}.

explanation(listening, _) ->
    "The queue is full when it is longer than the backlog: 31 clients will fit.\n";
explanation(settled, #{client := #{'SYN_SENT' := Knocking}} = Reading) ->
    [
        io_lib:format(
            "The kernel finished ~b handshakes without asking the VM. Now the queue is full,~n"
            "and it drops each SYN of the other ~b without a word. Until Linux 4.10 it let~n"
            "some of them in: 29 clients believed in connections the server did not have.~n",
            [?PLACES, Knocking]
        ),
        [
            io_lib:format("~b were half-way when the queue filled, and end as those 29 did: in SYN_RECV.~n", [HalfWay])
         || HalfWay <- [unfinished(Reading)], HalfWay > 0
        ]
    ];
explanation(timed_out, #{counts := #{drops := Drops}}) ->
    io_lib:format(
        "The ~b in the queue have left and keep their places, as in 2009. Of the others~n"
        "nothing is left but the listener's ~b drops, which netstat does not show.~n",
        [?PLACES, Drops]
    );
explanation(drained, #{acceptor := Acceptor}) ->
    #{accepted := Accepted, dead := Dead} = found(Acceptor),
    io_lib:format(
        "accept gave ~b connections, and recv returned `closed' on ~b of them: work for~n"
        "clients that had long gone, as was remarked in 2009.~n",
        [Accepted, Dead]
    ).

%% What the rules of the kernel demand of a reading: {Figure, Demanded, Found}.
demands(listening, Reading) ->
    demands(#{}, #{'LISTEN' => 1}, #{}, Reading);
demands(settled, #{started_ms := StartedMs, read_ms := ReadMs, packets := Packets, overflows := Overflows} = Reading) ->
    SynRecv = unfinished(Reading),
    %% Every packet that met the full queue: the SYNs of those who still knock, and the last ACKs of handshakes left
    %% unfinished, which the client repeats for each SYN-ACK repeated. Such an ACK is two drops and one overflow:
    %% tcp_v4_syn_recv_sock counts it, and tcp_v4_rcv counts it again as it throws it away.
    Syns = maps:get('SYN_SENT', maps:get(client, Packets), 0),
    LastAcks = maps:get('SYN_RECV', maps:get(server, Packets), 0),
    Counts = #{
        queued => ?PLACES,
        queued_alive => ?PLACES,
        drops => Syns + 2 * LastAcks,
        syn_recv => SynRecv,
        oldest_wait_ms => {0, ReadMs - StartedMs + ?JIFFIES_MS}
    },
    Server = some(#{'LISTEN' => 1, 'ESTABLISHED' => ?PLACES, 'SYN_RECV' => SynRecv}),
    %% A handshake whose last ACK met a full queue: the client holds it for done, the server does not.
    Established = ?PLACES + SynRecv,
    Client = some(#{'ESTABLISHED' => Established, 'SYN_SENT' => ?CLIENTS - Established}),
    [
        %% The counter belongs to the whole network namespace: others may overflow meanwhile.
        {"accept_queue:kernel/0, rise of listen_overflows", {Syns + LastAcks, infinity}, Overflows}
        | demands(Counts, Server, Client, Reading)
    ];
demands(timed_out, #{started_ms := StartedMs, read_ms := ReadMs, settled := Settled} = Reading) ->
    #{counts := #{drops := Drops}, read_ms := SettledMs} = Settled,
    SynRecv = unfinished(Reading),
    Counts = #{
        queued => ?PLACES,
        queued_closed => ?PLACES,
        drops => {Drops, infinity},
        syn_recv => SynRecv,
        oldest_wait_ms => {ReadMs - SettledMs - ?JIFFIES_MS, ReadMs - StartedMs + ?JIFFIES_MS}
    },
    Server = some(#{'LISTEN' => 1, 'CLOSE_WAIT' => ?PLACES, 'SYN_RECV' => SynRecv}),
    demands(Counts, Server, some(#{'FIN_WAIT2' => ?PLACES, 'FIN_WAIT1' => SynRecv}), Reading);
demands(drained, #{timed_out := #{counts := #{drops := Drops}} = TimedOut, acceptor := Acceptor} = Reading) ->
    SynRecv = unfinished(Reading),
    %% Once there is room, a handshake left unfinished may be finished after all.
    Accepted = ?PLACES + unfinished(TimedOut) - SynRecv,
    Found = found(Acceptor),
    [
        {"connections accepted", Accepted, maps:get(accepted, Found)},
        {"connections found dead", Accepted, maps:get(dead, Found)}
        | demands(
            #{drops => {Drops, infinity}, syn_recv => SynRecv},
            some(#{'LISTEN' => 1, 'SYN_RECV' => SynRecv}),
            some(#{'TIME_WAIT' => Accepted, 'FIN_WAIT1' => SynRecv}),
            Reading
        )
    ].

%% `Counts' names the figures that differ from those of a listener without a client.
demands(Counts, Server, Client, Reading) ->
    #{counts := Counted, server := AtServer, client := AtClient, in_line := InLine} = Reading,
    [
        {["accept_queue:counts/1, ", text(Key)], maps:get(Key, Counts, Untouched), maps:get(Key, Counted)}
     || {Key, Untouched} <- untouched()
    ] ++
        [
            {"/proc/net/tcp, states at the server", Server, AtServer},
            {"/proc/net/tcp, states at the client", Client, AtClient},
            {"/proc/net/tcp, queue of the listener", maps:get(queued, Counts, 0), InLine}
        ].

untouched() ->
    [
        {queued, 0},
        {limit, ?BACKLOG},
        {drops, 0},
        {syn_recv, 0},
        {queued_alive, 0},
        {queued_closed, 0},
        {queued_reset, 0},
        {queued_bytes, 0},
        {oldest_wait_ms, undefined},
        {established, 0},
        {close_wait, 0},
        {sockets, 1}
    ].

unfinished(#{server := Server}) -> maps:get('SYN_RECV', Server, 0).

%% States that no socket is in have no line in netstat's count.
some(States) -> maps:filter(fun(_, Count) -> Count > 0 end, States).

holds({_, {Low, High}, Found}) -> is_integer(Found) andalso Found >= Low andalso Found =< High;
holds({_, Demanded, Found}) -> Found =:= Demanded.

demanded({Low, infinity}) -> io_lib:format("at least ~b", [Low]);
demanded({Low, High}) -> io_lib:format("~b to ~b", [Low, High]);
demanded(Demanded) -> text(Demanded).

text(Term) -> io_lib:format("~0tp", [Term]).

%% A step: wait for its figures, show them, judge them.

step(Name, Scene) ->
    say("~ts~n", [bold(title(Name))]),
    {Reading, Rules} = await(Name, Scene, now_ms() + duration_ms(Name) + ?GRACE_MS, now_ms()),
    say("~n~ts~n", [table(Name, Reading)]),
    case [Rule || Rule <- Rules, not holds(Rule)] of
        [] ->
            say("~ts~n", [explanation(Name, Reading)]),
            Reading#{rules => maps:get(rules, Scene, 0) + length(Rules)};
        Broken ->
            throw({broken, Broken})
    end.

duration_ms(timed_out) -> ?PATIENCE_MS;
duration_ms(_) -> 0.

await(Name, Scene, DeadlineMs, ShownMs) ->
    #{read_ms := ReadMs} = Reading = read(Scene),
    Rules = demands(Name, Reading),
    case lists:all(fun holds/1, Rules) orelse ReadMs > DeadlineMs of
        true ->
            clear_progress(),
            {Reading, Rules};
        false ->
            Shown = progress(Reading, ShownMs),
            timer:sleep(?POLL_MS),
            await(Name, Scene, DeadlineMs, Shown)
    end.

%% The overflows are read last: they can then only be more than the rows.
read(#{listener := Listener, port := Port, overflows_before := Before} = Scene) ->
    Rows = rows(Port),
    {ok, Counts} = accept_queue:counts(Listener),
    maps:merge(Scene#{counts => Counts, overflows => overflows() - Before, read_ms => now_ms()}, Rows).

overflows() ->
    {ok, #{listen_overflows := Overflows}} = accept_queue:kernel(),
    Overflows.

now_ms() -> erlang:monotonic_time(millisecond).

%% The second witness: /proc/net/tcp, which shows a connection on the loopback interface once for each end.

rows(Port) ->
    {ok, Text} = file:read_file("/proc/net/tcp"),
    [_Header | Lines] = string:lexemes(binary_to_list(Text), "\n"),
    Rows = [row(string:lexemes(Line, " :")) || Line <- Lines],
    Server = [Row || {Local, _, _, _, _} = Row <- Rows, Local =:= Port],
    Client = [Row || {_, Remote, _, _, _} = Row <- Rows, Remote =:= Port],
    #{
        server => tally(Server, fun(_) -> 1 end),
        client => tally(Client, fun(_) -> 1 end),
        packets => #{server => tally(Server, fun sent/1), client => tally(Client, fun sent/1)},
        in_line => lists:sum([Queue || {_, _, 'LISTEN', Queue, _} <- Server])
    }.

row([_Slot, _Ip, Local, _RemoteIp, Remote, State, _Tx, Rx, _Timer, _When, Repeated | _]) ->
    {hex(Local), hex(Remote), state(hex(State)), hex(Rx), hex(Repeated)}.

hex(Digits) -> list_to_integer(Digits, 16).

sent({_, _, _, _, Repeated}) -> 1 + Repeated.

tally(Rows, Weight) ->
    lists:foldl(
        fun(Row, States) ->
            maps:update_with(element(3, Row), fun(N) -> N + Weight(Row) end, Weight(Row), States)
        end,
        #{},
        Rows
    ).

%% include/net/tcp_states.h; the names are netstat's.
state(Number) ->
    element(
        Number,
        {'ESTABLISHED', 'SYN_SENT', 'SYN_RECV', 'FIN_WAIT1', 'FIN_WAIT2', 'TIME_WAIT', 'CLOSE', 'CLOSE_WAIT',
            'LAST_ACK', 'LISTEN', 'CLOSING'}
    ).

%% The clients: an operating system process of their own. All its sockets are closed when it ends, and it ends when its
%% patience does or when its standard input is closed, that is with the experiment, however that ends.

start_clients(Port) ->
    Arguments = [escript:script_name(), "clients", integer_to_list(Port)],
    open_port({spawn_executable, os:find_executable("escript")}, [{args, Arguments}]).

clients(Port) ->
    [spawn(fun() -> client(Port) end) || _ <- lists:seq(1, ?CLIENTS)],
    {ok, _} = timer:apply_after(?PATIENCE_MS, erlang, halt, [0]),
    eof = io:get_line("").

client(Port) ->
    {ok, _} = gen_tcp:connect({127, 0, 0, 1}, Port, [{active, false}]),
    receive after infinity -> ok end.

%% The acceptor counts what it finds.

start_acceptor(Listener) ->
    %% What is accepted inherits this, and recv can be asked.
    ok = inet:setopts(Listener, [{active, false}]),
    Found = counters:new(2, []),
    spawn_link(fun() -> accept(Listener, Found) end),
    Found.

accept(Listener, Found) ->
    {ok, Socket} = gen_tcp:accept(Listener),
    counters:add(Found, 1, 1),
    case gen_tcp:recv(Socket, 0) of
        {error, closed} -> counters:add(Found, 2, 1);
        {ok, _} -> alive
    end,
    ok = gen_tcp:close(Socket),
    accept(Listener, Found).

found(Found) -> #{accepted => counters:get(Found, 1), dead => counters:get(Found, 2)}.

%% What a person sees.

table(Name, #{counts := Counts, server := Server, client := Client}) ->
    {ServerThen, ClientThen} = in_2009(Name),
    Columns = [
        {"netstat in 2009", ends(ServerThen, ClientThen)},
        {"accept_queue:counts/1", [[cell(maps:get(Key, Counts), 9), text(Key)] || {Key, _} <- untouched()]},
        {"/proc/net/tcp today", ends(Server, Client)}
    ],
    Height = lists:max([length(Lines) || {_, Lines} <- Columns]),
    Padded = [Lines ++ lists:duplicate(Height - length(Lines), "") || {_, Lines} <- Columns],
    Headings = line([bold(pad(Heading)) || {Heading, _} <- Columns]),
    [Headings | [line([pad(Cell) || Cell <- Row]) || Row <- transpose(Padded)]].

ends(Server, Client) -> ["server:" | states(Server)] ++ ["client:" | states(Client)].

states(not_noted) -> ["    not noted"];
states(States) when map_size(States) =:= 0 -> ["    none"];
states(States) -> [[cell(Count, 5), atom_to_list(State)] || {State, Count} <- lists:sort(maps:to_list(States))].

cell(Value, Width) -> [string:pad(text(Value), Width, leading), " "].

pad(Text) -> string:pad(Text, 26).

line(Cells) -> ["  ", string:trim(unicode:characters_to_list(Cells), trailing), "\n"].

transpose([[] | _]) -> [];
transpose(Columns) -> [[hd(Column) || Column <- Columns] | transpose([tl(Column) || Column <- Columns])].

%% One line that is overwritten on a terminal, and a line now and then elsewhere.
progress(#{counts := #{queued := Queued, queued_closed := Closed, drops := Drops}} = Reading, ShownMs) ->
    #{read_ms := ReadMs} = Reading,
    Waited = (ReadMs - maps:get(started_ms, Reading, ReadMs)) div 1000,
    Line = io_lib:format("  ~2b s: ~b queued, ~b of them gone, ~w drops", [Waited, Queued, Closed, Drops]),
    case terminal() of
        true ->
            say("\r\e[K~ts", [Line]),
            ReadMs;
        false when ReadMs - ShownMs >= ?PLAIN_PROGRESS_MS ->
            say("~ts~n", [Line]),
            ReadMs;
        false ->
            ShownMs
    end.

clear_progress() -> [say("\r\e[K", []) || terminal()].

bold(Text) -> colour("1", Text).
green(Text) -> colour("32", Text).
red(Text) -> colour("31", Text).

colour(Code, Text) ->
    case terminal() andalso os:getenv("NO_COLOR", "") =:= "" of
        true -> ["\e[", Code, "m", Text, "\e[0m"];
        false -> Text
    end.

%% io:columns/0 is enotsup in an escript, on a terminal too.
terminal() ->
    case file:read_link("/proc/self/fd/1") of
        {ok, "/dev/pts/" ++ _} -> true;
        {ok, "/dev/tty" ++ _} -> true;
        {ok, "/dev/console"} -> true;
        _ -> false
    end.

say(Format, Arguments) -> io:format(Format, Arguments).
