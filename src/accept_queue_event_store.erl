%% @private
%% What stands, and what of it has still to be told to whom: the memory of {@link accept_queue_event}.
%%
%% The table belongs to the supervisor, so that neither the process that finds something nor the one that tells it can lose
%% it by being killed. A condition and what is to be told of it are written by one `ets:insert/2': both are there, or neither.
%%
%% What has been found waits here until its story is complete ({@link found/1}); then each audience has it in its own queue.
%% What is taken from one of those is taken: an event that made a handler hang is not told to it again.
-module(accept_queue_event_store).

-export([new/0]).
-export([found/1, next_found/0, settled/1]).
-export([raised/3, cleared/2, standing/0, forget_cleared/0]).
-export([add/2, take/1, now_telling/3, telling/1, told/1]).
-export([subscribers/0, subscribe/1, unsubscribe/1]).
-export([alarms/0, alarm/3, no_alarm/1]).

-export_type([id/0, audience/0]).

-type id() :: {accept_queue:condition(), accept_queue:address()}.
-type audience() :: subscribers | logger | telemetry.

-type found() :: {raised | cleared, accept_queue:condition(), Details :: map()}.

-define(TABLE, ?MODULE).
%% Anything but a condition is dropped where so much is still to be told. Conditions come no faster than they are cleared.
-define(ROWS_MAX, 10000).

%% To be called by the process that is to own the table.
-spec new() -> ok.
new() ->
    %% Ordered: the queue of an audience is the rows whose keys begin with its name, the oldest first.
    ?TABLE = ets:new(?TABLE, [named_table, public, ordered_set]),
    ok.

%% What has been found and has still to be settled. It stays until it is: whoever is killed in between does it again.

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

%% Conditions. One process at a time writes them.

%% Nothing happens where it stands already: whoever was killed before it noted that it had told, tells again.
-spec raised(id(), Details :: map(), [{audience(), Event :: term()}]) -> ok.
raised(Id, Details, Untold) ->
    insert(not stands(Id), [{{standing, Id}, Details} | queued(Untold)]).

%% Nothing happens where it does not stand.
-spec cleared(id(), [{audience(), Event :: term()}]) -> ok.
cleared(Id, Untold) ->
    insert(stands(Id), [{{standing, Id}, cleared} | queued(Untold)]).

insert(true, Rows) ->
    true = ets:insert(?TABLE, Rows),
    ok;
insert(false, _Rows) ->
    ok.

stands(Id) ->
    case ets:lookup(?TABLE, {standing, Id}) of
        [{_, #{}}] -> true;
        _ -> false
    end.

-spec standing() -> #{id() => Details :: map()}.
standing() ->
    maps:from_list([{Id, Details} || [Id, #{} = Details] <- ets:match(?TABLE, {{standing, '$1'}, '$2'})]).

-spec forget_cleared() -> ok.
forget_cleared() ->
    true = ets:match_delete(?TABLE, {{standing, '_'}, cleared}),
    ok.

%% The queues.

-spec add([audience()], Event :: term()) -> ok | dropped.
add(Audiences, Event) ->
    case ets:info(?TABLE, size) < ?ROWS_MAX of
        true -> insert(true, queued([{Audience, Event} || Audience <- Audiences]));
        false -> dropped
    end.

queued(Untold) ->
    [{{Audience, ets:update_counter(?TABLE, events, 1, {events, 0})}, Event} || {Audience, Event} <- Untold].

-spec take(audience()) -> {ok, Event :: term()} | none.
take(Audience) ->
    case ets:next(?TABLE, {Audience, 0}) of
        {Audience, _} = Key ->
            case ets:take(?TABLE, Key) of
                [{_, Event}] -> {ok, Event};
                %% A predecessor that was just being killed has taken it.
                [] -> take(Audience)
            end;
        _ ->
            none
    end.

%% Who is telling what, and since when: for whoever looks whether it hangs.
-spec now_telling(audience(), Event :: term(), NowMs :: integer()) -> ok.
now_telling(Audience, Event, NowMs) ->
    insert(true, [{{telling, Audience}, NowMs, Event}]).

-spec telling(audience()) -> {SinceMs :: integer(), Event :: term()} | nothing.
telling(Audience) ->
    case ets:lookup(?TABLE, {telling, Audience}) of
        [{_, SinceMs, Event}] -> {SinceMs, Event};
        [] -> nothing
    end.

-spec told(audience()) -> ok.
told(Audience) ->
    true = ets:delete(?TABLE, {telling, Audience}),
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

%% What alarm_handler has been told, and which one: a new one knows nothing.

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
