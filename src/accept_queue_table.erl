%% @private
%% The listeners of this VM as a table for a person in a shell.
-module(accept_queue_table).

-export([text/0, text/1, readings/0, verdict/2, server/2]).

-export_type([reading/0]).

-define(COLUMNS, [
    {"address", fun(#{address := Address}, _) -> accept_queue_text:address(Address) end},
    {"queue", fun(#{queued := Queued, limit := Limit}, _) -> [figure(Queued), $/, figure(Limit)] end},
    {"oldest ms", fun oldest/2},
    {"drops", fun(#{drops := Drops}, _) -> figure(Drops) end},
    {"accepting", fun(#{waiting_acceptors := Waiting}, _) -> figure(Waiting) end},
    {"server", fun(#{server := Server, owner := Owner}, _) -> string:slice(server(Server, Owner), 0, ?SERVER_WIDTH) end},
    {"verdict", fun verdict/2}
]).
%% With which the lines of usual addresses stay within 120 columns; `accept_queue:list/0' has the whole.
-define(SERVER_WIDTH, 24).

-type reading() :: {accept_queue:listed(), {ok, accept_queue:counts()} | {error, accept_queue:reason()}}.

-spec text() -> io_lib:chars().
text() ->
    text(readings()).

%% Every listener of this VM, with its counts.
-spec readings() -> {ok, [reading()]} | {error, accept_queue:reason()}.
readings() ->
    case accept_queue:list() of
        {ok, Listed} -> {ok, [{Listener, accept_queue:counts(term(Listener))} || Listener <- Listed]};
        {error, _} = Error -> Error
    end.

%% The readings as text. Pure.
-spec text({ok, [reading()]} | {error, accept_queue:reason()}) -> io_lib:chars().
text({ok, []}) -> "No listener in this VM.\n";
text({ok, Readings}) ->
    Alike = alike([Listener || {Listener, _} <- Readings]),
    table([row(apart(Listener, Alike), Counts) || {Listener, Counts} <- Readings]);
text({error, Reason}) -> io_lib:format("The listeners could not be read: ~tp\n", [Reason]).

%% The addresses that stand for more than one queue.
alike(Listed) ->
    Queues = lists:usort([{Address, differs(Listener)} || #{address := Address} = Listener <- Listed]),
    Addresses = [Address || {Address, _} <- Queues],
    Addresses -- lists:usort(Addresses).

apart(#{address := Address} = Listener, Alike) ->
    case {lists:member(Address, Alike), differs(Listener)} of
        {true, {_, _} = Differs} -> Listener#{address := {Address, Differs}};
        _ -> Listener
    end.

differs(#{address := {local, _}, inode := Inode}) -> {inode, Inode};
differs(#{device := Device}) when Device =/= undefined -> {device, Device};
differs(#{namespace := Namespace}) when Namespace =/= undefined -> {namespace, Namespace};
differs(#{}) -> nothing.

row(Listener, Reading) ->
    [lists:flatten(Cell(Listener, Reading)) || {_, Cell} <- ?COLUMNS].

%% A descriptor without an Erlang socket is asked for by its address.
term(#{socket := undefined, address := Address}) -> Address;
term(#{socket := Socket}) -> Socket.

oldest(_, {ok, #{oldest_wait_ms := Oldest}}) -> figure(Oldest);
oldest(_, {error, _}) -> "?".

figure(undefined) -> "-";
figure(Figure) -> integer_to_list(Figure).

-spec verdict(accept_queue:listed(), {ok, accept_queue:counts()} | {error, accept_queue:reason()}) -> io_lib:chars().
verdict(#{queued := Queued} = Listener, {ok, Counts}) ->
    case accept_queue_source:verdict(of_socket(Listener, Counts)) of
        {error, _} = Error -> verdict(Listener, Error);
        {ok, []} -> "ok";
        {ok, Findings} -> lists:join(", ", [finding(Finding, Queued) || Finding <- Findings])
    end;
verdict(_, {error, eperm}) ->
    "unreadable: no right to enter its network namespace (CAP_SYS_ADMIN)";
verdict(_, {error, Reason}) ->
    io_lib:format("unreadable: ~tp", [Reason]).

%% Depth and acceptors are each socket's own. Where sockets share an address, the clients that have left belong to none of them for
%% sure.
of_socket(Listener, #{sockets := 1} = Counts) ->
    maps:merge(Counts, maps:with([queued, limit, waiting_acceptors], Listener));
of_socket(Listener, Counts) ->
    of_socket(Listener, Counts#{sockets := 1, queued_closed := 0, queued_reset := 0}).

finding(full, _) -> "full";
finding(nobody_accepts, _) -> "nobody accepts";
finding(behind, _) -> "behind";
finding({left, Left}, Queued) -> io_lib:format("~b of ~b have left", [Left, Queued]);
finding({leaking, Held}, _) -> io_lib:format("~b held in CLOSE_WAIT", [Held]).

-spec server(accept_queue:server(), Owner :: pid() | undefined) -> io_lib:chars().
server(undefined, undefined) -> "-";
server(undefined, Owner) -> pid_to_list(Owner);
server(Server, _Owner) -> accept_queue_text:server(Server).

table(Rows) ->
    Headings = [Heading || {Heading, _} <- ?COLUMNS],
    Lines = [Headings | Rows],
    Widths = lists:foldl(fun wider/2, [0 || _ <- Headings], Lines),
    [line(Line, Widths) || Line <- Lines].

line(Cells, Widths) ->
    [string:trim(lists:join("  ", lists:zipwith(fun string:pad/2, Cells, Widths)), trailing), $\n].

wider(Line, Widths) ->
    lists:zipwith(fun(Cell, Width) -> max(string:length(Cell), Width) end, Line, Widths).
