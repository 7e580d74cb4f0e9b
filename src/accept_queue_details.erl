%% @private
%% What an event carries beside its figures, below 2,000 words whatever the size of the pool and of the names: names that can be tags,
%% when and where it was found, the pool in a few words; and the same for the log, in terms that a JSON formatter can encode.
-module(accept_queue_details).

-export([found/1, named/1, acceptors/1, report/2]).

-export_type([summary/0]).

-type summary() :: #{
    waiting_count := non_neg_integer(),
    pool_count := non_neg_integer() | undefined,
    busy_count := non_neg_integer(),
    %% The three commonest.
    reasons := [{reason(), pos_integer()}],
    %% One of each.
    examples := [#{reason := reason(), pid := pid(), current_function := mfa() | undefined, text := binary()}]
}.
-type reason() :: accept_queue_parking:id() | running.

-define(REASONS_MAX, 3).
-define(TEXT_MAX, 400).
-define(NAME_MAX, 100).
%% A reference of ranch's and a label are any terms. A large binary is few words, and a string few bytes.
-define(SERVER_MAX_WORDS, 200).
-define(SERVER_MAX_BYTES, 2000).

%% For an event that happens now.
-spec found(map()) -> map().
found(Details) ->
    (named(Details))#{time => erlang:system_time(millisecond)}.

-spec named(map()) -> map().
named(#{address := Address} = Details) ->
    Listener = text(accept_queue_text:address(Address), ?TEXT_MAX),
    named(maps:get(server, Details, undefined), Details#{listener => Listener, node => node()});
named(Details) ->
    Details#{node => node()}.

%% A tag is always there: a listener whose owner is not known bears its address.
named(undefined, #{listener := Listener} = Details) ->
    Details#{name => Listener};
named(Server, Details) ->
    case erts_debug:flat_size(Server) =< ?SERVER_MAX_WORDS andalso erlang:external_size(Server) =< ?SERVER_MAX_BYTES of
        true ->
            Details#{name => text(accept_queue_text:server(Server), ?NAME_MAX)};
        false ->
            Name = text(io_lib:format("~0tP", [Server, 8]), ?NAME_MAX),
            Details#{server := {label, Name}, name => Name}
    end.

%% The rest is `accept_queue:acceptors/1''s.
-spec acceptors(accept_queue:acceptors()) -> summary().
acceptors(#{waiting_count := Waiting, pool := Pool, busy := Busy, busy_count := BusyCount}) ->
    Reasons = lists:sublist(commonest(lists:foldr(fun add/2, #{}, Busy)), ?REASONS_MAX),
    #{
        waiting_count => Waiting,
        pool_count => if Pool =:= undefined -> undefined; true -> length(Pool) end,
        busy_count => BusyCount,
        reasons => [{Reason, Count} || {Reason, {Count, _}} <- Reasons],
        examples => [example(Reason, Process) || {Reason, {_, Process}} <- Reasons]
    }.

add(Process, So) ->
    maps:update_with(reason(Process), fun({Count, _}) -> {Count + 1, Process} end, {1, Process}, So).

commonest(Reasons) ->
    lists:sort(fun({A, {M, _}}, {B, {N, _}}) -> {-M, A} =< {-N, B} end, maps:to_list(Reasons)).

reason(#{parked := {Reason, _}}) -> Reason;
reason(_) -> running.

example(Reason, #{pid := Pid} = Process) ->
    Text =
        case Process of
            #{parked := {_, Sentence}} -> Sentence;
            _ -> <<"runs">>
        end,
    #{reason => Reason, pid => Pid, current_function => maps:get(current_function, Process, undefined), text => text(Text, ?TEXT_MAX)}.

%% For logger: atoms, numbers, UTF-8, lists and maps. `event' is the name that the event has in telemetry; `text', the line.
-spec report({atom(), atom()}, map()) -> #{event := binary(), text := binary(), atom() => term()}.
report(Event, Details) ->
    Report = maps:filtermap(fun plain_value/2, maps:without([address, server, acceptors_of], Details)),
    maps:merge(Report, (name(Event))#{text => text(accept_queue_text:line(Event, Details), infinity)}).

name({So, Condition}) when So =:= raised; So =:= cleared ->
    (name({condition, So}))#{condition => Condition};
name({Of, What}) ->
    #{event => unicode:characters_to_binary(io_lib:format("accept_queue.~ts.~ts", [Of, What]))}.

plain_value(_Key, undefined) -> false;
plain_value(current_function, Function) -> {true, text(accept_queue_text:function(Function), ?TEXT_MAX)};
plain_value(reasons, Reasons) -> {true, maps:from_list(Reasons)};
plain_value(_Key, #{} = Map) -> {true, maps:filtermap(fun plain_value/2, Map)};
plain_value(_Key, Value) -> {true, plain(Value)}.

plain(Value) when is_number(Value); is_atom(Value) ->
    Value;
plain(Value) when is_binary(Value) ->
    case unicode:characters_to_list(Value) of
        Text when is_list(Text) -> Value;
        _ -> text(io_lib:format("~0tp", [Value]), ?TEXT_MAX)
    end;
plain([#{} | _] = Maps) ->
    [maps:filtermap(fun plain_value/2, Map) || Map <- Maps];
plain(Term) ->
    text(io_lib:format("~0tP", [Term, 30]), ?TEXT_MAX).

text(Text, infinity) -> unicode:characters_to_binary(Text);
text(Text, Max) -> unicode:characters_to_binary(string:slice(Text, 0, Max)).
