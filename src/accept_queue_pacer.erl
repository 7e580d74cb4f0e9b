%% @private
%% Goes the rounds of what the port program watches, and reports what there is to say: what `native/core/src/monitor/poller.rs' is to the
%% NIF, and the same messages.
%%
%% It ends with the process that it reports to.
-module(accept_queue_pacer).
-behaviour(gen_server).

-export([start_link/0, watch/3]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

-record(state, {
    reports_to :: pid(),
    rounds = #{} :: #{pos_integer() => [accept_queue_source:watch()]},
    all = false :: boolean(),
    %% What has been told of those that cannot be read.
    failing = #{} :: #{accept_queue_source:watch_id() => accept_queue:reason() | lost},
    listening = [] :: [accept_queue:cookie()],
    has_just_changed = false :: boolean()
}).

-define(SEARCH_MS, 1000).

%% Reports to the caller.
-spec start_link() -> {ok, pid()}.
start_link() ->
    %% One that reported to a process that was just killed is about to end, and may still be in the middle of a round.
    case gen_server:start_link({local, ?MODULE}, ?MODULE, self(), []) of
        {ok, Pid} ->
            {ok, Pid};
        {error, {already_started, Before}} ->
            Monitor = erlang:monitor(process, Before),
            receive
                {'DOWN', Monitor, process, Before, _} -> start_link()
            end
    end.

%% These from now on, each at its own interval, and nothing else. `All': every reading is reported.
-spec watch(pid(), [accept_queue_source:watch()], All :: boolean()) -> ok.
watch(Pacer, Watches, All) ->
    gen_server:cast(Pacer, {watch, Watches, All}).

-spec init(pid()) -> {ok, #state{}}.
init(ReportsTo) ->
    self() ! search,
    {ok, #state{reports_to = ReportsTo}}.

-spec handle_call(term(), gen_server:from(), #state{}) -> {noreply, #state{}}.
handle_call(_, _From, State) ->
    {noreply, State}.

-spec handle_cast({watch, [accept_queue_source:watch()], boolean()}, #state{}) -> {noreply, #state{}}.
handle_cast({watch, Watches, All}, #state{rounds = Before} = State) ->
    Rounds = maps:groups_from_list(fun accept_queue_source:interval_ms/1, Watches),
    NowMs = now_ms(),
    _ = [schedule(Interval, NowMs, NowMs) || Interval <- maps:keys(Rounds), not is_map_key(Interval, Before)],
    {noreply, State#state{rounds = Rounds, all = All, failing = #{}}}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}}.
handle_info({tick, Interval, DueMs}, #state{rounds = Rounds} = State) ->
    case Rounds of
        #{Interval := Watches} ->
            NowMs = now_ms(),
            _ = [report({late, NowMs - DueMs}, State) || NowMs - DueMs > Interval],
            Ticked = round(Watches, State),
            ok = schedule(Interval, DueMs, NowMs),
            {noreply, Ticked};
        #{} ->
            {noreply, State}
    end;
handle_info(search, State) ->
    _ = erlang:send_after(?SEARCH_MS, self(), search),
    {noreply, search(State)};
handle_info(_, State) ->
    {noreply, State}.

round(Watches, #state{all = All} = State) ->
    Ticks = accept_queue_source:tick(Watches, All),
    Wanting = [Watch || {Watch, {ok, {_, _, _, _, true}}} <- Ticks],
    Told = lists:append([ticked(Tick, All) || Tick <- Ticks] ++ [looked(Look, All) || Look <- accept_queue_source:look(Wanting)]),
    {News, Failing} = lists:foldl(fun news/2, {[], State#state.failing}, Told),
    _ = [report(lists:reverse(News), State) || News =/= []],
    State#state{failing = Failing}.

%% The program leaves out of what there is nothing to say, but for those that only want a look.
ticked({Watch, {ok, {Queued, Limit, Drops, Changes, _}}}, _All) -> [{id(Watch), {tick, {Queued, Limit, Drops}, Changes}}];
ticked({Watch, {error, Reason}}, _All) -> [{id(Watch), {error, Reason}}].

looked({_Watch, {ok, {_Counts, []}}}, false) -> [];
looked({Watch, {ok, {Counts, Changes}}}, _All) -> [{id(Watch), {look, Counts, Changes}}];
%% The next reading of the first tier says so.
looked({_Watch, {error, Reason}}, _All) when Reason =:= closed; Reason =:= lost -> [];
looked({Watch, {error, Reason}}, _All) -> [{id(Watch), {error, Reason}}].

%% What fails is told once, until it works or fails in another way. That the detectors are lost, until they begin anew.
news({Id, {error, Reason}}, {News, Failing}) when Reason =/= lost, map_get(Id, Failing) =:= Reason -> {News, Failing};
news({Id, {error, Reason}} = Told, {News, Failing}) -> {[Told | News], Failing#{Id => Reason}};
news({Id, _} = Told, {News, Failing}) -> {[Told | News], maps:remove(Id, Failing)}.

id(Watch) -> accept_queue_source:watch_id(Watch).

%% Told once more a second later: one that was met while it was being made has to be met again.
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
    Pid ! {accept_queue_patrol, Report}.

%% The next one keeps to the grid, and leaves out what has been missed.
schedule(Interval, DueMs, NowMs) ->
    NextMs = DueMs + Interval * max(1, (NowMs - DueMs) div Interval + 1),
    _ = erlang:send_after(NextMs - NowMs, self(), {tick, Interval, NextMs}),
    ok.

now_ms() -> erlang:monotonic_time(millisecond).
