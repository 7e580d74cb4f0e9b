%% @private
%% Polls what the port program watches, and reports what has changed: what the poller thread of the library is to the NIF, with
%% the same messages.
%%
%% It ends with the process that it reports to.
-module(accept_queue_poller).
-behaviour(gen_server).

-export([start_link/0, watch/3, is_running/1, silence_ms/1, samples_taken/1, is_process/2]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

-export_type([poller/0]).

%% The process, and what others read of it without asking it.
-opaque poller() :: {pid(), atomics:atomics_ref()}.

-record(state, {
    reports_to :: pid(),
    atomics :: atomics:atomics_ref(),
    watches = #{} :: #{IntervalMs :: pos_integer() => [accept_queue_source:watch()]},
    %% Whether readings that change nothing are reported too.
    samples = false :: boolean(),
    %% Which cannot be read, and the reason that was reported.
    failing = #{} :: #{accept_queue_source:watch_id() | {census, accept_queue_source:watch_id()} => accept_queue:reason() | lost},
    listening = [] :: [accept_queue:cookie()],
    has_just_changed = false :: boolean(),
    %% The last request timed out.
    is_unanswered = false :: boolean()
}).

-define(SEARCH_MS, 1000).

%% When it last began a round, whether samples are under way, and how many were left out meanwhile.
-define(LAST_ROUND_MS, 1).
-define(UNDER_WAY, 2).
-define(LEFT_OUT, 3).

%% Reports to the caller.
-spec start_link() -> {ok, poller()}.
start_link() ->
    Atomics = atomics:new(3, []),
    %% One that reported to a process that was just killed is about to end, and may still be in the middle of a poll.
    case accept_queue_child:start_link(?MODULE, {self(), Atomics}, []) of
        {ok, Pid} ->
            {ok, {Pid, Atomics}};
        {error, {already_started, Before}} ->
            Monitor = erlang:monitor(process, Before),
            receive
                {'DOWN', Monitor, process, Before, _} -> start_link()
            end
    end.

%% Replaces what is polled. Each watch has its own interval. `Samples': readings that change nothing are reported too, at the pace of each.
-spec watch(poller(), [accept_queue_source:watch()], Samples :: boolean()) -> ok.
watch({Pid, _}, Watches, Samples) ->
    gen_server:cast(Pid, {watch, Watches, Samples}).

-spec is_running(poller()) -> boolean().
is_running({Pid, _}) -> is_process_alive(Pid).

-spec is_process(poller(), pid()) -> boolean().
is_process({Pid, _}, Other) -> Pid =:= Other.

-spec silence_ms(poller()) -> non_neg_integer().
silence_ms({_, Atomics}) -> max(0, now_ms() - atomics:get(Atomics, ?LAST_ROUND_MS)).

-spec samples_taken(poller()) -> non_neg_integer().
samples_taken({_, Atomics}) ->
    ok = atomics:put(Atomics, ?UNDER_WAY, 0),
    atomics:exchange(Atomics, ?LEFT_OUT, 0).

-spec init({pid(), atomics:atomics_ref()}) -> {ok, #state{}}.
init({ReportsTo, Atomics}) ->
    self() ! search,
    State = #state{reports_to = ReportsTo, atomics = Atomics},
    ok = round_begins(State),
    {ok, State}.

-spec handle_call(term(), gen_server:from(), #state{}) -> {reply, {error, badarg}, #state{}}.
handle_call(_, _From, State) ->
    {reply, {error, badarg}, State}.

-spec handle_cast({watch, [accept_queue_source:watch()], boolean()} | term(), #state{}) -> {noreply, #state{}}.
handle_cast({watch, Watches, Samples}, #state{watches = Before} = State) ->
    ByInterval = maps:groups_from_list(fun accept_queue_source:interval_ms/1, Watches),
    NowMs = now_ms(),
    _ = [schedule(Interval, NowMs, NowMs) || Interval <- maps:keys(ByInterval), not is_map_key(Interval, Before)],
    {noreply, State#state{watches = ByInterval, samples = Samples, failing = still_failing(Watches, State)}};
handle_cast(_, State) ->
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}}.
handle_info({poll, Interval, DueMs}, #state{watches = ByInterval} = State) ->
    case ByInterval of
        #{Interval := Watches} ->
            NowMs = now_ms(),
            ok = round_begins(State),
            _ = [report({late, NowMs - DueMs}, State) || NowMs - DueMs > Interval],
            Polled = poll(Watches, State),
            ok = schedule(Interval, DueMs, NowMs),
            {noreply, Polled};
        #{} ->
            {noreply, State}
    end;
handle_info(search, State) ->
    _ = erlang:send_after(?SEARCH_MS, self(), search),
    ok = round_begins(State),
    {noreply, search(State)};
handle_info(_, State) ->
    {noreply, State}.

%% A listener that is closed once more is reported once more.
still_failing(Watches, #state{failing = Failing}) ->
    Ids = maps:from_keys([id(Watch) || Watch <- Watches], true),
    maps:filter(
        fun
            ({census, Id}, _) -> is_map_key(Id, Ids);
            (Id, Reason) -> is_map_key(Id, Ids) andalso Reason =/= closed
        end,
        Failing
    ).

poll(Watches, State) ->
    Readings = accept_queue_source:read(Watches, wanted(Watches, State)),
    Censuses = accept_queue_source:census([Watch || {Watch, {ok, {_, _, _, _, true, _}}} <- Readings]),
    Reports = lists:flatmap(fun(Reading) -> reading(Reading, State) end, Readings) ++ lists:flatmap(fun census/1, Censuses),
    Notices = [Notice || {news, Notice} <- Reports],
    {News, Failing} = lists:foldl(fun unless_reported/2, {[], State#state.failing}, Notices),
    ok = samples([Sample || {sample, Sample} <- Reports, State#state.samples], State),
    _ = [report(lists:reverse(News), State) || News =/= []],
    State#state{failing = Failing, is_unanswered = lists:any(fun({_, Answer}) -> Answer =:= {error, timeout} end, Readings)}.

%% A program that was stopped has read all the same what timed out here: to it nothing is new, so it is asked for all.
wanted(Watches, #state{failing = Failing, samples = Samples}) ->
    case {lists:any(fun(Watch) -> is_map_key(id(Watch), Failing) end, Watches), Samples} of
        {true, _} -> all;
        {false, true} -> samples;
        {false, false} -> news
    end.

samples([], _State) ->
    ok;
samples(Samples, #state{atomics = Atomics} = State) ->
    case atomics:exchange(Atomics, ?UNDER_WAY, 1) of
        0 ->
            _ = report({samples, Samples}, State),
            ok;
        1 ->
            atomics:add(Atomics, ?LEFT_OUT, length(Samples))
    end.

reading({Watch, {ok, {Queued, Limit, Drops, Changes, _, Kind}}}, #state{failing = Failing}) ->
    Id = id(Watch),
    Notice = {Id, {reading, {Queued, Limit, Drops}, Changes}},
    case Kind of
        _ when is_map_key(Id, Failing) -> [{news, Notice}];
        quiet -> [];
        _ -> [{Kind, Notice}]
    end;
reading({Watch, {error, Reason}}, _State) ->
    [{news, {id(Watch), {error, Reason}}}].

census({Watch, {ok, {_Counts, [], quiet}}}) -> [{news, {id(Watch), census_recovered}}];
census({Watch, {ok, {Counts, Changes, Kind}}}) -> [{news, {id(Watch), census_recovered}}, {Kind, {id(Watch), {census, Counts, Changes}}}];
%% The next reading of the depth says so.
census({_Watch, {error, Reason}}) when Reason =:= closed; Reason =:= lost -> [];
census({Watch, {error, Reason}}) -> [{news, {id(Watch), {census_error, Reason}}}].

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
            State#state{listening = Now, has_just_changed = Changed, is_unanswered = false};
        {error, Reason} ->
            State#state{is_unanswered = Reason =:= timeout}
    end.

%% What was not answered has read nothing. The monitor, which notes what cannot be read, may itself be waiting for the program.
round_begins(#state{is_unanswered = true}) ->
    ok;
round_begins(#state{atomics = Atomics}) ->
    atomics:put(Atomics, ?LAST_ROUND_MS, now_ms()).

report(Report, #state{reports_to = Pid}) ->
    Pid ! {accept_queue_poller, Report}.

%% On a grid of the interval: polls that were missed are left out.
schedule(Interval, DueMs, NowMs) ->
    NextMs = DueMs + Interval * max(1, (NowMs - DueMs) div Interval + 1),
    _ = erlang:send_after(NextMs - NowMs, self(), {poll, Interval, NextMs}),
    ok.

now_ms() -> erlang:monotonic_time(millisecond).
