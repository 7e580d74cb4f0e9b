%% The same figures as `accept_queue' gives, from another program: `ss' of iproute2.
-module(ss).

-include_lib("stdlib/include/assert.hrl").

-export([agrees/2, counts/1, listeners/1, unix_depth/1]).

%% The age is in jiffies of up to 10 ms, on both sides.
-define(JIFFY_MS, 10).

%% Waits until this reading of accept_queue:counts/1 and ss say the same of an address; returns what ss says of its listeners.
%%
%% They cannot read at one instant: a figure may move in between by a SYN that was sent again, and the age grows, by no more than the
%% time that both took. ss is asked once: to start it takes longer than anything else here.
agrees(Address, Read) ->
    eventually:succeeds(fun() ->
        Begun = erlang:monotonic_time(millisecond),
        Rows = rows(Address),
        #{oldest_wait_ms := Before} = Expected = counted(Rows),
        #{oldest_wait_ms := Age} = Counts = Read(),
        TookMs = erlang:monotonic_time(millisecond) - Begun,
        case {timeless(Expected), timeless(Counts)} of
            {Same, Same} ->
                ?assert(has_grown(Before, Age, TookMs), {Before, Age, TookMs}),
                {ok, listening(Rows)};
            {Ours, Theirs} ->
                {error, #{expected => Ours, got => Theirs}}
        end
    end).

has_grown(undefined, Age, _) -> Age =:= undefined;
has_grown(Before, Age, TookMs) -> is_integer(Age) andalso Before =< Age andalso Age =< Before + TookMs + ?JIFFY_MS.

timeless(Counts) ->
    maps:remove(oldest_wait_ms, Counts).

%% Keys and meanings of accept_queue:counts/1.
counts(Address) ->
    counted(rows(Address)).

counted(Rows) ->
    Listeners = [Row || #{state := "LISTEN"} = Row <- Rows],
    Alive = [Row || #{state := "ESTAB", inode := 0} = Row <- Rows],
    Closed = [Row || #{state := "CLOSE-WAIT", inode := 0} = Row <- Rows],
    Queued = sum(recv_q, Listeners),
    %% ss shows a FIN as one byte more.
    Bytes = sum(recv_q, Alive) + sum(recv_q, Closed) - length(Closed),
    #{
        queued => Queued,
        limit => sum(send_q, Listeners),
        drops => sum(drops, Listeners),
        syn_recv => length([Row || #{state := "SYN-RECV"} = Row <- Rows]),
        queued_alive => length(Alive),
        queued_closed => length(Closed),
        queued_reset => Queued - length(Alive) - length(Closed),
        queued_bytes => Bytes,
        oldest_wait_ms => oldest(Alive ++ Closed),
        established => length([Row || #{state := "ESTAB", inode := Inode} = Row <- Rows, Inode > 0]),
        close_wait => length([Row || #{state := "CLOSE-WAIT", inode := Inode} = Row <- Rows, Inode > 0]),
        sockets => length(Listeners)
    }.

%% The listening sockets of one address: those keys of accept_queue:list/0 that an outsider can see.
listeners(Address) ->
    listening(rows(Address)).

listening(Rows) ->
    [
        #{cookie => Cookie, inode => Inode, queued => Queued, limit => Limit, drops => Drops}
     || #{state := "LISTEN", cookie := Cookie, inode := Inode, recv_q := Queued, send_q := Limit, drops := Drops} <- Rows
    ].

%% Of the Unix listener of this name, which may hold any byte; ss shows a NUL as `@'.
unix_depth(Name) ->
    Shown = binary:replace(Name, <<0>>, <<"@">>, [global]),
    {match, [Queued, Limit]} = re:run(
        ss(["--unix", "--listening", "--numeric"]), ["LISTEN +(\\d+) +(\\d+) +\\Q", Shown, "\\E +\\d+ "], [{capture, all_but_first, list}]
    ),
    #{queued => list_to_integer(Queued), limit => list_to_integer(Limit)}.

%% Without a shell in between, which takes as long to start.
ss(Arguments) ->
    Ss = open_port({spawn_executable, os:find_executable("ss")}, [binary, exit_status, {args, ["--no-header" | Arguments]}]),
    output(Ss, []).

output(Port, Read) ->
    receive
        {Port, {data, Bytes}} -> output(Port, [Read, Bytes]);
        {Port, {exit_status, 0}} -> Read
    end.

rows({Ip, Port, _Scope}) ->
    rows({Ip, Port});
rows({Ip, Port}) ->
    Where =
        case lists:all(fun(Part) -> Part =:= 0 end, tuple_to_list(Ip)) of
            true -> [];
            false -> ["src", lists:flatten(printed(Ip)), "and"]
        end,
    Family =
        case tuple_size(Ip) of
            4 -> "--ipv4";
            8 -> "--ipv6"
        end,
    Output = ss(
        ["--oneline", "--tcp", "--numeric", "--all", "--info", "--memory", "--extended", Family] ++
            Where ++ ["( sport = :" ++ integer_to_list(Port) ++ " )"]
    ),
    [row(Line) || Line <- string:lexemes(unicode:characters_to_list(Output), "\n")].

%% Without the brackets the last word of an IPv6 address is a port.
printed(Ip) when tuple_size(Ip) =:= 4 -> inet:ntoa(Ip);
printed(Ip) -> ["[", inet:ntoa(Ip), "]"].

row(Line) ->
    [State, RecvQ, SendQ | _] = string:lexemes(Line, " "),
    #{
        state => State,
        recv_q => list_to_integer(RecvQ),
        send_q => list_to_integer(SendQ),
        inode => field(Line, "ino:(\\d+)", 10),
        cookie => field(Line, "sk:([0-9a-f]+)", 16),
        drops => field(Line, "skmem:\\([^)]*,d(\\d+)\\)", 10),
        waited_ms => field(Line, "lastsnd:(\\d+)", 10)
    }.

%% ss leaves out most figures that are 0.
field(Line, Pattern, Base) ->
    case re:run(Line, Pattern, [{capture, all_but_first, list}]) of
        {match, [Digits]} -> list_to_integer(Digits, Base);
        nomatch -> 0
    end.

oldest([]) -> undefined;
oldest(Rows) -> lists:max([Waited || #{waited_ms := Waited} <- Rows]).

sum(Key, Rows) ->
    lists:sum([maps:get(Key, Row) || Row <- Rows]).
