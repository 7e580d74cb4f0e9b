%% @private
%% Which conditions are raised, and which events each channel has still to publish: the memory of {@link accept_queue_event}.
%%
%% The table belongs to the supervisor, so that an event survives a kill of the process that found it and of the one that
%% publishes it. A condition and its events are written by one `ets:insert/2': all are there, or none.
%%
%% What the monitor has found waits here until its details are complete ({@link found/1}); then each channel has it in a queue of
%% its own. An event is taken once: one that made a handler hang is not published to it again.
-module(accept_queue_event_store).

-export([new/0]).
-export([found/1, next_found/0, settled/1]).
-export([raise/3, clear/2, raised/0, forget_cleared/0]).
-export([add/2, take/1, publishing/3, publishing/1, published/1]).
-export([subscribers/0, subscribe/1, unsubscribe/1]).
-export([alarms/0, alarm/3, no_alarm/1]).

-export_type([id/0, channel/0]).

-type id() :: {accept_queue:condition(), accept_queue:address()}.
-type channel() :: subscribers | logger | telemetry.

-type found() :: {raised | cleared, accept_queue:condition(), Details :: map()} | {listener, removed, Metadata :: map()}.

-define(TABLE, ?MODULE).
%% With so many rows, events of other kinds than conditions are dropped. Conditions are raised no faster than they are cleared.
-define(ROWS_MAX, 10000).

%% To be called by the process that is to own the table.
-spec new() -> ok.
new() ->
    %% Ordered: the queue of a channel is the rows whose keys begin with its name, the oldest first.
    ?TABLE = ets:new(?TABLE, [named_table, public, ordered_set]),
    ok.

%% What has been found and is not settled yet. It stays until it is: after a kill the next process settles it again.

-spec found(found()) -> ok.
found(Found) ->
    insert(true, queued([{found, Found}])).

-spec next_found() -> {ok, Key :: term(), found()} | none.
next_found() ->
    case ets:next(?TABLE, {found, 0}) of
        {found, _} = Key ->
            [{_, Found}] = ets:lookup(?TABLE, Key),
            {ok, Key, Found};
        _ ->
            none
    end.

-spec settled(Key :: term()) -> ok.
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
    case ets:lookup(?TABLE, {raised, Id}) of
        [{_, #{}}] -> true;
        _ -> false
    end.

-spec raised() -> #{id() => Details :: map()}.
raised() ->
    maps:from_list([{Id, Details} || [Id, #{} = Details] <- ets:match(?TABLE, {{raised, '$1'}, '$2'})]).

-spec forget_cleared() -> ok.
forget_cleared() ->
    true = ets:match_delete(?TABLE, {{raised, '_'}, cleared}),
    ok.

%% The queues.

-spec add([channel()], Event :: term()) -> ok | dropped.
add(Channels, Event) ->
    case ets:info(?TABLE, size) < ?ROWS_MAX of
        true -> insert(true, queued([{Channel, Event} || Channel <- Channels]));
        false -> dropped
    end.

queued(Events) ->
    [{{Channel, ets:update_counter(?TABLE, events, 1, {events, 0})}, Event} || {Channel, Event} <- Events].

-spec take(channel()) -> {ok, Event :: term()} | none.
take(Channel) ->
    case ets:next(?TABLE, {Channel, 0}) of
        {Channel, _} = Key ->
            case ets:take(?TABLE, Key) of
                [{_, Event}] -> {ok, Event};
                %% A predecessor that was just being killed has taken it.
                [] -> take(Channel)
            end;
        _ ->
            none
    end.

%% What a channel is publishing, and since when, so that a handler that hangs is found.
-spec publishing(channel(), Event :: term(), NowMs :: integer()) -> ok.
publishing(Channel, Event, NowMs) ->
    insert(true, [{{publishing, Channel}, NowMs, Event}]).

-spec publishing(channel()) -> {SinceMs :: integer(), Event :: term()} | nothing.
publishing(Channel) ->
    case ets:lookup(?TABLE, {publishing, Channel}) of
        [{_, SinceMs, Event}] -> {SinceMs, Event};
        [] -> nothing
    end.

-spec published(channel()) -> ok.
published(Channel) ->
    true = ets:delete(?TABLE, {publishing, Channel}),
    ok.

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

%% Which alarms alarm_handler has, and which process that is: a new one has none.

-spec alarms() -> #{id() => {Handler :: pid(), setting | set}}.
alarms() ->
    maps:from_list([{Id, {Handler, So}} || [Id, Handler, So] <- ets:match(?TABLE, {{alarm, '$1'}, '$2', '$3'})]).

-spec alarm(id(), Handler :: pid(), setting | set) -> ok.
alarm(Id, Handler, So) ->
    insert(true, [{{alarm, Id}, Handler, So}]).

-spec no_alarm(id()) -> ok.
no_alarm(Id) ->
    true = ets:delete(?TABLE, {alarm, Id}),
    ok.
