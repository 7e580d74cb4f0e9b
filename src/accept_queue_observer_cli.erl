%% @doc A page of observer_cli with every listener of the VM: a plugin.
%%
%% Which queue is not draining, since when, and whose it is, on the screen that shows the rest of the node. In the environment:
%% ```
%% {observer_cli, [{plugins, [
%%     #{module => accept_queue_observer_cli, title => "Accept queues", shortcut => "A", interval => 1500, sort_column => 2}
%% ]}]}
%% '''
%% then `P' in observer_cli, and a line's number shows the owner of the listener as a process.
%%
%% A page costs what {@link accept_queue:i/0} does, each interval, while it is open. It shows nothing while the VM hangs.
%% Characters that observer_cli does not survive (it takes the page for a format of `io:format/2') are shown as `?'.
-module(accept_queue_observer_cli).

%% observer_cli need not be there when this is compiled; the suite compares this with the callbacks of `observer_cli_plugin'.
-export([attributes/1, sheet_header/0, sheet_body/1]).

-type cell() :: #{content := string() | integer(), width := pos_integer(), color => binary()}.

-define(RED, <<"\e[31m">>).
-define(GREEN, <<"\e[32m">>).

%% @doc The line above the table: {@link accept_queue:health/0}, and the kernel's counters of drops.
-spec attributes(State) -> {[[cell()]], State}.
attributes(State) ->
    {Color, Health} = health(accept_queue:health()),
    Line = [#{content => "Health: " ++ Health, width => 66, color => Color}, #{content => kernel(), width => 68}],
    {[Line], State}.

%% @doc The columns; those with a shortcut can be sorted by.
-spec sheet_header() -> [#{title := string(), width := pos_integer(), shortcut => string()}].
sheet_header() ->
    [
        #{title => "Address", width => 24},
        #{title => "Queued", width => 12, shortcut => "Q"},
        #{title => "Limit", width => 10, shortcut => "L"},
        #{title => "Oldest ms", width => 11},
        #{title => "Drops", width => 11, shortcut => "D"},
        #{title => "Accepting", width => 11},
        #{title => "Owner", width => 13},
        #{title => "Server", width => 22},
        #{title => "Verdict", width => 26}
    ].

%% @doc A line for each listening socket.
-spec sheet_body(State) -> {[[string() | integer() | pid()]], State}.
sheet_body(State) ->
    Lines =
        case accept_queue_table:readings() of
            {ok, Readings} -> [line(Listener, Counts) || {Listener, Counts} <- Readings];
            {error, Reason} -> [[printable(io_lib:format("unreadable: ~tp", [Reason])) | lists:duplicate(8, "-")]]
        end,
    {Lines, State}.

line(#{address := Address, queued := Queued, limit := Limit, drops := Drops} = Listener, Counts) ->
    #{waiting_acceptors := Waiting, owner := Owner, server := Server} = Listener,
    [
        printable(accept_queue_text:address(Address)),
        Queued,
        Limit,
        oldest(Counts),
        figure(Drops),
        figure(Waiting),
        figure(Owner),
        printable(accept_queue_table:server(Server, Owner)),
        printable(accept_queue_table:verdict(Listener, Counts))
    ].

oldest({ok, #{oldest_wait_ms := Oldest}}) -> figure(Oldest);
oldest({error, _}) -> "?".

figure(undefined) -> "-";
figure(Figure) -> Figure.

health(ok) -> {?GREEN, "ok"};
health({So, Reasons}) -> {?RED, printable([atom_to_list(So), ": ", lists:join(", ", [reason(Reason) || Reason <- Reasons])])}.

reason({unreadable, Address, Error}) -> io_lib:format("unreadable (~0tp) ~ts", [Error, accept_queue_text:address(Address)]);
reason({not_listening, Listener}) -> io_lib:format("not listening ~0tp", [Listener]);
reason({listeners_unreadable, Error}) -> io_lib:format("the listeners cannot be listed (~0tp)", [Error]);
reason({Condition, Address}) -> [atom_to_list(Condition), " ", accept_queue_text:address(Address)];
reason(monitor_not_running) -> "the monitor does not run";
reason(watchdog_not_running) -> "the watchdog does not run".

kernel() ->
    case accept_queue:kernel() of
        {ok, #{somaxconn := Most, listen_overflows := Overflows, listen_drops := Drops}} ->
            printable(
                io_lib:format("Kernel: somaxconn ~p, ListenOverflows ~p, ListenDrops ~p", [
                    figure(Most), figure(Overflows), figure(Drops)
                ])
            );
        {error, Reason} ->
            printable(io_lib:format("Kernel: unreadable: ~p", [Reason]))
    end.

printable(Chars) ->
    [
        case Char >= $\s andalso Char < $~ of
            true -> Char;
            false -> $?
        end
     || Char <- unicode:characters_to_list(Chars)
    ].
