%% @doc The catalogue of events: what the monitor publishes, as telemetry, alarms, log lines and messages.
%%
%% == Conditions ==
%%
%% `Condition' is `behind', `overflowing', `stuck', `abandoned' or `leaking'; `docs/alarms.md' says when each is raised and
%% cleared and what to do. Each is published once when it begins and once when it ends, also when the publishing process is killed
%% in between:
%% <ul>
%% <li>to subscribers ({@link accept_queue:subscribe/0}): `{accept_queue, raised | cleared, Condition, Details}';</li>
%% <li>to SASL's alarm_handler, where it runs or as soon as it does: `{{accept_queue, Condition, Address}, Details}';</li>
%% <li>to logger: a warning (`overflowing' and `stuck': an error), and a notice at the end. The
%% report is `Details' with `event', `{raised | cleared, Condition}'; its text is one line for the person on call;</li>
%% <li>to telemetry: see below.</li>
%% </ul>
%%
%% `Details': `address'; `server', its owner's name; `queued', `limit', `drops', as {@link accept_queue:depth/1}; the figures of
%% {@link accept_queue:counts/1} where they were taken; `held_ms', how long it has held; `dropped', for want of room since it
%% began, and `dropped_otherwise', with the queue far from full; `acceptors_summary', {@link accept_queue:acceptors/1} without
%% the stacks, or `undefined'; for `stuck' also `acceptors': `none_waiting', or `waiting' where the VM has lost the wake-up; at
%% the end `duration_ms', and `reason': `recovered'; or why it is watched no longer, `closed', `unwatched' or `stopped', or anew,
%% `rewatched'. Only `recovered' says that the listener is well; otherwise nothing was read, and there are no figures. `overflowing' and
%% `stuck' are about one of the sockets that share the address: `socket', its `cookie', `inode', `fd', `queued' and `limit'.
%%
%% == telemetry ==
%%
%% Figures are measurements, everything else is metadata; what is not known is left out. Durations are in milliseconds.
%% <table>
%% <tr><td>event</td><td>when</td><td>measurements</td><td>metadata</td><td>what to do</td></tr>
%% <tr><td>`[accept_queue, condition, raised]'</td><td>a condition begins</td><td>the figures of `Details'</td>
%%     <td>`condition', `address', `server', `acceptors_summary', `acceptors'</td><td>`docs/alarms.md'</td></tr>
%% <tr><td>`[accept_queue, condition, cleared]'</td><td>it has ended</td><td>the same, with `duration_ms'</td>
%%     <td>the same</td><td></td></tr>
%% <tr><td>`[accept_queue, sample]'</td><td>each reading, while a handler is attached to it</td>
%%     <td>`queued', `limit', `drops' (a counter), and those of counts when they were taken</td><td>`address'</td>
%%     <td>draw it</td></tr>
%% <tr><td>`[accept_queue, listener, added]', `[accept_queue, listener, removed]'</td><td>a listener is watched, or no
%%     longer</td><td>`count', 1</td><td>`address', `server'</td><td></td></tr>
%% <tr><td>`[accept_queue, read, failed]'</td><td>a listener cannot be read; once until it can</td><td>`count', 1</td>
%%     <td>`address', `server', `reason'</td><td>see {@link accept_queue:reason()}. `unsupported' of the first listener: there is
%%     no sock_diag, and every listener is watched by its depth alone</td></tr>
%% <tr><td>`[accept_queue, read, recovered]'</td><td>it can be read again</td><td>`count', 1</td><td>`address', `server'</td>
%%     <td></td></tr>
%% <tr><td>`[accept_queue, vm, hung]'</td><td>the heartbeats of this VM were missing for longer than the watchdog allows
%%     (`docs/watchdog.md'), and have come back; once</td><td>`duration_ms', from the last heartbeat before to the first one
%%     after</td><td>`file', a binary: the evidence; or `reason', why it could not be written; `finding', the strongest, with
%%     its `text'</td><td>read the file; `docs/hung-vm.md'</td></tr>
%% <tr><td>`[accept_queue, poll, late]'</td><td>a reading came late by more than its interval</td><td>`late_ms'</td>
%%     <td></td><td>the machine has too few processors for its work, or has stood still</td></tr>
%% </table>
%%
%% Subscribers also get `{accept_queue, listener, added | removed, Metadata}' and `{accept_queue, vm, hung, Details}', in which
%% what is not known is `undefined'. logger gets listeners and late readings at debug, a warning when a listener cannot be read,
%% and an error when the VM has hung.
%%
%% == Handlers that crash or hang ==
%%
%% A handler of telemetry or logger runs in the process that calls it. Each of the two has a process of its own here, and
%% neither holds up the other, the monitor, alarms or subscribers. A handler that does not return within five seconds is killed
%% with that process, which is started again; a warning is logged, at most once an hour. Meanwhile samples wait, at most 1000 of
%% them; the rest is dropped and counted ({@link dropped_samples/0}). Conditions are never dropped.
%%
%% A message to a subscriber on another node is lost where the connection is down or busy.
-module(accept_queue_event).
-behaviour(gen_server).

-export([new/0, start_link/0]).
-export([raised/2, cleared/2, sample/2, listener/2, read_failed/1, read_recovered/1, late/1, hung/1, wants_samples/0]).
-export([subscribe/1, unsubscribe/1, dropped_samples/0]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

-export_type([details/0]).

-type condition() :: accept_queue:condition().
-type details() :: #{address := accept_queue:address(), atom() => term()}.
-type event() ::
    {raised | cleared, condition(), details()}
    | {listener, added | removed, map()}
    | {read_failed | read_recovered | late | hung | given_up | sample, map()}.

-record(state, {
    dispatchers :: #{logger | telemetry => pid()},
    %% When a warning was last logged that a handler was given up.
    given_up = #{} :: #{logger | telemetry => MonotonicMs :: integer()}
}).

%% The channels whose handlers are other people's code.
-define(DISPATCHED, [logger, telemetry]).
-define(CHECK_MS, 2000).
-define(HANDLER_MAX_MS, 5000).
-define(GIVEN_UP_AGAIN_MS, 3600000).

%% @private To be called by the process that is to own the tables.
-spec new() -> ok.
new() ->
    ok = accept_queue_event_store:new(),
    accept_queue_samples:new().

%% @private
-spec start_link() -> {ok, pid()} | {error, term()}.
start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

%% For the monitor. None of these waits for another process.

%% @private
-spec raised(condition(), details()) -> ok.
raised(Condition, Details) ->
    ok = accept_queue_event_store:found({raised, Condition, Details}),
    wake().

%% @private
-spec cleared(condition(), details()) -> ok.
cleared(Condition, Details) ->
    ok = accept_queue_event_store:found({cleared, Condition, Details}),
    wake().

%% @private
-spec listener(added | removed, map()) -> ok.
listener(removed, Metadata) ->
    %% After what was cleared of it, which may still wait for its details.
    ok = accept_queue_event_store:found({listener, removed, Metadata}),
    wake();
listener(So, Metadata) ->
    add([subscribers, logger, telemetry], {listener, So, Metadata}).

%% @private
-spec read_failed(map()) -> ok.
read_failed(Metadata) ->
    add([logger, telemetry], {read_failed, Metadata}).

%% @private
-spec read_recovered(map()) -> ok.
read_recovered(Metadata) ->
    add([logger, telemetry], {read_recovered, Metadata}).

%% @private
-spec late(#{late_ms := non_neg_integer()}) -> ok.
late(Late) ->
    add([logger, telemetry], {late, Late}).

%% @private For the port program, when the VM is back.
-spec hung(#{duration_ms := non_neg_integer(), atom() => term()}) -> ok.
hung(Hung) ->
    add([subscribers, logger, telemetry], {hung, Hung}).

%% @private
-spec sample(Measurements :: map(), Metadata :: map()) -> ok.
sample(Measurements, Metadata) ->
    case accept_queue_samples:put({sample, maps:merge(Metadata, Measurements)}) of
        first -> wake();
        _ -> ok
    end.

%% @private As of two seconds ago.
-spec wants_samples() -> boolean().
wants_samples() ->
    accept_queue_samples:wanted().

%% @private
-spec subscribe(pid()) -> ok.
subscribe(Pid) ->
    gen_server:call(?MODULE, {subscribe, Pid}).

%% @private
-spec unsubscribe(pid()) -> ok.
unsubscribe(Pid) ->
    gen_server:call(?MODULE, {unsubscribe, Pid}).

%% @doc How many samples found no place because a handler of telemetry was too slow, since the application was started.
-spec dropped_samples() -> non_neg_integer().
dropped_samples() ->
    accept_queue_samples:dropped().

add(Channels, Event) ->
    case accept_queue_event_store:add(Channels, Event) of
        ok -> wake();
        dropped -> ok
    end.

%% The event is in a table: a process that is just being restarted finds it there.
wake() ->
    gen_server:cast(?MODULE, wake).

%% The process.

%% @private
-spec init([]) -> {ok, #state{}}.
init([]) ->
    _ = process_flag(trap_exit, true),
    _ = [erlang:monitor(process, Pid) || Pid <- accept_queue_event_store:subscribers()],
    %% The process before this one may have been killed with work in hand.
    ok = wake(),
    self() ! check,
    {ok, #state{dispatchers = maps:from_list([{Channel, dispatcher(Channel)} || Channel <- ?DISPATCHED])}}.

%% @private
-spec handle_call({subscribe | unsubscribe, pid()}, gen_server:from(), #state{}) -> {reply, ok, #state{}}.
handle_call({subscribe, Pid}, _From, State) ->
    case lists:member(Pid, accept_queue_event_store:subscribers()) of
        true ->
            {reply, ok, State};
        false ->
            ok = accept_queue_event_store:subscribe(Pid),
            _ = erlang:monitor(process, Pid),
            {reply, ok, State}
    end;
handle_call({unsubscribe, Pid}, _From, State) ->
    {reply, accept_queue_event_store:unsubscribe(Pid), State}.

%% @private
-spec handle_cast(wake, #state{}) -> {noreply, #state{}}.
handle_cast(wake, State) ->
    ok = settle(),
    ok = publish_alarms(),
    ok = publish_messages(),
    ok = lists:foreach(fun accept_queue_dispatcher:wake/1, maps:values(State#state.dispatchers)),
    {noreply, State}.

%% @private
-spec handle_info(term(), #state{}) -> {noreply, #state{}}.
handle_info(check, State) ->
    _ = erlang:send_after(?CHECK_MS, self(), check),
    ok = want_samples(accept_queue_telemetry:is_attached([accept_queue, sample])),
    ok = publish_alarms(),
    ok = publish_messages(),
    NowMs = erlang:monotonic_time(millisecond),
    {noreply, lists:foldl(fun(Channel, So) -> kill_hanging(Channel, NowMs, So) end, State, ?DISPATCHED)};
handle_info({'DOWN', _, process, Pid, _}, State) ->
    ok = accept_queue_event_store:unsubscribe(Pid),
    {noreply, State};
handle_info({'EXIT', Pid, _}, #state{dispatchers = Dispatchers} = State) ->
    Replaced = maps:from_list([{Channel, dispatcher(Channel)} || {Channel, Ended} <- maps:to_list(Dispatchers), Ended =:= Pid]),
    {noreply, State#state{dispatchers = maps:merge(Dispatchers, Replaced)}};
handle_info(_, State) ->
    {noreply, State}.

%% @private When it stops in order, watching ends, and no alarm may stay for ever. After a crash the next process keeps them.
-spec terminate(term(), #state{}) -> ok.
terminate(Reason, _State) when Reason =:= normal; Reason =:= shutdown; element(1, Reason) =:= shutdown ->
    accept_queue_alarms:withdraw();
terminate(_Reason, _State) ->
    ok.

want_samples(Wanted) ->
    case accept_queue_samples:wanted() of
        Wanted ->
            ok;
        _ ->
            ok = accept_queue_samples:wanted(Wanted),
            accept_queue_monitor:samples(Wanted)
    end.

%% Adds the summary of the acceptors, and queues the event for each channel. The acceptors are asked for here and not in the
%% monitor: a framework whose supervisor does not answer takes a second.
settle() ->
    case accept_queue_event_store:next_found() of
        {ok, Key, {listener, _, _} = Event} ->
            _ = accept_queue_event_store:add([subscribers | ?DISPATCHED], Event),
            ok = accept_queue_event_store:settled(Key),
            settle();
        {ok, Key, {So, Condition, #{address := Address} = Found}} ->
            Id = {Condition, Address},
            Summary = acceptors_summary(maps:get(acceptors_of, Found, Address)),
            Details = with_acceptors(Condition, (maps:remove(acceptors_of, Found))#{acceptors_summary => Summary}),
            Events = [{Channel, {So, Condition, Details}} || Channel <- [subscribers | ?DISPATCHED]],
            ok =
                case So of
                    raised -> accept_queue_event_store:raise(Id, Details, Events);
                    cleared -> accept_queue_event_store:clear(Id, Events)
                end,
            ok = accept_queue_event_store:settled(Key),
            settle();
        none ->
            ok
    end.

%% Without the stacks, which may be a thousand: {@link accept_queue:acceptors/1} has them.
acceptors_summary(Listener) ->
    try accept_queue:acceptors(Listener) of
        {ok, #{busy := Busy} = Acceptors} ->
            Acceptors#{busy := [maps:with([pid, parked, current_function, registered_name], Pid) || Pid <- Busy]};
        {error, _} ->
            undefined
    catch
        %% The condition is published without it. A crash here would repeat after each restart.
        _:_ -> undefined
    end.

with_acceptors(stuck, #{acceptors_summary := #{waiting_count := 0}} = Details) -> Details#{acceptors => none_waiting};
with_acceptors(stuck, #{acceptors_summary := #{}} = Details) -> Details#{acceptors => waiting};
with_acceptors(_, Details) -> Details.

publish_alarms() ->
    ok = accept_queue_alarms:settle(),
    accept_queue_event_store:forget_cleared().

publish_messages() ->
    case accept_queue_event_store:take(subscribers) of
        {ok, Event} ->
            %% `nosuspend': a send to another node may suspend the sender.
            _ = [erlang:send(Pid, message(Event), [nosuspend, noconnect]) || Pid <- accept_queue_event_store:subscribers()],
            publish_messages();
        none ->
            ok
    end.

dispatcher(logger) ->
    ok = accept_queue_event_store:published(logger),
    accept_queue_dispatcher:start_link(logger, fun() -> accept_queue_event_store:take(logger) end, fun log/1);
dispatcher(telemetry) ->
    ok = accept_queue_event_store:published(telemetry),
    accept_queue_dispatcher:start_link(telemetry, fun next_for_telemetry/0, fun execute/1).

%% Samples come last.
next_for_telemetry() ->
    case accept_queue_event_store:take(telemetry) of
        {ok, _} = Taken -> Taken;
        none -> accept_queue_samples:take()
    end.

%% The exit of the killed process starts the next one.
kill_hanging(Channel, NowMs, #state{dispatchers = Dispatchers, given_up = GivenUp} = State) ->
    case accept_queue_event_store:publishing(Channel) of
        {SinceMs, Event} when NowMs - SinceMs > ?HANDLER_MAX_MS ->
            true = exit(maps:get(Channel, Dispatchers), kill),
            case GivenUp of
                #{Channel := BeforeMs} when NowMs - BeforeMs < ?GIVEN_UP_AGAIN_MS ->
                    State;
                #{} ->
                    Details = #{channel => Channel, during => element(1, Event), waited_ms => NowMs - SinceMs},
                    ok = add([logger], {given_up, Details}),
                    State#state{given_up = GivenUp#{Channel => NowMs}}
            end;
        _ ->
            State
    end.

%% The event on each channel.

-spec message(event()) -> tuple().
message({raised, Condition, Details}) -> {accept_queue, raised, Condition, Details};
message({cleared, Condition, Details}) -> {accept_queue, cleared, Condition, Details};
message({listener, So, Metadata}) -> {accept_queue, listener, So, Metadata};
message({hung, Hung}) -> {accept_queue, vm, hung, Hung}.

-spec log(event()) -> ok.
log({cleared, Condition, #{reason := closed} = Details}) -> log(warning, {cleared, Condition}, Details);
log({So, Condition, Details}) when So =:= raised; So =:= cleared -> log(level(So, Condition), {So, Condition}, Details);
log({listener, So, Metadata}) -> log(debug, {listener, So}, Metadata);
log({read_failed, Metadata}) -> log(warning, {read, failed}, Metadata);
log({read_recovered, Metadata}) -> log(notice, {read, recovered}, Metadata);
log({late, Late}) -> log(debug, {poll, late}, Late);
log({hung, Hung}) -> log(error, {vm, hung}, Hung);
log({given_up, Metadata}) -> log(warning, {handler, given_up}, Metadata).

log(Level, Event, Report) ->
    %% In no domain: the default handler stops what is in one that is not OTP's.
    logger:log(Level, Report#{event => Event}, #{report_cb => fun accept_queue_text:report/1}).

level(raised, Condition) when Condition =:= overflowing; Condition =:= stuck -> error;
level(raised, _) -> warning;
level(cleared, _) -> notice.

-spec execute(event()) -> ok.
execute({So, Condition, Details}) when So =:= raised; So =:= cleared ->
    execute([accept_queue, condition, So], #{}, Details#{condition => Condition});
execute({listener, So, Metadata}) ->
    execute([accept_queue, listener, So], #{count => 1}, Metadata);
execute({read_failed, Metadata}) ->
    execute([accept_queue, read, failed], #{count => 1}, Metadata);
execute({read_recovered, Metadata}) ->
    execute([accept_queue, read, recovered], #{count => 1}, Metadata);
execute({late, Late}) ->
    execute([accept_queue, poll, late], #{}, Late);
execute({hung, Hung}) ->
    execute([accept_queue, vm, hung], #{}, Hung);
execute({sample, Sample}) ->
    execute([accept_queue, sample], #{}, Sample).

execute(Name, Measurements, Known) ->
    Figures = maps:filter(fun(_, Value) -> is_number(Value) end, Known),
    Others = maps:filter(fun(_, Value) -> not is_number(Value) andalso Value =/= undefined end, Known),
    accept_queue_telemetry:execute(Name, maps:merge(Measurements, Figures), Others).
