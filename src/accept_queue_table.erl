%% @private
%% The listeners of this VM as a table for a person in a shell.
-module(accept_queue_table).

-export([text/0, text/1]).

-define(COLUMNS, [
    {"address", fun(#{address := Address}, _) -> address(Address) end},
    {"queued", fun(_, Counts) -> figure(queued, Counts) end},
    {"limit", fun(_, Counts) -> figure(limit, Counts) end},
    {"alive", fun(_, Counts) -> figure(queued_alive, Counts) end},
    {"closed", fun(_, Counts) -> figure(queued_closed, Counts) end},
    {"reset", fun(_, Counts) -> figure(queued_reset, Counts) end},
    {"oldest ms", fun(_, Counts) -> figure(oldest_wait_ms, Counts) end},
    {"drops", fun(_, Counts) -> figure(drops, Counts) end},
    {"syn_recv", fun(_, Counts) -> figure(syn_recv, Counts) end},
    {"established", fun(_, Counts) -> figure(established, Counts) end},
    {"close_wait", fun(_, Counts) -> figure(close_wait, Counts) end},
    {"accepting", fun(#{waiting_acceptors := Waiting}, _) -> integer_to_list(Waiting) end},
    {"server", fun(#{server := Server, owner := Owner}, _) -> server(Server, Owner) end}
]).

-type reading() :: {accept_queue:listed(), {ok, accept_queue:counts()} | {error, accept_queue:reason()}}.

-spec text() -> io_lib:chars().
text() ->
    case accept_queue:list() of
        {ok, Listed} -> text({ok, [{Listener, accept_queue:counts(Socket)} || #{socket := Socket} = Listener <- Listed]});
        {error, _} = Error -> text(Error)
    end.

%% What was read, in words. Pure.
-spec text({ok, [reading()]} | {error, accept_queue:reason()}) -> io_lib:chars().
text({ok, []}) -> "No TCP listener in this VM.\n";
text({ok, Readings}) -> table([row(Listener, Counts) || {Listener, Counts} <- Readings]);
text({error, Reason}) -> io_lib:format("The listeners could not be read: ~tp\n", [Reason]).

row(Listener, Reading) ->
    [lists:flatten(Cell(Listener, Reading)) || {_, Cell} <- ?COLUMNS].

figure(Key, {ok, Counts}) ->
    case maps:get(Key, Counts) of
        undefined -> "-";
        Figure -> integer_to_list(Figure)
    end;
figure(queued, {error, Reason}) ->
    io_lib:format("~tp", [Reason]);
figure(_, {error, _}) ->
    "?".

address({local, Name}) ->
    io_lib:format("~tp", [Name]);
address({Ip, Port, Scope}) ->
    ["[", inet:ntoa(Ip), "%", integer_to_list(Scope), "]:", integer_to_list(Port)];
address({Ip, Port}) when tuple_size(Ip) =:= 8 ->
    ["[", inet:ntoa(Ip), "]:", integer_to_list(Port)];
address({Ip, Port}) ->
    [inet:ntoa(Ip), ":", integer_to_list(Port)].

server(undefined, undefined) -> "gone";
server(undefined, Owner) -> pid_to_list(Owner);
server({ranch, Ref}, _Owner) -> io_lib:format("ranch ~0tp", [Ref]);
server({M, F, A}, Owner) -> io_lib:format("~ts:~ts/~b ~p", [M, F, A, Owner]);
server(Name, _Owner) -> atom_to_list(Name).

table(Rows) ->
    Headings = [Heading || {Heading, _} <- ?COLUMNS],
    Lines = [Headings | Rows],
    Widths = lists:foldl(fun wider/2, [0 || _ <- Headings], Lines),
    [[lists:join("  ", lists:zipwith(fun string:pad/2, Line, Widths)), $\n] || Line <- Lines].

wider(Line, Widths) ->
    lists:zipwith(fun(Cell, Width) -> max(string:length(Cell), Width) end, Line, Widths).
