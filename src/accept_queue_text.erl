%% @private
%% The log line of an event, for the person on call: what, of which listener, by which figures, what the acceptors do, what to
%% try. Pure.
-module(accept_queue_text).

-export([line/2, report/1, address/1, apart/1, server/1, function/1]).

%% As `report_cb' of a report that has its line. A formatter with `chars_limit' cuts the end.
-spec report(logger:report()) -> {io:format(), [term()]}.
report(#{text := Text}) ->
    {"~ts", [Text]}.

-spec line({atom(), atom()}, map()) -> iodata().
line(Event, Details) ->
    lists:join(" ", [Sentence || Sentence <- sentences(Event, Details), Sentence =/= ""]).

%% The cause comes before the figures: it is what must not be cut.
sentences({raised, Condition}, Details) ->
    [[listener(Details), " ", what(Condition, Details), "."], acceptors(Details), figures(Details), try_this(Condition, Details)];
sentences({cleared, Condition}, #{duration_ms := Ms} = Details) ->
    [[listener(Details), " is no longer ", atom_to_list(Condition), ", after ", seconds(Ms), ended(Details), "."], figures(Details)];
sentences({listener, added}, Details) ->
    [[listener(Details), " is watched."]];
sentences({listener, removed}, #{named := true} = Details) ->
    [[listener(Details), " is watched no longer, and the configuration names it: nothing listens there now."]];
sentences({listener, removed}, Details) ->
    [[listener(Details), " is watched no longer."]];
sentences({read, failed}, #{reason := Reason} = Details) ->
    [[listener(Details), io_lib:format(" cannot be read: ~0tp. It is tried again; this is logged once until it works.", [Reason])]];
sentences({read, recovered}, Details) ->
    [[listener(Details), " can be read again."]];
sentences({poll, late}, #{late_ms := Ms}) ->
    [["accept queues were read ", seconds(Ms), " late: this VM was asleep, or its schedulers were busy."]];
sentences({vm, hung}, #{duration_ms := Ms} = Details) ->
    [["this VM hung for ", seconds(Ms), "."], finding(Details), evidence(Details)];
sentences({handler, given_up}, #{channel := Channel, during := Event, waited_ms := Ms}) ->
    [
        io_lib:format("a handler of ~ts did not return from '~ts' of accept_queue within ~ts and was given up.", [
            Channel, Event, seconds(Ms)
        ]),
        "Try: detach it, or let it hand its work to a process of its own. This is logged at most once an hour."
    ].

finding(#{finding := Finding, text := Text}) when Finding =/= undefined ->
    io_lib:format("Finding: ~ts (~ts)", [Text, Finding]);
finding(_) ->
    "".

evidence(#{file := File}) when is_binary(File) -> ["The evidence: ", printable(File)];
evidence(#{reason := Reason}) when is_binary(Reason) -> ["There is no evidence: ", printable(Reason)].

%% A path is bytes, and may break the line.
printable(Bytes) ->
    case unicode:characters_to_list(Bytes) of
        Text when is_list(Text) -> [if C < $\s -> $?; true -> C end || C <- Text];
        _ -> io_lib:format("~0tp", [Bytes])
    end.

listener(#{listener := Listener, server := Server, name := Name}) when Server =/= undefined ->
    ["accept queue of ", printable(Listener), " (", printable(Name), ")"];
listener(#{listener := Listener}) ->
    ["accept queue of ", printable(Listener)].

%% Only a recovery says that it is well.
ended(#{reason := closed}) -> ": it was closed";
ended(#{reason := unwatched}) -> ": it is watched no longer";
ended(#{reason := stopped}) -> ": watching has stopped";
ended(#{reason := rewatched}) -> ": it is watched from the beginning";
ended(_) -> "".

what(behind, #{held_ms := Ms}) -> ["is behind: the oldest connection has waited too long, for ", seconds(Ms), " now"];
what(overflowing, #{dropped := 0}) -> "is overflowing: it is full, and the next client will be dropped";
what(overflowing, #{dropped := Dropped}) -> ["is overflowing: ", integer_to_list(Dropped), " packets of clients dropped"];
what(stuck, #{held_ms := Ms}) -> ["is stuck: connections wait, and none has been accepted for ", seconds(Ms)];
what(abandoned, Details) -> ["is abandoned: ", integer_to_list(left(Details)), " of the queued clients have already left"];
what(leaking, #{close_wait := Held}) ->
    ["is leaking: ", integer_to_list(Held), " accepted connections are held that their clients have closed"];
what(Condition, _) ->
    ["is ", atom_to_list(Condition)].

figures(Details) ->
    Figures = [
        figure("~b queued (backlog ~b)", [queued, limit], Details),
        member(Details),
        figure("the oldest for ~b ms", [oldest_wait_ms], Details),
        [io_lib:format("~b have left", [Left]) || Left <- [left(Details)], Left > 0],
        figure("~b dropped since it was opened", [drops], Details),
        [io_lib:format("~b dropped with room left: not for want of places", [N]) || #{dropped_otherwise := N} <- [Details], N > 0]
    ],
    case lists:append(Figures) of
        [] -> "";
        Known -> [lists:join(", ", Known), "."]
    end.

%% One of several: the sum says less than its own queue.
member(#{limit := Sum, socket := #{queued := Queued, limit := Limit} = Socket}) when Limit < Sum ->
    [io_lib:format("~b (backlog ~b) at the socket with ~ts ~b", [Queued, Limit, Name, Number]) || {Name, Number} <- [socket_name(Socket)]];
member(_) ->
    [].

socket_name(#{fd := Fd}) -> {"descriptor", Fd};
socket_name(#{cookie := Cookie}) -> {"cookie", Cookie}.

figure(Format, Keys, Details) ->
    Values = [maps:get(Key, Details, undefined) || Key <- Keys],
    [io_lib:format(Format, Values) || lists:all(fun is_integer/1, Values)].

left(Details) -> lists:sum([Left || Key <- [queued_closed, queued_reset], #{Key := Left} <- [Details], is_integer(Left)]).

acceptors(#{acceptors_summary := #{waiting_count := Waiting, pool_count := undefined}}) ->
    io_lib:format("~b in accept; the rest of the pool is not known.", [Waiting]);
acceptors(#{acceptors_summary := #{waiting_count := Waiting, pool_count := Pool, reasons := Reasons, examples := Examples}}) ->
    [io_lib:format("~b of ~b in accept", [Waiting, Pool]), lists:zipwith(fun reason/2, Reasons, Examples), "."];
acceptors(_) ->
    "".

%% How many, and what one of them waits for, in which function.
reason({Reason, Count}, #{pid := Pid, current_function := Function, text := Text}) ->
    io_lib:format("; ~b ~ts (~0tp~ts: ~ts)", [Count, Reason, Pid, in(Function), printable(Text)]).

in(undefined) -> "";
in(Function) -> [" in ", function(Function)].

-spec function(mfa()) -> iodata().
function({Module, Name, Arity}) ->
    case atom_to_list(Module) of
        "Elixir." ++ Elixir -> io_lib:format("~ts.~ts/~b", [Elixir, Name, Arity]);
        Erlang -> io_lib:format("~ts:~ts/~b", [Erlang, Name, Arity])
    end.

try_this(stuck, #{acceptors := waiting} = Details) ->
    [
        "Processes are in accept and get nothing: a scheduler may be blocked in a native call, or no thread polls. Try: ",
        call(Details, "list()"), ", and accept-queue diagnose from outside."
    ];
try_this(stuck, Details) ->
    ["Try: ", call(Details, "acceptors(Listener)"), " for what the pool does; free or restart its processes."];
try_this(behind, _) ->
    "Try: more acceptors, or less work between accept and the next accept.";
try_this(overflowing, #{limit := Limit} = Details) ->
    Call = ["resize(Listener, ", integer_to_list(max(128, 4 * Limit)), ")"],
    ["Try: ", call(Details, Call), " if it is bursts; more acceptors if it lasts."];
try_this(overflowing, _) ->
    "";
try_this(abandoned, Details) ->
    ["Try: ", call(Details, "peer_closed(Socket)"), " after accept, to skip those that have left."];
try_this(leaking, Details) ->
    ["Try: ", call(Details, "holders(Listener)"), " for the processes that hold them."].

%% In the language of the owner, where its name says which that is.
call(Details, Call) ->
    case is_elixir(maps:get(server, Details, undefined)) of
        true -> ["AcceptQueue.", string:lowercase(Call)];
        false -> ["accept_queue:", Call]
    end.

%% A module of Elixir's is in it; or the framework is written in Elixir.
is_elixir(Name) when is_atom(Name) ->
    lists:member(Name, [phoenix, bandit, thousand_island]) orelse lists:prefix("Elixir.", atom_to_list(Name));
is_elixir(Names) when is_tuple(Names) ->
    lists:any(fun is_elixir/1, tuple_to_list(Names));
is_elixir(_) ->
    false.

seconds(Ms) -> io_lib:format("~.1f s", [Ms / 1000]).

%% As a person writes it.
-spec address(accept_queue:address()) -> iodata().
address({local, Name}) ->
    %% A NUL as `ss' shows it; whatever would break the line as Erlang spells it.
    Text = unicode:characters_to_list(binary:replace(Name, <<0>>, <<"@">>, [global])),
    case io_lib:printable_unicode_list(Text) andalso lists:min([$\s | Text]) >= $\s of
        true -> Text;
        false -> io_lib:format("~0tp", [Name])
    end;
address({Ip, Port, Scope}) ->
    ["[", inet:ntoa(Ip), "%", integer_to_list(Scope), "]:", integer_to_list(Port)];
address({Ip, Port}) when tuple_size(Ip) =:= 8, is_integer(Port) ->
    ["[", inet:ntoa(Ip), "]:", integer_to_list(Port)];
address({Address, {_, _} = Apart}) ->
    [address(Address), apart(Apart)];
address({Ip, Port}) ->
    [inet:ntoa(Ip), ":", integer_to_list(Port)].

%% What a queue differs in from others of its address: as `ip' spells a device, and `/proc' a namespace and a socket.
-spec apart({device, binary()} | {namespace | inode, pos_integer()}) -> iodata().
apart({device, Name}) -> ["%", printable(Name)];
apart({namespace, Number}) -> io_lib:format("%net:[~b]", [Number]);
apart({inode, Number}) -> io_lib:format("%socket:[~b]", [Number]).

-spec server(accept_queue:server()) -> iodata().
server({M, F, A}) -> io_lib:format("~ts:~ts/~b", [accept_queue_process:module_name(M), F, A]);
server({label, Label}) when is_binary(Label) -> label(unicode:characters_to_list(Label), Label);
server({label, Label}) -> label(Label, Label);
server({application, Name}) -> accept_queue_process:module_name(Name);
server(Name) when is_atom(Name) -> accept_queue_process:module_name(Name);
server(Server) -> accept_queue_framework:text(Server).

%% A string is not quoted.
label(Text, Label) ->
    case io_lib:printable_unicode_list(Text) of
        true -> Text;
        false -> accept_queue_process:module_name(Label)
    end.
