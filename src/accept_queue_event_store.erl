%% @private
%% Which conditions are raised, and which events each channel has still to publish: the memory of {@link accept_queue_event}.
%%
%% The table belongs to the supervisor, so that an event survives a kill of the process that found it and of the one that
%% publishes it. A condition and its events are written by one `ets:insert/2': all are there, or none.
%%
%% What the monitor has found waits here until its details are complete ({@link found/1}); then each channel has it in a queue of
%% its own. An event stays there until all have it, and who has it is noted: the process that replaces a killed one goes on with
%% the others.
-module(accept_queue_event_store).

-export([new/0]).
-export([found/1, found/3, next_found/1, found_at/1, settled/1]).
-export([raise/3, clear/2, raised/0, raised/1, forget_cleared/1]).
-export([add/2, next/1, take_in_hand/3, in_hand/1, runs/2, has_run/2, published/1, lost/2, lost/1]).
-export([subscribers/0, subscribe/1, unsubscribe/1, is_subscribed/1, not_sent/1, sent/2, sent_to_all/1]).
-export([alarm_handler/0, alarm_handler/1, alarms/0, alarm_of/1, alarm/3, no_alarm/1]).

-export_type([id/0, channel/0, key/0, found/0, in_hand/0]).

-type id() :: {accept_queue:condition(), accept_queue:address()}.
-type channel() :: subscribers | logger | telemetry.

%% Of a row: the older ones sort first.
-type key() :: {found | channel(), pos_integer()}.
%% What a channel is publishing: the handler that runs, since when, and how often it was begun; and those that have run.
-type in_hand() :: #{
    event := term(),
    running := {Handler :: term(), SinceMs :: integer(), Attempt :: pos_integer()} | none,
    have_run := [Handler :: term()]
}.
-type found() :: {raised | cleared, accept_queue:condition(), Details :: map()} | other().
%% Another event of a listener, complete already. It waits with the conditions that were found before it.
-type other() :: {other, [channel()], Event :: term(), accept_queue:address()}.

-define(TABLE, ?MODULE).
%% With so many rows, events of other kinds than conditions are dropped. Conditions are raised no faster than they are cleared.
-define(ROWS_MAX, 10000).

%% To be called by the process that is to own the table.
-spec new() -> ok.
new() ->
    %% Ordered: the queue of a channel is the rows whose keys begin with its name, the oldest first.
    accept_queue_memory:table(?TABLE, [ordered_set], []).

%% What has been found and is not settled yet. It stays until it is: after a kill the next process settles it again.

-spec found({raised | cleared, accept_queue:condition(), Details :: map()}) -> ok.
found(Found) ->
    insert(true, queued([{found, Found}])).

-spec found([channel()], Event :: term(), accept_queue:address()) -> ok | dropped.
found(Channels, Event, Address) ->
    unless_full(Channels, [{found, {other, Channels, Event, Address}}]).

%% The first that was found after this one.
-spec next_found(After :: key() | none) -> {ok, key(), found()} | none.
next_found(none) -> next(found);
next_found(Key) -> next(found, Key).

-spec found_at(key()) -> found().
found_at(Key) ->
    ets:lookup_element(?TABLE, Key, 2).

-spec settled(key()) -> ok.
settled(Key) ->
    true = ets:delete(?TABLE, Key),
    ok.

%% Conditions. Only one process writes them.

%% Nothing happens where it is raised already: a process that was killed before it noted what it had found finds it again.
-spec raise(id(), Details :: map(), [{channel(), Event :: term()}]) -> ok.
raise(Id, Details, Events) ->
    insert(not is_raised(Id), [{{raised, Id}, Details} | queued(Events)]).

%% Nothing happens where it is not raised.
-spec clear(id(), [{channel(), Event :: term()}]) -> ok.
clear(Id, Events) ->
    insert(is_raised(Id), [{{raised, Id}, cleared} | queued(Events)]).

insert(true, Rows) ->
    true = ets:insert(?TABLE, Rows),
    ok;
insert(false, _Rows) ->
    ok.

is_raised(Id) ->
    raised(Id) =/= no.

-spec raised() -> #{id() => Details :: map()}.
raised() ->
    maps:from_list([{Id, Details} || [Id, #{} = Details] <- ets:match(?TABLE, {{raised, '$1'}, '$2'})]).

-spec raised(id()) -> {ok, Details :: map()} | no.
raised(Id) ->
    case ets:lookup(?TABLE, {raised, Id}) of
        [{_, #{} = Details}] -> {ok, Details};
        _ -> no
    end.

%% For when no alarm is left of it.
-spec forget_cleared(id()) -> ok.
forget_cleared(Id) ->
    true = ets:match_delete(?TABLE, {{raised, Id}, cleared}),
    ok.

%% The queues.

-spec add([channel()], Event :: term()) -> ok | dropped.
add(Channels, Event) ->
    unless_full(Channels, [{Channel, Event} || Channel <- Channels]).

unless_full(Channels, Events) ->
    case ets:info(?TABLE, size) < ?ROWS_MAX of
        true ->
            insert(true, queued(Events));
        false ->
            ok = lists:foreach(fun(Channel) -> lost(Channel, 1) end, Channels),
            dropped
    end.

queued(Events) ->
    [{{Channel, ets:update_counter(?TABLE, events, 1, {events, 0})}, Event} || {Channel, Event} <- Events].

%% The oldest. It stays.
-spec next(channel() | found) -> {ok, key(), Event :: term()} | none.
next(Channel) ->
    next(Channel, {Channel, 0}).

next(Channel, After) ->
    case ets:next(?TABLE, After) of
        {Channel, _} = Key ->
            [{_, Event}] = ets:lookup(?TABLE, Key),
            {ok, Key, Event};
        _ ->
            none
    end.

%% What a channel is publishing. A sample has no row of its own, and stays here.
-spec take_in_hand(channel(), key() | sample, Event :: term()) -> ok.
take_in_hand(Channel, sample, Event) -> insert(true, [{{in_hand, Channel}, {sample, Event}, none, []}]);
take_in_hand(Channel, Key, _Event) -> insert(true, [{{in_hand, Channel}, Key, none, []}]).

-spec in_hand(channel()) -> in_hand() | nothing.
in_hand(Channel) ->
    case ets:lookup(?TABLE, {in_hand, Channel}) of
        [{_, What, Running, HaveRun}] ->
            case event_in_hand(What) of
                {ok, Event} -> #{event => Event, running => Running, have_run => HaveRun};
                none -> nothing
            end;
        [] ->
            nothing
    end.

event_in_hand({sample, Event}) ->
    {ok, Event};
event_in_hand(Key) ->
    case ets:lookup(?TABLE, Key) of
        [{_, Event}] -> {ok, Event};
        %% All had it when the process was killed.
        [] -> none
    end.

-spec runs(channel(), {Handler :: term(), SinceMs :: integer(), Attempt :: pos_integer()}) -> ok.
runs(Channel, Running) ->
    true = ets:update_element(?TABLE, {in_hand, Channel}, {3, Running}),
    ok.

-spec has_run(channel(), Handler :: term()) -> ok.
has_run(Channel, Handler) ->
    HaveRun = ets:lookup_element(?TABLE, {in_hand, Channel}, 4),
    true = ets:update_element(?TABLE, {in_hand, Channel}, [{3, none}, {4, [Handler | HaveRun]}]),
    ok.

%% All have it.
-spec published(channel()) -> ok.
published(Channel) ->
    true = ets:delete(?TABLE, ets:lookup_element(?TABLE, {in_hand, Channel}, 2)),
    true = ets:delete(?TABLE, {in_hand, Channel}),
    ok.

%% How many times a handler or a subscriber has not had an event.
-spec lost(channel(), non_neg_integer()) -> ok.
lost(Channel, Count) ->
    _ = ets:update_counter(?TABLE, {lost, Channel}, Count, {{lost, Channel}, 0}),
    ok.

-spec lost(channel()) -> non_neg_integer().
lost(Channel) ->
    case ets:lookup(?TABLE, {lost, Channel}) of
        [{_, Count}] -> Count;
        [] -> 0
    end.

%% Subscribers.

-spec subscribers() -> [pid()].
subscribers() ->
    lists:append(ets:match(?TABLE, {{subscriber, '$1'}})).

-spec subscribe(pid()) -> ok.
subscribe(Pid) ->
    insert(true, [{{subscriber, Pid}}]).

-spec unsubscribe(pid()) -> ok.
unsubscribe(Pid) ->
    true = ets:delete(?TABLE, {subscriber, Pid}),
    ok.

-spec is_subscribed(pid()) -> boolean().
is_subscribed(Pid) ->
    ets:member(?TABLE, {subscriber, Pid}).

%% Those that this event was not sent to, in the order in which they are to get it.
-spec not_sent(key()) -> [pid()].
not_sent(Key) ->
    case ets:lookup(?TABLE, sent) of
        [{sent, Key, Last}] -> [Pid || Pid <- subscribers(), Pid > Last];
        _ -> subscribers()
    end.

-spec sent(key(), pid()) -> ok.
sent(Key, Pid) ->
    insert(true, [{sent, Key, Pid}]).

-spec sent_to_all(key()) -> ok.
sent_to_all(Key) ->
    true = ets:delete(?TABLE, Key),
    ok.

%% Which alarms alarm_handler has, and which process that is: a new one has none.

%% The last one that was ready to take them.
-spec alarm_handler() -> pid() | none.
alarm_handler() ->
    case ets:lookup(?TABLE, alarm_handler) of
        [{_, Handler}] -> Handler;
        [] -> none
    end.

-spec alarm_handler(pid()) -> ok.
alarm_handler(Handler) ->
    insert(true, [{alarm_handler, Handler}]).

-spec alarms() -> #{id() => {Handler :: pid(), setting | set}}.
alarms() ->
    maps:from_list([{Id, {Handler, So}} || [Id, Handler, So] <- ets:match(?TABLE, {{alarm, '$1'}, '$2', '$3'})]).

-spec alarm_of(id()) -> {Handler :: pid(), setting | set} | none.
alarm_of(Id) ->
    case ets:lookup(?TABLE, {alarm, Id}) of
        [{_, Handler, So}] -> {Handler, So};
        [] -> none
    end.

-spec alarm(id(), Handler :: pid(), setting | set) -> ok.
alarm(Id, Handler, So) ->
    insert(true, [{{alarm, Id}, Handler, So}]).

-spec no_alarm(id()) -> ok.
no_alarm(Id) ->
    true = ets:delete(?TABLE, {alarm, Id}),
    ok.
