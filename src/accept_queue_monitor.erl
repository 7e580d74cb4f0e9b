%% @private
%% Follows the listeners of this VM and tells what their detectors find.
%%
%% It decides nothing: the rules are core's, and the detector of each listener lives in a native watch. The watches, and
%% what has been raised, stand in a table of the supervisor's: when this process is killed, the next one goes on with the
%% same detectors, and tells what the one before had no time to tell.
%%
%% A tick is one native call for all listeners of an interval. Those that look suspicious are then looked at, all at once, on a
%% dirty I/O scheduler. Events go to {@link accept_queue_event}, which is a process of its own: nobody's handler runs here.
-module(accept_queue_monitor).
-behaviour(gen_server).

-export([new/0, start_link/0, watch/2, unwatch/1, watched/0, status/1, health/0]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

-export_type([condition/0, status/0, health/0]).

-type condition() :: behind | overflowing | stuck | abandoned | leaking.
-type status() :: #{
    conditions := [condition()],
    depth := accept_queue:depth() | undefined,
    counts := accept_queue:counts() | undefined,
    window := #{min := non_neg_integer(), max := non_neg_integer(), mean := float(), peak_at := integer()} | undefined,
    since := integer(),
    stale := boolean()
}.
-type health() :: ok | {degraded | failing, [{condition(), accept_queue:address()} | monitor_not_running, ...]}.

%% One watched address. Row of the table, by address.
-record(row, {
    address :: accept_queue:address(),
    cookies :: [accept_queue:cookie()],
    watch :: accept_queue_source:watch(),
    server :: accept_queue:server(),
    interval_ms :: pos_integer()
}).

-record(state, {
    %% What the environment asked for.
    wanted :: all | none | [accept_queue:listener()],
    options :: map(),
    excluded = #{} :: #{accept_queue:address() => true},
    %% Who listened when it was last asked, and how often that has been the answer in a row.
    listening = {[], 0} :: {[accept_queue:cookie()], non_neg_integer()},
    %% The addresses and watches of each interval, in the same order.
    rounds = #{} :: #{pos_integer() => {tuple(), [accept_queue_source:watch()]}}
}).

-define(TABLE, ?MODULE).
%% What stands, since when: `{{Address, Condition}, SinceMs}'. Apart, so that health/0 reads nothing else.
-define(STANDING, accept_queue_standing).
%% Whether one is new or gone: a dump of the listeners.
-define(DISCOVERY_MS, 1000).
%% The VM is searched when the answer is another than before, once more, since a listener may be met in the making, and then
%% every so many times: those of other network namespaces are in no dump.
-define(SEARCH_EVERY, 10).
%% As many as are read on a normal scheduler: three system calls each.
-define(ROUND_ON_NORMAL, 100).
%% A monitor that has not ticked for so long is not watching.
-define(SILENCE_MS, 5000).

%% To be called by the process that is to own the table.
-spec new() -> ok.
new() ->
    ?TABLE = ets:new(?TABLE, [named_table, public, {read_concurrency, true}]),
    ?STANDING = ets:new(?STANDING, [named_table, public, {read_concurrency, true}]),
    ok.

%% An environment that is wrong stops the start, with the sentence that says what is.
%% That nobody can be asked for the defaults stops nothing but the watching.
-spec start_link() -> {ok, pid()} | {error, term()} | ignore.
start_link() ->
    case accept_queue_config:environment() of
        {ok, Environment} ->
            gen_server:start_link({local, ?MODULE}, ?MODULE, Environment, []);
        {error, Sentence} ->
            {error, Sentence};
        {unread, Reason} ->
            ok = logger:log(error, "accept_queue: no listener is watched: the port program does not answer (~0tp)", [Reason], #{
                domain => [accept_queue]
            }),
            ignore
    end.

-spec watch(accept_queue:listener(), map()) -> ok | {error, accept_queue:reason() | badarg | not_running}.
watch(Listener, Options) ->
    call({watch, Listener, Options}).

-spec unwatch(accept_queue:listener()) -> ok | {error, accept_queue:reason() | badarg | not_running}.
unwatch(Listener) ->
    call({unwatch, Listener}).

-spec watched() -> [accept_queue:address()].
watched() ->
    lists:sort([Address || #row{address = Address} <- rows()]).

%% From memory: nothing is asked of the kernel but, for anything else than an address, which listener it is.
-spec status(accept_queue:listener()) -> {ok, status()} | {error, accept_queue:reason() | badarg}.
status(Listener) ->
    case addresses(Listener) of
        {ok, Addresses} ->
            case [Row || #row{address = Address} = Row <- rows(), lists:member(Address, Addresses)] of
                [Row | _] -> status_of(Row);
                [] -> {error, not_found}
            end;
        {error, _} = Error ->
            Error
    end.

-spec health() -> health().
health() ->
    case [{Condition, Address} || {{Address, Condition}, _} <- table(?STANDING)] of
        [] ->
            case is_ticking() of
                true -> ok;
                false -> {degraded, [monitor_not_running]}
            end;
        Raised ->
            Reasons = [monitor_not_running || not is_ticking()] ++ lists:sort(Raised),
            case lists:any(fun is_failing/1, Raised) of
                true -> {failing, Reasons};
                false -> {degraded, Reasons}
            end
    end.

is_failing({Condition, _}) -> Condition =:= overflowing orelse Condition =:= stuck.

%% The process.

-spec init(map()) -> {ok, #state{}}.
init(#{watch := Wanted, options := Options}) ->
    _ = process_flag(trap_exit, true),
    _ = process_flag(message_queue_data, off_heap),
    State = rounds(#state{wanted = Wanted, options = Options}),
    ok = lists:foreach(fun reconcile/1, rows()),
    self() ! discover,
    {ok, State}.

-spec handle_call(term(), gen_server:from(), #state{}) -> {reply, ok | {error, term()}, #state{}}.
handle_call({watch, Listener, Options}, _From, State) ->
    case entries(Listener) of
        {ok, Entries} ->
            Added = [add(Group, Options, State) || Group <- groups(Entries)],
            Excluded = maps:without([Address || #{address := Address} <- Entries], State#state.excluded),
            Answer = hd([Error || {error, _} = Error <- Added] ++ [ok]),
            {reply, Answer, rounds(State#state{excluded = Excluded})};
        {error, _} = Error ->
            {reply, Error, State}
    end;
handle_call({unwatch, Listener}, _From, State) ->
    case addresses(Listener) of
        {ok, Addresses} ->
            _ = [remove(Row) || #row{address = Address} = Row <- rows(), lists:member(Address, Addresses)],
            Excluded = maps:merge(State#state.excluded, maps:from_keys(Addresses, true)),
            {reply, ok, rounds(State#state{excluded = Excluded})};
        {error, _} = Error ->
            {reply, Error, State}
    end.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(_, State) ->
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}}.
handle_info({tick, Interval, DueMs}, #state{rounds = Rounds} = State) ->
    case Rounds of
        #{Interval := Round} ->
            NowMs = now_ms(),
            ok = tell_late(Interval, NowMs - DueMs),
            true = ets:insert(?TABLE, {ticked, NowMs}),
            SomeClosed = tick(Round, NowMs),
            ok = schedule(Interval, DueMs, NowMs),
            {noreply, if SomeClosed -> rounds(State); true -> State end};
        #{} ->
            {noreply, State}
    end;
handle_info(discover, State) ->
    true = ets:insert(?TABLE, {ticked, now_ms()}),
    _ = erlang:send_after(?DISCOVERY_MS, self(), discover),
    {noreply, discover(State)};
handle_info(_, State) ->
    {noreply, State}.

%% In order: what stands is cleared by the process that has told it. Killed, nothing is done, and the next one goes on.
-spec terminate(term(), #state{}) -> ok.
terminate(Reason, _State) when Reason =:= shutdown; Reason =:= normal; element(1, Reason) =:= shutdown ->
    lists:foreach(fun remove/1, rows());
terminate(_Reason, _State) ->
    ok.

%% A tick.

%% Of those of which there is nothing to say nothing comes back, unless somebody wants every sample.
tick({Addresses, Watches}, NowMs) ->
    Samples = accept_queue_event:wants_samples(),
    Told = [told(element(Index, Addresses), Tick, Samples) || {Index, Tick} <- read(Watches, NowMs, Samples)],
    ok = look([Address || {look, Address} <- Told], NowMs),
    lists:keymember(closed, 1, Told) orelse lists:keymember(anew, 1, Told).

read(Watches, NowMs, All) when length(Watches) =< ?ROUND_ON_NORMAL ->
    case accept_queue_source:tick(Watches, NowMs, All) of
        {ok, Ticks} -> Ticks;
        {error, second_tier} -> read_on_dirty(Watches, NowMs, All)
    end;
read(Watches, NowMs, All) ->
    read_on_dirty(Watches, NowMs, All).

read_on_dirty(Watches, NowMs, All) ->
    {ok, Ticks} = accept_queue_source:tick_on_dirty(Watches, NowMs, All),
    Ticks.

told(Address, {ok, {Queued, Limit, Drops, Changes, WantsLook}}, Samples) ->
    Depth = #{queued => Queued, limit => Limit, drops => Drops},
    _ = [accept_queue_event:sample(Depth, #{address => Address}) || Samples],
    true = ets:delete(?TABLE, {failed, Address}),
    ok = change(Address, Depth, Changes),
    {if WantsLook -> look; true -> ok end, Address};
told(Address, {error, closed}, _Samples) ->
    _ = [remove(Row) || Row <- row(Address)],
    {closed, Address};
told(Address, {error, lost}, _Samples) ->
    _ = [again(Row) || Row <- row(Address)],
    {anew, Address};
told(Address, {error, Reason}, _Samples) ->
    _ = [failed(Row, Reason) || Row <- row(Address)],
    {failed, Address}.

look([], _NowMs) ->
    ok;
look(Addresses, NowMs) ->
    Rows = lists:append([row(Address) || Address <- Addresses]),
    Looks = accept_queue_source:look([Watch || #row{watch = Watch} <- Rows], NowMs),
    lists:foreach(fun looked/1, lists:zip(Rows, Looks)).

looked({#row{address = Address}, {ok, {Counts, Changes}}}) ->
    _ = [accept_queue_event:sample(Counts, #{address => Address}) || accept_queue_event:wants_samples()],
    change(Address, maps:with([queued, limit, drops], Counts), Changes);
looked({_Row, {error, Reason}}) when Reason =:= closed; Reason =:= lost ->
    %% The next tick will say so.
    ok;
looked({Row, {error, Reason}}) ->
    failed(Row, Reason).

change(Address, Depth, Changes) ->
    lists:foreach(fun(Change) -> tell(Address, Depth, Change) end, Changes).

%% Told before it is noted: whoever is killed in between is followed by one that tells it again, which is not heard twice.
tell(Address, Depth, {raised, Condition, #{held_ms := HeldMs} = Evidence}) ->
    ok = accept_queue_event:raised(Condition, details(Address, Depth, Evidence)),
    true = ets:insert(?STANDING, {{Address, Condition}, now_ms() - HeldMs});
tell(Address, Depth, {cleared, Condition, #{held_ms := HeldMs} = Evidence}) ->
    Details = details(Address, Depth, Evidence),
    ok = accept_queue_event:cleared(Condition, Details#{duration_ms => HeldMs}),
    true = ets:delete(?STANDING, {Address, Condition}).

details(Address, Depth, Evidence) ->
    Counts =
        case Evidence of
            #{counts := #{} = Counted} -> Counted;
            #{} -> #{}
        end,
    Server = hd([Server || #row{server = Server} <- row(Address)] ++ [undefined]),
    Known = maps:merge(maps:merge(Counts, Depth), maps:without([counts], Evidence)),
    Known#{address => Address, server => Server}.

%% Told once, until it works again.
failed(#row{address = Address, server = Server}, Reason) ->
    case ets:insert_new(?TABLE, {{failed, Address}, Reason}) of
        true -> accept_queue_event:read_failed(#{address => Address, server => Server, reason => Reason});
        false -> ok
    end.

%% A tick that comes late by more than its own interval is told; the detector sees it by the time between readings.
tell_late(Interval, LateMs) when LateMs > Interval -> accept_queue_event:late(#{late_ms => LateMs});
tell_late(_Interval, _LateMs) -> ok.

%% The next one keeps to the grid, and leaves out what has been missed.
schedule(Interval, DueMs, NowMs) ->
    NextMs = DueMs + Interval * max(1, (NowMs - DueMs) div Interval + 1),
    _ = erlang:send_after(NextMs - NowMs, self(), {tick, Interval, NextMs}),
    ok.

%% Who is to be watched.

discover(#state{listening = {Before, Times}} = State) ->
    case accept_queue_source:listening_cookies() of
        {ok, Before} when Times rem ?SEARCH_EVERY =/= 0 -> State#state{listening = {Before, Times + 1}};
        {ok, Before} -> search(State#state{listening = {Before, 1}});
        {ok, Now} -> search(State#state{listening = {Now, 0}});
        %% Those that are watched are read all the same.
        {error, _} -> State
    end.

search(#state{wanted = Wanted} = State) ->
    case accept_queue_register:listeners() of
        {ok, Listeners} ->
            Groups = groups([Entry || {Entry, _Shown} <- Listeners]),
            Here = maps:from_list([{Address, Group} || {Address, _} = Group <- Groups]),
            _ = [remove(Row) || Row <- rows(), has_gone(Row, Here)],
            Named = named(Wanted),
            Added = [
                add(Group, #{}, State)
             || {Address, _} = Group <- Groups,
                Named =:= all orelse lists:member(Address, Named),
                not is_map_key(Address, State#state.excluded),
                row(Address) =:= []
            ],
            Excluded = maps:with(maps:keys(Here), State#state.excluded),
            %% One that could not be added is searched for again.
            Again = lists:keymember(error, 1, [One || One <- Added, is_tuple(One)]),
            Listening = if Again -> {[], 0}; true -> State#state.listening end,
            rounds(State#state{excluded = Excluded, listening = Listening});
        {error, _} ->
            State#state{listening = {[], 0}}
    end.

named(all) -> all;
named(none) -> [];
named(Listeners) -> lists:append([Addresses || Listener <- Listeners, {ok, Addresses} <- [addresses(Listener)]]).

%% Closed, or other sockets than those that are watched.
has_gone(#row{address = Address, cookies = Cookies}, Here) ->
    case Here of
        #{Address := {_, Entries}} -> cookies(Entries) =/= Cookies;
        #{} -> true
    end.

groups(Entries) ->
    ByAddress = lists:foldl(
        fun(#{address := Address} = Entry, So) -> maps:update_with(Address, fun(Es) -> [Entry | Es] end, [Entry], So) end,
        #{},
        Entries
    ),
    maps:to_list(ByAddress).

cookies(Entries) -> lists:sort([Cookie || #{cookie := Cookie} <- Entries]).

add({Address, Entries}, Options, #state{options = Defaults}) ->
    Handle = accept_queue_source:join([Handle || #{handle := Handle} <- Entries]),
    Settings = maps:merge(Defaults, Options),
    case accept_queue_source:watch(Handle, Settings, now_ms()) of
        {ok, Watch} ->
            _ = [remove(Row) || Row <- row(Address)],
            Row = #row{
                address = Address,
                cookies = cookies(Entries),
                watch = Watch,
                server = server(hd(Entries)),
                interval_ms = maps:get(interval_ms, Settings)
            },
            begin_with(Row),
            accept_queue_event:listener(added, #{address => Address, server => Row#row.server});
        {error, _} = Error ->
            Error
    end.

begin_with(#row{address = Address, watch = Watch} = Row) ->
    %% What has happened before this was not watched.
    _ = accept_queue_source:tick([Watch], now_ms(), false),
    true = ets:insert(?TABLE, {Address, Row}).

%% The detectors have ended with the port program. What stood is no longer known to hold: it is cleared, and raised anew where
%% it does.
again(#row{watch = Lost} = Row) ->
    ok = clear(Row),
    case accept_queue_source:again(Lost, now_ms()) of
        {ok, Watch} -> begin_with(Row#row{watch = Watch});
        %% The next tick asks again.
        {error, _} -> false
    end.

server(#{framework := undefined, socket := undefined}) -> undefined;
server(#{framework := undefined, socket := Socket}) -> accept_queue_process:server(accept_queue_backend:owner(Socket));
server(#{framework := Framework}) -> Framework.

%% What stands is cleared: it is no longer known to hold.
remove(#row{address = Address, server = Server, watch = Watch} = Row) ->
    ok = clear(Row),
    ok = accept_queue_source:unwatch(Watch),
    true = ets:delete(?TABLE, {failed, Address}),
    true = ets:delete(?TABLE, Address),
    accept_queue_event:listener(removed, #{address => Address, server => Server}).

clear(#row{address = Address}) ->
    NowMs = now_ms(),
    lists:foreach(
        fun({Condition, SinceMs}) ->
            tell(Address, #{}, {cleared, Condition, #{held_ms => NowMs - SinceMs, dropped => 0, dropped_otherwise => 0}})
        end,
        standing(Address)
    ).

%% What the detector has raised or cleared and the process before this one had no time to tell.
reconcile(#row{address = Address, watch = Watch}) ->
    case accept_queue_source:status(Watch, now_ms()) of
        {ok, #{conditions := Held, depth := Read}} -> reconcile(Address, Held, Read);
        %% The first tick will say why.
        {error, _} -> ok
    end.

reconcile(Address, Held, Read) ->
    Told = standing(Address),
    Depth = depth_map(Read),
    Nothing = #{dropped => 0, dropped_otherwise => 0},
    _ = [
        tell(Address, Depth, {raised, Condition, Nothing#{held_ms => HeldMs}})
     || {Condition, HeldMs} <- Held, not lists:keymember(Condition, 1, Told)
    ],
    _ = [
        tell(Address, Depth, {cleared, Condition, Nothing#{held_ms => now_ms() - SinceMs}})
     || {Condition, SinceMs} <- Told, not lists:keymember(Condition, 1, Held)
    ],
    ok.

%% The table says who is watched; the rounds follow it, and an interval that is new begins to tick.
rounds(#state{rounds = Before} = State) ->
    Rounds = lists:foldl(
        fun(#row{address = Address, watch = Watch, interval_ms = Interval}, So) ->
            maps:update_with(Interval, fun(Round) -> [{Address, Watch} | Round] end, [{Address, Watch}], So)
        end,
        #{},
        rows()
    ),
    NowMs = now_ms(),
    _ = [schedule(Interval, NowMs, NowMs) || Interval <- maps:keys(Rounds), not is_map_key(Interval, Before)],
    State#state{rounds = maps:map(fun apart/2, Rounds)}.

apart(_Interval, Round) ->
    {Addresses, Watches} = lists:unzip(Round),
    {list_to_tuple(Addresses), Watches}.

%% Memory.

%% Empty where the application does not run.
table(Table) ->
    try
        ets:tab2list(Table)
    catch
        error:badarg -> []
    end.

standing(Address) ->
    [{Condition, SinceMs} || {{At, Condition}, SinceMs} <- table(?STANDING), At =:= Address].

rows() ->
    [Row || {_, #row{} = Row} <- table(?TABLE)].

row(Address) ->
    [Row || {_, #row{} = Row} <- ets:lookup(?TABLE, Address)].

is_ticking() ->
    try ets:lookup(?TABLE, ticked) of
        [{ticked, AtMs}] -> whereis(?MODULE) =/= undefined andalso now_ms() - AtMs < ?SILENCE_MS;
        [] -> false
    catch
        error:badarg -> false
    end.

status_of(#row{watch = Watch, interval_ms = IntervalMs}) ->
    case accept_queue_source:status(Watch, now_ms()) of
        {ok, Known} -> {ok, status_of(Known, IntervalMs)};
        %% Its detector has ended, and it begins anew with the next tick: that nothing is known yet is soon known again.
        {error, lost} -> {error, timeout};
        {error, _} = Error -> Error
    end.

status_of(Known, IntervalMs) ->
    SystemMs = erlang:system_time(millisecond),
    #{conditions := Held, depth := Depth, drops := Drops, counts := Counts, window := Window} = Known,
    #{watched_ms := WatchedMs, read_ago_ms := AgoMs} = Known,
    #{
        conditions => [Condition || {Condition, _} <- Held],
        depth => with_drops(depth_map(Depth), Drops),
        counts => Counts,
        window => window(Window, SystemMs),
        since => SystemMs - WatchedMs,
        stale => AgoMs =:= undefined orelse AgoMs > 3 * IntervalMs + ?DISCOVERY_MS
    }.

depth_map(undefined) -> undefined;
depth_map({Queued, Limit, Drops}) -> #{queued => Queued, limit => Limit, drops => Drops}.

with_drops(undefined, _Drops) -> undefined;
with_drops(Depth, Drops) -> Depth#{drops := Drops}.

window(undefined, _SystemMs) -> undefined;
window(#{peak_ago_ms := AgoMs} = Window, SystemMs) -> (maps:remove(peak_ago_ms, Window))#{peak_at => SystemMs - AgoMs}.

%% A term that is no listener is its sender's fault, and must not take the monitor with it.
entries(Listener) ->
    try
        accept_queue_listener:entries(Listener)
    catch
        error:badarg -> {error, badarg}
    end.

addresses(Listener) ->
    case entries(Listener) of
        {ok, Entries} -> {ok, lists:usort([Address || #{address := Address} <- Entries])};
        {error, _} = Error -> Error
    end.

call(Request) ->
    try
        gen_server:call(?MODULE, Request)
    catch
        exit:{noproc, _} -> {error, not_running}
    end.

%% Since the VM started: never negative, and never back.
now_ms() ->
    erlang:convert_time_unit(erlang:monotonic_time() - erlang:system_info(start_time), native, millisecond).
