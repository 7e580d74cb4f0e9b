%% @private
%% Watches the listeners of this VM, and publishes the conditions that their detectors raise and clear.
%%
%% The rules are core's: the detector of each listener lives in a native watch. The watches and the raised conditions are in tables
%% of the supervisor's. When this process is killed, the next one goes on with the same detectors, and publishes what the one
%% before had no time for.
%%
%% The poller reads: a thread of the library, or a process that asks the port program. It sends a message when something has
%% changed; until then it wakes no process of the VM. Events go to {@link accept_queue_event}, a process of its own, so that no
%% handler runs here.
-module(accept_queue_monitor).
-behaviour(gen_server).

-export([new/0, start_link/0, watch/2, unwatch/1, watched/0, addresses/1, status/1, statuses/0]).
-export([silence_ms/0, memory/0, library_replaced/0, samples/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

-export_type([condition/0, status/0]).

-type condition() :: behind | overflowing | stuck | abandoned | leaking.
-type status() :: #{
    conditions := [condition()],
    depth := accept_queue:depth() | undefined,
    counts := accept_queue:counts() | undefined,
    %% How old the counts are.
    counts_age_ms := non_neg_integer() | undefined,
    %% How often one is taken: less often than configured where it costs much.
    census_every_ms := pos_integer(),
    window := #{min := non_neg_integer(), max := non_neg_integer(), mean := float(), peak_at := integer()} | undefined,
    since := integer(),
    stale := boolean(),
    waits := accept_queue:waits()
}.
-type member() :: {accept_queue:cookie(), accept_queue_nif:fd(), Inode :: pos_integer(), accept_queue_backend:socket() | undefined}.

%% One watched queue. Row of the table, by its name. What all rows have costs memory for each listener.
-record(row, {
    address :: accept_queue:address(),
    place :: accept_queue_naming:place(),
    watch :: accept_queue_source:watch(),
    server :: accept_queue:server(),
    interval_ms :: pos_integer(),
    %% The environment names it. Once it is closed that can no longer be found out.
    is_named :: boolean(),
    %% Its sockets, ordered by cookie.
    members :: [member()],
    %% All of them have been closed. One that is opened again on the address soon goes on where this one ended.
    closed_ms :: integer() | undefined
}).

-record(state, {
    %% What the environment asked for.
    wanted :: accept_queue_config:wanted(),
    options :: map(),
    poller :: accept_queue_source:poller(),
    %% The watches of the poller.
    addresses = #{} :: #{accept_queue_source:watch_id() => accept_queue:address()},
    %% A telemetry handler wants readings that change nothing.
    samples :: boolean(),
    %% An address that is closed and opened again within this time is the same listener.
    reopen_ms :: pos_integer(),
    %% As long as the poller does not report that other sockets listen, a search would find nothing else.
    is_settled = false :: boolean(),
    searched_ms :: integer()
}).

%% Beside the rows are notes, `{note, Key, Value}': of `{asked, Address}' the options or `never', what a caller has asked for, which stays
%% when this process is replaced, of all that is shown with the address or of one queue alone; `alike' where a queue is called by more
%% than its address; `unsupported' where no census can be taken; and the `poller'.
-define(TABLE, ?MODULE).
%% After a listener that could not be watched, or a search that failed.
-define(SEARCH_AGAIN_MS, 1000).
%% A reading older than three intervals and this is stale, and so is a census.
-define(GRACE_MS, 1000).

%% To be called by the process that is to own the table.
-spec new() -> ok.
new() ->
    ok = accept_queue_memory:table(?TABLE, [{keypos, #row.address}, {read_concurrency, true}], [{note, poller, undefined}]),
    accept_queue_health:new().

%% A wrong environment stops the start of the application, with a sentence. Without core's defaults or without a thread only the
%% watching does not start, and is tried again.
-spec start_link() -> {ok, pid()} | {error, term()}.
start_link() ->
    case accept_queue_config:environment() of
        {ok, Environment} ->
            case accept_queue_child:start_link(?MODULE, Environment, []) of
                {error, {shutdown, {no_poller, Reason}}} -> unavailable("no thread can be started", Reason);
                Started -> Started
            end;
        {error, Sentence} ->
            {error, Sentence};
        {unread, Reason} ->
            unavailable("core's defaults cannot be read", Reason)
    end.

unavailable(Why, Reason) ->
    {error, {unavailable, io_lib:format("no listener is watched: ~ts (~0tp)", [Why, Reason])}}.

-spec watch(accept_queue:listener(), map()) -> ok | {error, accept_queue:reason() | badarg | not_running | timeout}.
watch(Listener, Options) ->
    call({watch, Listener, Options}).

-spec unwatch(accept_queue:listener()) -> ok | {error, accept_queue:reason() | badarg | not_running | timeout}.
unwatch(Listener) ->
    call({unwatch, Listener}).

-spec watched() -> [accept_queue:address()].
watched() ->
    lists:sort(fun accept_queue_naming:is_before/2, unless_gone(fun names/0)).

%% From memory, of all that the term means together.
-spec status(accept_queue:listener()) -> {ok, status()} | {error, accept_queue:reason() | not_watched | not_running | badarg}.
status(Listener) ->
    case addresses(Listener) of
        {ok, Addresses} -> status_of(Listener, lists:append([row(Address) || Address <- Addresses]));
        {error, _} = Error -> Error
    end.

status_of(_Listener, []) ->
    {error, not_watched};
status_of(_Listener, [#row{} = Row]) ->
    status_of(Row);
status_of(Listener, Rows) ->
    case {together([status_of(Row) || Row <- Rows]), accept_queue_accepted:waits(Listener)} of
        {{ok, Status}, {ok, Waits}} -> {ok, Status#{waits => Waits}};
        {{error, _} = Error, _} -> Error;
        {_, {error, _} = Error} -> Error
    end.

%% The watched queues of a listener, by name, from memory; of a socket the kernel is asked.
-spec addresses(accept_queue:listener()) ->
    {ok, [accept_queue:address(), ...]} | {error, accept_queue:reason() | not_watched | not_running | badarg}.
addresses(Listener) ->
    case remembered(Listener) of
        [_ | _] = Names -> {ok, Names};
        [] -> asked(Listener)
    end.

remembered({ranch, _} = Server) ->
    [Name || [Name, At] <- unless_gone(fun() -> each([#row.server]) end), At =:= Server];
remembered(Listener) ->
    case row(Listener) =/= [] andalso not unless_gone(fun() -> ets:member(?TABLE, alike) end) of
        true ->
            [Listener];
        _ ->
            case accept_queue_listener:matches(Listener) of
                {ok, Matches} -> [Name || Name <- unless_gone(fun names/0), Matches(Name) orelse Matches(accept_queue_naming:base(Name))];
                _ -> []
            end
    end.

asked(Listener) ->
    case {entries(Listener), ets:whereis(?TABLE)} of
        {{error, badarg} = Error, _} ->
            Error;
        {_, undefined} ->
            {error, not_running};
        {{ok, Entries}, _} ->
            case names_of(Entries) of
                [] -> {error, not_watched};
                Names -> {ok, Names}
            end;
        {{error, _} = Error, _} ->
            Error
    end.

%% A socket that was opened a moment ago has the row of its address.
names_of(Entries) ->
    Cookies = cookies(Entries),
    case [Name || [Name, Members] <- each([#row.members]), lists:any(fun(Cookie) -> lists:keymember(Cookie, 1, Members) end, Cookies)] of
        [] -> [Address || Address <- lists:usort([Address || #{address := Address} <- Entries]), row(Address) =/= []];
        Names -> Names
    end.

names() ->
    lists:append(each([])).

%% All that is watched, ordered by address, from memory.
-spec statuses() -> [{accept_queue:address(), accept_queue:server(), {ok, status()} | {error, accept_queue:reason() | badarg}}].
statuses() ->
    Ordered = lists:sort(fun(#row{address = One}, #row{address = Other}) -> accept_queue_naming:is_before(One, Other) end, rows()),
    [{Address, server_now(Row), status_of(Row)} || #row{address = Address} = Row <- Ordered].

%% How long ago what reads the listeners last began a round; `lost': of a library that was replaced.
-spec silence_ms() -> non_neg_integer() | lost | not_running.
silence_ms() ->
    case whereis(?MODULE) =/= undefined andalso unless_gone(fun() -> noted(poller) end) of
        [Poller] when Poller =/= undefined -> accept_queue_source:poller_silence_ms(Poller);
        _ -> not_running
    end.

%% Names the memory of what is watched: another one where that was lost, `undefined' where there is none.
-spec memory() -> ets:tid() | undefined.
memory() ->
    ets:whereis(?TABLE).

%% What this process holds of the library may be of an earlier instance: it is looked at again.
-spec library_replaced() -> ok.
library_replaced() ->
    gen_server:cast(?MODULE, library_replaced).

%% Whether every reading is published as a sample.
-spec samples(Wanted :: boolean()) -> ok.
samples(Wanted) ->
    gen_server:cast(?MODULE, {samples, Wanted}).

%% The process.

-spec init(map()) -> {ok, #state{}} | {stop, term()}.
init(#{watch := Wanted, options := Options}) ->
    _ = process_flag(trap_exit, true),
    _ = process_flag(message_queue_data, off_heap),
    %% From here on reports come to this process; what the detectors found before is published now.
    case {accept_queue_source:poller(hd(noted(poller))), accept_queue_source:reopen_ms()} of
        {{ok, Poller}, {ok, ReopenMs}} ->
            ok = note(poller, Poller),
            ok = lists:foreach(fun reconcile/1, rows()),
            self() ! search_now_and_then,
            {ok, poll(#state{
                wanted = Wanted,
                options = Options,
                poller = Poller,
                samples = accept_queue_event:wants_samples(),
                reopen_ms = ReopenMs,
                searched_ms = now_ms()
            })};
        Answers ->
            {error, Reason} = lists:keyfind(error, 1, tuple_to_list(Answers)),
            {stop, {shutdown, {no_poller, Reason}}}
    end.

-spec handle_call(term(), gen_server:from(), #state{}) -> {reply, ok | {error, term()}, #state{}}.
handle_call({watch, Listener, Options}, _From, State) ->
    ok = has_memory(State),
    case queues_of(Listener) of
        {ok, Queues} ->
            Added = [add(Queue, Options, State) || Queue <- Queues],
            ok = lists:foreach(fun(Address) -> note({asked, Address}, Options) end, asked_for(Listener, Queues)),
            Answer = hd([Error || {error, _} = Error <- Added] ++ [ok]),
            {reply, Answer, poll(State)};
        {error, _} = Error ->
            {reply, Error, State}
    end;
handle_call({unwatch, Listener}, _From, State) ->
    case queues_of(Listener) of
        {ok, Queues} ->
            _ = [remove(Row, unwatched) || {Name, _} <- Queues, Row <- row(Name)],
            ok = lists:foreach(fun(Address) -> note({asked, Address}, never) end, asked_for(Listener, Queues)),
            {reply, ok, poll(State)};
        {error, _} = Error ->
            {reply, Error, State}
    end;
handle_call(_, _From, State) ->
    {reply, {error, badarg}, State}.

-spec handle_cast({samples, boolean()} | term(), #state{}) -> {noreply, #state{}}.
handle_cast({samples, Wanted}, State) when is_boolean(Wanted) ->
    {noreply, poll(State#state{samples = Wanted})};
handle_cast(library_replaced, State) ->
    ok = has_memory(State),
    {noreply, State};
handle_cast(_, State) ->
    {noreply, State}.

%% A search leaves much behind, and may be followed by hours in which nothing happens.
-spec handle_info(term(), #state{}) -> {noreply, #state{}} | {noreply, #state{}, hibernate}.
handle_info({accept_queue_poller, {late, LateMs}}, State) ->
    ok = accept_queue_event:late(#{late_ms => LateMs}),
    {noreply, State};
handle_info({accept_queue_poller, listeners_changed}, State) ->
    {noreply, search(State), hibernate};
handle_info({accept_queue_poller, {samples, Samples}}, #state{poller = Poller} = State) ->
    Noticed = noticed(Samples, State),
    ok = accept_queue_event:samples_left_out(accept_queue_source:poller_samples_taken(Poller)),
    {noreply, Noticed};
handle_info({accept_queue_poller, Notices}, State) when is_list(Notices) ->
    {noreply, noticed(Notices, State)};
%% The poller reports when other sockets listen. What else may have changed, a search finds.
handle_info(search_now_and_then, #state{poller = Poller} = State) ->
    %% A poller that has ended is a fault: this process ends, and the next one starts a poller.
    true = accept_queue_source:poller_is_running(Poller),
    Searched = search_unless_settled(State),
    _ = accept_queue_beat:next(search_now_and_then, Searched#state.searched_ms),
    {noreply, Searched, hibernate};
handle_info(search, State) ->
    {noreply, search(State), hibernate};
handle_info({'EXIT', Pid, Reason}, #state{poller = Poller} = State) ->
    case accept_queue_source:is_process(Poller, Pid) of
        true -> exit({poller, Reason});
        false -> {noreply, State}
    end;
handle_info(_, State) ->
    {noreply, State}.

%% When it stops in order, it clears the conditions. Killed, it clears none, and the next process goes on with them.
-spec terminate(term(), #state{}) -> ok.
terminate(Reason, _State) when Reason =:= shutdown; Reason =:= normal; element(1, Reason) =:= shutdown ->
    ok = accept_queue_health:search(ok),
    ok = accept_queue_health:named([], 0),
    lists:foreach(fun(Row) -> remove(Row, stopped) end, rows());
terminate(_Reason, _State) ->
    ok.

%% What the poller reports.

%% A notice of a watch that has ended is dropped.
noticed(Notices, #state{addresses = Addresses} = State) ->
    Taken = [notice(map_get(Id, Addresses), Notice, State) || {Id, Notice} <- Notices, is_map_key(Id, Addresses)],
    case lists:member(other_watches, Taken) of
        true -> poll(State);
        false -> State
    end.

notice(Address, {reading, {Queued, Limit, Drops}, Changes}, #state{samples = Samples}) ->
    Depth = #{queued => Queued, limit => Limit, drops => Drops},
    _ = [sample(Address, Depth) || Samples],
    ok = lists:foreach(fun(Row) -> recovered(Row, depth) end, row(Address)),
    change(Address, Depth, Changes);
notice(Address, {census, Counts, Changes}, #state{samples = Samples}) ->
    _ = [sample(Address, Counts) || Samples],
    change(Address, maps:with([queued, limit, drops], Counts), Changes);
notice(Address, {error, closed}, State) ->
    lists:foreach(fun(Row) -> closed(Row, State) end, row(Address));
notice(Address, {error, lost}, _State) ->
    ok = lists:foreach(fun again/1, row(Address)),
    other_watches;
notice(Address, {error, Reason}, _State) ->
    lists:foreach(fun(Row) -> failed(Row, depth, Reason) end, row(Address));
notice(Address, {census_error, Reason}, _State) ->
    lists:foreach(fun(Row) -> failed(Row, census, Reason) end, row(Address));
notice(Address, census_recovered, _State) ->
    lists:foreach(fun(Row) -> recovered(Row, census) end, row(Address)).

sample(Address, Figures) ->
    Row = row(Address),
    accept_queue_event:sample(maps:merge(Figures, waits(Row)), maps:from_list([{address, Address} | [{server, S} || #row{server = S} <- Row]])).

%% Only of a listener whose connections are counted.
waits([#row{watch = Watch}]) ->
    case accept_queue_source:waits_of_watch(Watch) of
        #{count := Count, max_ms := Max, p50_ms := Half, p99_ms := Most} = Waits when Count > 0 ->
            #{waits_count => Count, waits_max_ms => Max, waits_p50_ms => Half, waits_p99_ms => Most, waits => Waits};
        _ ->
            #{}
    end;
waits([]) ->
    #{}.

change(Address, Depth, Changes) ->
    lists:foreach(fun(Change) -> publish(Address, Depth, Change) end, Changes).

%% Published before it is noted: after a kill in between the next process publishes it again, which the event store ignores.
publish(Address, Depth, {raised, Condition, #{held_ms := HeldMs} = Evidence}) ->
    ok = accept_queue_event:raised(Condition, details(Address, Depth, Evidence)),
    accept_queue_health:raised(Condition, Address, now_ms() - HeldMs);
publish(Address, Depth, {cleared, Condition, #{held_ms := HeldMs} = Evidence}) ->
    Details = details(Address, Depth, Evidence),
    Reason = maps:get(reason, Evidence, recovered),
    ok = accept_queue_event:cleared(Condition, Details#{duration_ms => HeldMs, reason => Reason}),
    accept_queue_health:cleared(Condition, Address).

details(Address, Depth, Evidence) ->
    Counts =
        case Evidence of
            #{counts := #{} = Counted} -> Counted;
            #{} -> #{}
        end,
    {Server, Members} = hd([{server_now(Row), Members} || #row{members = Members} = Row <- row(Address)] ++ [{undefined, []}]),
    Figures = maps:merge(maps:merge(Counts, Depth), maps:without([counts, socket], Evidence)),
    (maps:merge(Figures, member(Evidence, Members)))#{address => Address, server => Server}.

%% The listener may have been handed on since it was found.
server_now(#row{members = Members, server = Server}) ->
    hd([Now || {Cookie, _, _, _} <- Members, {_Owner, Now} <- [accept_queue_pool_cache:named(Cookie)]] ++ [Server]).

%% The socket that a condition is about. Its acceptors alone are asked for (`acceptors_of'): those of the others may be in accept
%% while no process accepts from this one.
member(#{socket := #{cookie := Cookie} = Known}, Members) ->
    case lists:keyfind(Cookie, 1, Members) of
        {_, Fd, Inode, _} = Member -> maps:merge(#{socket => Known#{fd => Fd, inode => Inode}}, acceptors_of([Member]));
        false -> acceptors_of(Members)
    end;
member(_Evidence, Members) ->
    acceptors_of(Members).

acceptors_of(Members) ->
    case [Socket || {_, _, _, Socket} <- Members, Socket =/= undefined] of
        [] -> #{};
        Sockets -> #{acceptors_of => Sockets}
    end.

%% Published once, until it works again. Where no census can be taken at all, that is so for every listener, and is published for the
%% first: they are watched by the depth alone.
failed(#row{address = Address} = Row, Tier, Reason) ->
    IsFirst = Reason =/= unsupported orelse not ets:member(?TABLE, unsupported),
    _ = [note(unsupported, Address) || Reason =:= unsupported],
    case accept_queue_health:failed(Tier, Address, Reason) andalso IsFirst of
        true -> accept_queue_event:read_failed(#{address => Address, server => server_now(Row), reason => Reason});
        false -> ok
    end.

recovered(#row{address = Address} = Row, Tier) ->
    case accept_queue_health:recovered(Tier, Address) of
        {ok, unsupported} -> ok;
        {ok, _} -> accept_queue_event:read_recovered(#{address => Address, server => server_now(Row)});
        did_not_fail -> ok
    end.

%% It may be opened again: what is raised stays until that is known.
closed(#row{closed_ms = undefined} = Row, #state{reopen_ms = ReopenMs}) ->
    _ = erlang:send_after(ReopenMs, self(), search),
    true = ets:insert(?TABLE, Row#row{closed_ms = now_ms()}),
    ok;
closed(_Row, _State) ->
    ok.

%% Which listeners are watched.

search_unless_settled(#state{is_settled = true} = State) -> State;
search_unless_settled(#state{is_settled = false} = State) -> search(State).

search(State) ->
    search_now(State#state{searched_ms = now_ms()}).

search_now(#state{wanted = Wanted} = State) ->
    ok = has_memory(State),
    case queues() of
        {ok, Queues} ->
            ok = accept_queue_health:search(ok),
            Here = maps:from_list(Queues),
            Changed = [Row || [Name, Members] <- each([#row.members]), has_changed(Name, Members, Here), Row <- row(Name)],
            Followed = [follow(Row, Here, State) || Row <- Changed],
            IsWanted = wanted(Wanted, State),
            Excluded = excluded(Wanted, IsWanted),
            _ = [remove(Row, unwatched) || Row <- Excluded],
            Added = [
                add(Queue, Options, State)
             || {Name, _} = Queue <- Queues, not ets:member(?TABLE, Name), {ok, Options} <- [options(Name, IsWanted)]
            ],
            _ = [search_again() || lists:keymember(error, 1, [One || One <- Added, is_tuple(One)])],
            ok = forget_asked(Here),
            Settled = State#state{is_settled = is_settled(Queues, State)},
            case lists:member(true, Followed) orelse Excluded =/= [] orelse Added =/= [] of
                false -> Settled;
                true -> ok = accept_queue_pools:look(), poll(Settled)
            end;
        {error, _} = Error ->
            ok = accept_queue_health:search(Error),
            _ = search_again(),
            State#state{is_settled = false}
    end.

%% A descriptor without an Erlang socket may be taken over, and a server that the environment names may come to have another listener,
%% without a socket that comes or goes.
is_settled(Queues, #state{poller = Poller, wanted = Wanted}) ->
    (Wanted =:= all orelse Wanted =:= none) andalso accept_queue_source:poller_sees_all(Poller) andalso
        not lists:any(fun({_, Entries}) -> lists:any(fun(#{socket := Socket}) -> Socket =:= undefined end, Entries) end, Queues).

%% All queues of this VM, by their names.
queues() ->
    case accept_queue_registry:listeners() of
        {ok, Listeners} ->
            Known = [{Name, member_cookies(Members), Place} || [Name, Members, Place] <- each([#row.members, #row.place])],
            {ok, accept_queue_naming:queues([Entry || {Entry, _Shown} <- Listeners], Known)};
        {error, _} = Error ->
            Error
    end.

%% Those of a listener, each with all its sockets.
queues_of(Listener) ->
    case {entries(Listener), queues()} of
        {{ok, Entries}, {ok, Queues}} ->
            Cookies = maps:from_keys(cookies(Entries), true),
            IsOf = fun({_, Sockets}) -> lists:any(fun(Cookie) -> is_map_key(Cookie, Cookies) end, cookies(Sockets)) end,
            case lists:filter(IsOf, Queues) of
                [] -> {error, closed};
                Found -> {ok, Found}
            end;
        {{error, _} = Error, _} ->
            Error;
        {_, {error, _} = Error} ->
            Error
    end.

%% What is asked of an address is asked of all that is shown with it, also later.
asked_for(Listener, Queues) ->
    case accept_queue_listener:matches(Listener) of
        {ok, _} when is_tuple(Listener), tuple_size(element(2, Listener)) =:= 2 -> [Name || {Name, _} <- Queues];
        {ok, _} -> lists:usort([accept_queue_naming:base(Name) || {Name, _} <- Queues]);
        no_address -> [Name || {Name, _} <- Queues]
    end.

search_again() ->
    erlang:send_after(?SEARCH_AGAIN_MS, self(), search).

%% What the environment wants to be watched, by address. What it names and is not there is noted.
wanted(all, _State) ->
    fun(_Address) -> true end;
wanted(none, _State) ->
    fun(_Address) -> false end;
wanted({all_but, Listeners}, _State) ->
    Others = addresses_of(Listeners),
    fun(Address) -> not lists:member(Address, Others) end;
wanted(Listeners, #state{reopen_ms = ReopenMs}) ->
    Found = [{Listener, addresses_now(Listener)} || Listener <- Listeners],
    ok = accept_queue_health:named([{Listener, presence(Answer)} || {Listener, Answer} <- Found], ReopenMs),
    Named = lists:append([Addresses || {_, {ok, Addresses}} <- Found]),
    fun(Address) -> lists:member(Address, Named) end.

presence({ok, _}) -> there;
presence({error, Reason}) when Reason =:= not_found; Reason =:= not_listening; Reason =:= closed -> missing;
presence({error, _}) -> unknown.

%% What was found before it was known for one of the others, as that of a ranch which was just starting.
excluded({all_but, _}, IsWanted) ->
    [Row || Name <- names(), options(Name, IsWanted) =:= none, Row <- row(Name)];
excluded(_, _IsWanted) ->
    [].

%% With which options it is watched: a caller's, or those of the environment.
options(Name, IsWanted) ->
    Address = accept_queue_naming:base(Name),
    case noted({asked, Name}) ++ noted({asked, Address}) of
        [never | _] ->
            none;
        [Options | _] ->
            {ok, Options};
        [] ->
            case IsWanted(Address) of
                true -> {ok, #{}};
                false -> none
            end
    end.

%% What was asked of a listener ends with it, once its name is forgotten.
forget_asked(Here) ->
    Kept = maps:from_keys(lists:append([[Name, accept_queue_naming:base(Name)] || Name <- maps:keys(Here) ++ names()]), true),
    Asked = lists:append(ets:match(?TABLE, {note, {asked, '$1'}, '_'})),
    lists:foreach(fun(Address) -> ets:delete(?TABLE, {asked, Address}) end, [A || A <- Asked, not is_map_key(A, Kept)]).

%% Closed, or other sockets than the watched ones.
has_changed(Address, Members, Here) ->
    case Here of
        #{Address := Entries} -> cookies(Entries) =/= member_cookies(Members);
        #{} -> true
    end.

%% A member of a group that comes or goes, and an address that is closed and opened again, change the sockets of a listener: what is
%% raised stays, with the options of `watch/2'. Whether the watches of the poller have changed.
follow(#row{address = Address, watch = Watch, closed_ms = ClosedMs} = Row, Here, #state{reopen_ms = ReopenMs} = State) ->
    case Here of
        #{Address := Entries} ->
            Followed = accept_queue_source:watch_sockets(Watch, join(Entries)),
            true = ets:insert(?TABLE, with_sockets(Row#row{watch = Followed, closed_ms = undefined}, Entries)),
            true;
        #{} when ClosedMs =/= undefined ->
            IsGone = now_ms() - ClosedMs >= ReopenMs,
            _ = [remove(Row, closed) || IsGone],
            IsGone;
        #{} ->
            ok = closed(Row, State),
            false
    end.

join(Entries) ->
    accept_queue_source:join([Handle || #{handle := Handle} <- Entries]).

with_sockets(Row, Entries) ->
    Members = [{Cookie, Fd, Inode, Socket} || #{cookie := Cookie, fd := Fd, inode := Inode, socket := Socket} <- Entries],
    Row#row{place = accept_queue_naming:place(hd(Entries)), server = server(hd(Entries)), members = lists:sort(Members)}.

cookies(Entries) -> lists:sort([Cookie || #{cookie := Cookie} <- Entries]).

member_cookies(Members) -> [Cookie || {Cookie, _, _, _} <- Members].

add({Address, Entries}, Options, #state{options = Defaults} = State) ->
    Settings = maps:merge(Defaults, Options),
    case accept_queue_source:watch(join(Entries), Settings) of
        {ok, Watch} ->
            _ = [remove(Row, rewatched) || Row <- row(Address)],
            New = #row{
                address = Address,
                place = accept_queue_naming:place(hd(Entries)),
                watch = Watch,
                server = undefined,
                interval_ms = maps:get(interval_ms, Settings),
                is_named = is_named(Address, State),
                members = []
            },
            Row = with_sockets(New, Entries),
            _ = [note(alike, true) || accept_queue_naming:base(Address) =/= Address],
            true = ets:insert(?TABLE, Row),
            accept_queue_event:listener(added, named_if_so(Row, #{address => Address, server => Row#row.server}));
        {error, _} = Error ->
            Error
    end.

is_named(Name, #state{wanted = Wanted}) ->
    is_list(Wanted) andalso lists:member(accept_queue_naming:base(Name), addresses_of(Wanted)).

named_if_so(#row{is_named = true}, Metadata) -> Metadata#{named => true};
named_if_so(#row{is_named = false}, Metadata) -> Metadata.

%% The detectors have ended with the port program. Whether their conditions still hold is not known: they are cleared, and raised
%% again where they do.
again(#row{watch = Lost} = Row) ->
    ok = clear(Row, rewatched),
    case accept_queue_source:again(Lost) of
        {ok, Watch} -> ets:insert(?TABLE, Row#row{watch = Watch});
        none -> remove(Row, rewatched);
        %% The next poll reports it again.
        {error, _} -> true
    end.

server(#{socket := Socket, cookie := Cookie}) -> accept_queue_framework:server(Socket, Cookie).

%% Its conditions are cleared: whether they still hold is not known, and the reason says so.
remove(#row{address = Address, watch = Watch} = Row, Reason) ->
    ok = clear(Row, Reason),
    ok = accept_queue_source:unwatch(Watch),
    _ = [accept_queue_health:recovered(Tier, Address) || Tier <- [depth, census]],
    true = ets:delete(?TABLE, Address),
    Metadata = #{address => Address, server => server_now(Row)},
    accept_queue_event:listener(removed, case Reason of closed -> named_if_so(Row, Metadata); _ -> Metadata end).

%% Nothing was read: there are no figures.
clear(#row{address = Address}, Reason) ->
    NowMs = now_ms(),
    lists:foreach(
        fun({Condition, SinceMs}) ->
            publish(Address, #{}, {cleared, Condition, #{held_ms => NowMs - SinceMs, reason => Reason}})
        end,
        accept_queue_health:raised(Address)
    ).

%% Publishes what the detector has raised or cleared and the process before this one had no time to publish.
reconcile(#row{address = Address, watch = Watch} = Row) ->
    case accept_queue_source:status(Watch) of
        {ok, #{conditions := Held, depth := Read}} ->
            _ = [recovered(Row, depth) || Read =/= undefined],
            reconcile(Address, Held, Read);
        {error, lost} -> again(Row);
        %% The first reading reports why.
        {error, _} -> ok
    end.

reconcile(Address, Held, Read) ->
    Published = accept_queue_health:raised(Address),
    Depth = depth_map(Read),
    _ = [
        publish(Address, Depth, {raised, Condition, #{held_ms => HeldMs}})
     || {Condition, HeldMs} <- Held, not lists:keymember(Condition, 1, Published)
    ],
    _ = [
        publish(Address, Depth, {cleared, Condition, #{held_ms => now_ms() - SinceMs}})
     || {Condition, SinceMs} <- Published, not lists:keymember(Condition, 1, Held)
    ],
    ok.

%% The table says what is watched; the poller follows it.
poll(#state{poller = Poller, samples = Samples} = State) ->
    Watches = [{Watch, Address} || [Address, Watch] <- each([#row.watch])],
    ok = accept_queue_source:poller_watch(Poller, [Watch || {Watch, _} <- Watches], Samples),
    State#state{addresses = maps:from_list([{accept_queue_source:watch_id(Watch), Address} || {Watch, Address} <- Watches])}.

%% Memory.

%% Any process can delete the table, and another child makes it again, empty; and the library may be another instance than the one whose
%% thread polls. Then this process ends, and the next one begins with what is there.
has_memory(#state{poller = Poller}) ->
    [Poller] = noted(poller),
    true = accept_queue_source:poller_is_running(Poller),
    ok.

%% Some fields of each row, with its name: a search copies no more of a thousand rows than it needs.
each(Fields) ->
    Wanted = lists:zip(Fields, lists:sublist(['$2', '$3'], length(Fields))),
    ets:match(?TABLE, erlang:make_tuple(record_info(size, row), '_', [{1, row}, {#row.address, '$1'} | Wanted])).

%% Empty where the application does not run.
table(Table) ->
    unless_gone(fun() -> ets:tab2list(Table) end).

unless_gone(Read) ->
    try
        Read()
    catch
        error:badarg -> []
    end.

rows() ->
    [Row || #row{} = Row <- table(?TABLE)].

row(Address) ->
    [Row || #row{} = Row <- unless_gone(fun() -> ets:lookup(?TABLE, Address) end)].

note(Key, Value) ->
    true = ets:insert(?TABLE, {note, Key, Value}),
    ok.

noted(Key) ->
    [Value || {note, _, Value} <- ets:lookup(?TABLE, Key)].

%% Of several addresses: a port number may have them.
together(Statuses) ->
    case [Error || {error, _} = Error <- Statuses] of
        [Error | _] -> Error;
        [] -> {ok, sum([Status || {ok, Status} <- Statuses])}
    end.

%% The depth of several queues over a time is not the sum of what is kept of each: there is no window.
sum(Statuses) ->
    Each = fun(Key) -> [maps:get(Key, Status) || Status <- Statuses] end,
    #{
        conditions => lists:usort(lists:append(Each(conditions))),
        depth => sum_of(Each(depth)),
        counts => sum_of(Each(counts)),
        counts_age_ms => greatest(Each(counts_age_ms)),
        census_every_ms => lists:max(Each(census_every_ms)),
        window => undefined,
        since => lists:max(Each(since)),
        stale => lists:member(true, Each(stale))
    }.

%% What one of them does not have, all together do not have.
sum_of([First | Others] = Maps) ->
    case lists:member(undefined, Maps) of
        true -> undefined;
        false -> lists:foldl(fun(Map, Sum) -> maps:map(fun(Key, Figure) -> plus(Key, Figure, maps:get(Key, Map)) end, Sum) end, First, Others)
    end.

plus(oldest_wait_ms, undefined, Other) -> Other;
plus(oldest_wait_ms, One, undefined) -> One;
plus(oldest_wait_ms, One, Other) -> max(One, Other);
plus(_, One, Other) when is_integer(One), is_integer(Other) -> One + Other;
plus(_, _, _) -> undefined.

greatest(Ages) ->
    case lists:member(undefined, Ages) of
        true -> undefined;
        false -> lists:max(Ages)
    end.

status_of(#row{watch = Watch} = Row) ->
    case accept_queue_source:status(Watch) of
        {ok, Known} -> {ok, status_map(Known, Row)};
        %% Its detector has ended, and the next poll replaces it.
        {error, lost} -> {error, timeout};
        {error, _} = Error -> Error
    end.

status_map(Known, #row{interval_ms = IntervalMs}) ->
    SystemMs = erlang:system_time(millisecond),
    #{conditions := Held, depth := Depth, drops := Drops, counts := Counts, window := Window} = Known,
    #{census_every_ms := EveryMs, watched_ms := WatchedMs, read_ago_ms := AgoMs, counts_ago_ms := CountsAgoMs, waits := Waits} = Known,
    #{
        conditions => [Condition || {Condition, _} <- Held],
        depth => with_drops(depth_map(Depth), Drops),
        counts => Counts,
        counts_age_ms => CountsAgoMs,
        census_every_ms => EveryMs,
        window => window(Window, SystemMs),
        since => SystemMs - WatchedMs,
        %% A listener at which no connection waits is read by the kernel's silence, and that counts while the poller runs.
        stale => AgoMs =:= undefined orelse is_old(AgoMs, IntervalMs) orelse is_old(CountsAgoMs, EveryMs) orelse accept_queue_health:is_held_up(),
        waits => Waits
    }.

%% Without a census there are no counts that could be old.
is_old(undefined, _IntervalMs) -> false;
is_old(AgoMs, IntervalMs) -> AgoMs > 3 * IntervalMs + ?GRACE_MS.

depth_map(undefined) -> undefined;
depth_map({Queued, Limit, Drops}) -> #{queued => Queued, limit => Limit, drops => Drops}.

with_drops(undefined, _Drops) -> undefined;
with_drops(Depth, Drops) -> Depth#{drops := Drops}.

window(undefined, _SystemMs) -> undefined;
window(#{peak_ago_ms := AgoMs} = Window, SystemMs) -> (maps:remove(peak_ago_ms, Window))#{peak_at => SystemMs - AgoMs}.

%% A term that is no listener is the caller's fault, and must not end the monitor.
entries(Listener) ->
    try
        accept_queue_listener:entries(Listener)
    catch
        error:badarg -> {error, badarg}
    end.

%% Those that are found.
addresses_of(Listeners) ->
    lists:append([Addresses || Listener <- Listeners, {ok, Addresses} <- [addresses_now(Listener)]]).

addresses_now(Listener) ->
    case entries(Listener) of
        {ok, Entries} -> {ok, lists:usort([Address || #{address := Address} <- Entries])};
        {error, _} = Error -> Error
    end.

call(Request) ->
    accept_queue_call:call(?MODULE, Request).

now_ms() ->
    erlang:monotonic_time(millisecond).
