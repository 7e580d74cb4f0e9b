%% @private
%% Polls what the port program watches, and reports what has changed: what the poller thread of the library is to the NIF, with
%% the same messages.
%%
%% It ends with the process that it reports to.
-module(accept_queue_poller).
-behaviour(gen_server).

-export([start_link/0, watch/3]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

-record(state, {
    reports_to :: pid(),
    watches = #{} :: #{IntervalMs :: pos_integer() => [accept_queue_source:watch()]},
    all = false :: boolean(),
    %% Which cannot be read, and the reason that was reported.
    failing = #{} :: #{accept_queue_source:watch_id() | {census, accept_queue_source:watch_id()} => accept_queue:reason() | lost},
    listening = [] :: [accept_queue:cookie()],
    has_just_changed = false :: boolean()
}).

-define(SEARCH_MS, 1000).

%% Reports to the caller.
-spec start_link() -> {ok, pid()}.
start_link() ->
    %% One that reported to a process that was just killed is about to end, and may still be in the middle of a poll.
    case gen_server:start_link({local, ?MODULE}, ?MODULE, self(), []) of
        {ok, Pid} ->
            {ok, Pid};
        {error, {already_started, Before}} ->
            Monitor = erlang:monitor(process, Before),
            receive
                {'DOWN', Monitor, process, Before, _} -> start_link()
            end
    end.

%% Replaces what is polled. Each watch has its own interval. `All': every reading is reported.
-spec watch(pid(), [accept_queue_source:watch()], All :: boolean()) -> ok.
watch(Poller, Watches, All) ->
    gen_server:cast(Poller, {watch, Watches, All}).

-spec init(pid()) -> {ok, #state{}}.
init(ReportsTo) ->
    self() ! search,
    {ok, #state{reports_to = ReportsTo}}.

-spec handle_call(term(), gen_server:from(), #state{}) -> {noreply, #state{}}.
handle_call(_, _From, State) ->
    {noreply, State}.

-spec handle_cast({watch, [accept_queue_source:watch()], boolean()}, #state{}) -> {noreply, #state{}}.
handle_cast({watch, Watches, All}, #state{watches = Before} = State) ->
    ByInterval = maps:groups_from_list(fun accept_queue_source:interval_ms/1, Watches),
    NowMs = now_ms(),
    _ = [schedule(Interval, NowMs, NowMs) || Interval <- maps:keys(ByInterval), not is_map_key(Interval, Before)],
    {noreply, State#state{watches = ByInterval, all = All, failing = #{}}}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}}.
handle_info({poll, Interval, DueMs}, #state{watches = ByInterval} = State) ->
    case ByInterval of
        #{Interval := Watches} ->
            NowMs = now_ms(),
            _ = [report({late, NowMs - DueMs}, State) || NowMs - DueMs > Interval],
            Polled = poll(Watches, State),
            ok = schedule(Interval, DueMs, NowMs),
            {noreply, Polled};
        #{} ->
            {noreply, State}
    end;
handle_info(search, State) ->
    _ = erlang:send_after(?SEARCH_MS, self(), search),
    {noreply, search(State)};
handle_info(_, State) ->
    {noreply, State}.

poll(Watches, #state{all = All} = State) ->
    Readings = accept_queue_source:read(Watches, All),
    Censuses = accept_queue_source:census([Watch || {Watch, {ok, {_, _, _, _, true}}} <- Readings]),
    Notices = lists:map(fun reading/1, Readings) ++ lists:flatmap(fun(Census) -> census(Census, All) end, Censuses),
    {New, Failing} = lists:foldl(fun unless_reported/2, {[], State#state.failing}, Notices),
    _ = [report(lists:reverse(New), State) || New =/= []],
    State#state{failing = Failing}.

%% The program leaves out a reading that changed nothing, unless it wants a census.
reading({Watch, {ok, {Queued, Limit, Drops, Changes, _}}}) -> {id(Watch), {reading, {Queued, Limit, Drops}, Changes}};
reading({Watch, {error, Reason}}) -> {id(Watch), {error, Reason}}.

census({Watch, {ok, {_Counts, []}}}, false) -> [{id(Watch), census_recovered}];
census({Watch, {ok, {Counts, Changes}}}, _All) -> [{id(Watch), census_recovered}, {id(Watch), {census, Counts, Changes}}];
%% The next reading of the depth says so.
census({_Watch, {error, Reason}}, _All) when Reason =:= closed; Reason =:= lost -> [];
census({Watch, {error, Reason}}, _All) -> [{id(Watch), {census_error, Reason}}].

%% A failure is reported once, until the reading works or fails for another reason; lost detectors, until they are replaced.
unless_reported({Id, {error, Reason}}, {New, Failing}) when Reason =/= lost, map_get(Id, Failing) =:= Reason -> {New, Failing};
unless_reported({Id, {error, Reason}} = Notice, {New, Failing}) -> {[Notice | New], Failing#{Id => Reason}};
unless_reported({Id, {census_error, Reason}} = Notice, {New, Failing}) ->
    case Failing of
        #{{census, Id} := Reason} -> {New, Failing};
        #{} -> {[Notice | New], Failing#{{census, Id} => Reason}}
    end;
unless_reported({Id, census_recovered} = Notice, {New, Failing}) ->
    case maps:take({census, Id}, Failing) of
        {_, Others} -> {[Notice | New], Others};
        error -> {New, Failing}
    end;
unless_reported({_, {census, _, _}} = Notice, {New, Failing}) -> {[Notice | New], Failing};
unless_reported({Id, _} = Notice, {New, Failing}) -> {[Notice | New], maps:remove(Id, Failing)}.

id(Watch) -> accept_queue_source:watch_id(Watch).

%% Reported again a second later: a search while the new listener was being made may have missed it.
search(#state{listening = Before, has_just_changed = JustChanged} = State) ->
    case accept_queue_source:listening_cookies() of
        {ok, Now} ->
            Changed = Now =/= Before,
            _ = [report(listeners_changed, State) || Changed orelse JustChanged],
            State#state{listening = Now, has_just_changed = Changed};
        {error, _} ->
            State
    end.

report(Report, #state{reports_to = Pid}) ->
    Pid ! {accept_queue_poller, Report}.

%% On a grid of the interval: polls that were missed are left out.
schedule(Interval, DueMs, NowMs) ->
    NextMs = DueMs + Interval * max(1, (NowMs - DueMs) div Interval + 1),
    _ = erlang:send_after(NextMs - NowMs, self(), {poll, Interval, NextMs}),
    ok.

now_ms() -> erlang:monotonic_time(millisecond).
