%% @doc The catalogue of events: what the monitor publishes, as telemetry, alarms, log lines and messages.
%%
%% == Conditions ==
%%
%% `Condition' is `behind', `overflowing', `stuck', `abandoned' or `leaking'; `docs/runbook.md' says when each is raised and
%% cleared and what to do. Each is published once when it begins and once when it ends, also when the publishing process is killed
%% in between:
%% <ul>
%% <li>to subscribers ({@link accept_queue:subscribe/0}): `{accept_queue, raised | cleared, Condition, Details}'. A new subscriber first
%% gets a `raised' for each condition that stands, with `standing => true' in its details; those who were there before get none twice;</li>
%% <li>to SASL's alarm_handler, where it runs or as soon as it does: `{{accept_queue, Condition, Address}, Details}';</li>
%% <li>to logger: a warning (`overflowing' and `stuck': an error), and a notice at the end, or a warning where the listener was closed.
%% The report is `Details' in atoms, numbers, UTF-8 binaries, lists and maps, so that a JSON formatter can encode it, without what is
%% not known. `event' is `<<"accept_queue.condition.raised">>', and so on, as in telemetry; `text' is one line for the person on call,
%% the cause before the figures; `listener' and `name' stand for `address' and `server', and `reasons' is a map. Module and application
%% (`application => accept_queue') are in the metadata: `logger:set_module_level(accept_queue_event, Level)' and
%% `logger:set_application_level(accept_queue, Level)' work;</li>
%% <li>to telemetry: see below.</li>
%% </ul>
%%
%% `Details', below 2,000 words:
%% <ul>
%% <li>`address', and the same as a binary, `listener': `<<"0.0.0.0:8080">>'; `server', its owner, and the same as a binary, `name', where
%% no owner is known that of `listener'; `node'; `time', when it was found, system time in milliseconds. A `server' that is a very large
%% term is `{label, Name}';</li>
%% <li>`queued', `limit', `drops', as {@link accept_queue:depth/1}; the figures of {@link accept_queue:counts/1} where they were taken;</li>
%% <li>`held_ms', how long it has held; `dropped', for want of room since it began, and `dropped_otherwise', with the queue far from
%% full;</li>
%% <li>`acceptors_summary', the pool in short, or `undefined': `waiting_count' in accept; `pool_count' that should be, `undefined' where
%% the pool is not known; `busy_count' of it that do something else; `reasons', the three commonest, `[{Reason, Count}]', as the first
%% element of `parked' in {@link accept_queue:acceptors/1}, or `running'; `examples', one process of each reason, in the same order:
%% `reason', `pid', `current_function', `text'. {@link accept_queue:acceptors/1} has all of them, with their stacks;</li>
%% <li>for `stuck' also `acceptors': `none_waiting', or `waiting' where the VM has lost the wake-up;</li>
%% <li>at the end `duration_ms', and `reason': `recovered'; or why it is watched no longer, `closed', `unwatched' or `stopped', or anew,
%% `rewatched'. Only `recovered' says that the listener is well; otherwise nothing was read, and there are no figures;</li>
%% <li>`overflowing' and `stuck' are about one of the sockets that share the address: `socket', its `cookie', `inode', `fd', `queued'
%% and `limit'.</li>
%% </ul>
%%
%% Events of one listener come in the order in which they happened: a condition is cleared before its listener is removed.
%%
%% == telemetry ==
%%
%% Figures are measurements, everything else is metadata; what is not known is left out. Durations are in milliseconds. `node' is in the
%% metadata of each event, `time' in that of all but samples; `listener' and `name' are where `address' is. Those that are binaries or
%% atoms can be tags: `listener', `name', `node', `condition', `reason', `acceptors'.
%% <table>
%% <tr><td>event</td><td>when</td><td>measurements</td><td>metadata</td><td>what to do</td></tr>
%% <tr><td>`[accept_queue, condition, raised]'</td><td>a condition begins</td><td>the figures of `Details'</td>
%%     <td>`condition', `address', `server', `acceptors_summary', `acceptors'</td><td>`docs/runbook.md'</td></tr>
%% <tr><td>`[accept_queue, condition, cleared]'</td><td>it has ended</td><td>the same, with `duration_ms'</td>
%%     <td>the same</td><td></td></tr>
%% <tr><td>`[accept_queue, sample]'</td><td>each reading, while a handler is attached to it; the first
%%     comes half a minute after it was attached, at the most</td>
%%     <td>`queued', `limit', `drops' (a counter), those of counts when they were taken, and, where
%%     connections are passed to {@link accept_queue:accepted/2}, `waits_count', `waits_max_ms', `waits_p50_ms', `waits_p99_ms'</td>
%%     <td>`address', `server'; `waits', as {@link accept_queue:waits/1}</td>
%%     <td>draw it</td></tr>
%% <tr><td>`[accept_queue, listener, added]', `[accept_queue, listener, removed]'</td><td>a listener is watched, or no
%%     longer</td><td>`count', 1</td><td>`address', `server'; `named => true' where the configuration names it</td><td></td></tr>
%% <tr><td>`[accept_queue, read, failed]'</td><td>a listener cannot be read; once until it can</td><td>`count', 1</td>
%%     <td>`address', `server', `reason'</td><td>see {@link accept_queue:reason()}. `unsupported' of the first listener: there is
%%     no sock_diag, and every listener is watched by its depth alone</td></tr>
%% <tr><td>`[accept_queue, read, recovered]'</td><td>it can be read again</td><td>`count', 1</td><td>`address', `server'</td>
%%     <td></td></tr>
%% <tr><td>`[accept_queue, vm, hung]'</td><td>the heartbeats of this VM were missing for longer than the watchdog allows
%%     (`docs/watchdog.md'), and have come back; once</td><td>`duration_ms', from the last heartbeat before to the first one
%%     after</td><td>`file', a binary: the evidence; or `reason', why it could not be written; `finding', the strongest, with
%%     its `text'</td><td>read the file; `docs/runbook.md'</td></tr>
%% <tr><td>`[accept_queue, poll, late]'</td><td>a reading came late by more than its interval</td><td>`late_ms'</td>
%%     <td></td><td>the machine has too few processors for its work, or has stood still</td></tr>
%% </table>
%%
%% Subscribers also get `{accept_queue, listener, added | removed, Metadata}' and `{accept_queue, vm, hung, Details}', in which
%% what is not known is `undefined'. logger gets listeners and late readings at debug, a warning when a listener cannot be read or one that
%% the configuration names goes, and an error when the VM has hung.
%%
%% == Handlers that crash or hang ==
%%
%% A handler of telemetry or logger runs in the process that calls it. Each of the two has a process of its own here, and
%% neither holds up the other, the monitor, alarms or subscribers. A handler that does not return within five seconds is killed
%% with that process, which is started again and goes on with the other handlers; a warning is logged, at most once an hour.
%% Meanwhile samples wait, at most 1000 of them; the rest is dropped and counted ({@link dropped_samples/0}). Conditions are never
%% dropped: each handler that does not hang gets each of them, also when the process that runs it is killed in between. A handler
%% that was just running then is called again, and so may see one event twice. {@link lost_events/0} counts what a handler or a
%% subscriber did not get.
%%
%% A message to a subscriber on another node is lost where the connection is down or busy.
%%
%% == Frameworks that do not answer ==
%%
%% For `acceptors_summary' a framework may have to be asked. It has 150 milliseconds; then the event is published without, and that
%% listener's is not asked again for 30 seconds. Other events do not wait for it.
-module(accept_queue_event).
-behaviour(gen_server).

-export([new/0, start_link/0]).
-export([raised/2, cleared/2, sample/2, samples_left_out/1, listener/2, read_failed/1, read_recovered/1, late/1, hung/1, wants_samples/0]).
-export([subscribe/1, unsubscribe/1, dropped_samples/0, lost_events/0]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

-export_type([details/0]).

-include_lib("kernel/include/logger.hrl").

-type condition() :: accept_queue:condition().
-type details() :: #{address := accept_queue:address(), atom() => term()}.
-type event() ::
    {raised | cleared, condition(), details()}
    | {listener, added | removed, map()}
    | {read_failed | read_recovered | late | hung | given_up | sample, map()}.

-record(state, {
    dispatchers :: #{logger | telemetry => pid()},
    %% When a warning was last logged that a handler was given up.
    given_up = #{} :: #{logger | telemetry => MonotonicMs :: integer()},
    subscribers = #{} :: #{pid() => Monitor :: reference()},
    %% The next check, soon or not before the next beat.
    check = soon :: soon | {beat, reference()},
    %% When there was more to check than nothing.
    busy_ms :: integer(),
    %% What was found up to here is settled, or waits for the acceptors of its listener.
    seen = none :: accept_queue_event_store:key() | none,
    asking = #{} :: #{accept_queue:address() => asked()},
    askers = #{} :: #{pid() => accept_queue:address()},
    %% Listeners whose acceptors were asked for in vain, and until when they are not asked for again.
    unanswered = #{} :: #{accept_queue:address() => MonotonicMs :: integer()}
}).

-type asked() :: #{asker := pid(), timer := reference(), found := [accept_queue_event_store:key(), ...]}.

%% The channels whose handlers are other people's code.
-define(DISPATCHED, [logger, telemetry]).
-define(CHECK_MS, 2000).
-define(HANDLER_MAX_MS, 5000).
-define(GIVEN_UP_AGAIN_MS, 3600000).
%% A condition is published within 200 ms of being found.
-define(ASK_MS, 150).
-define(ASK_AGAIN_MS, 30000).

%% @private To be called by the process that is to own the tables.
-spec new() -> ok.
new() ->
    ok = accept_queue_event_store:new(),
    accept_queue_samples:new().

%% @private
-spec start_link() -> {ok, pid()} | {error, term()}.
start_link() ->
    accept_queue_child:start_link(?MODULE, [], []).

%% For the monitor. None of these waits for another process.

%% @private
-spec raised(condition(), details()) -> ok.
raised(Condition, Details) ->
    ok = accept_queue_event_store:found({raised, Condition, accept_queue_details:found(Details)}),
    wake().

%% @private
-spec cleared(condition(), details()) -> ok.
cleared(Condition, Details) ->
    ok = accept_queue_event_store:found({cleared, Condition, accept_queue_details:found(Details)}),
    wake().

%% @private
-spec listener(added | removed, map()) -> ok.
listener(So, Metadata) ->
    add_in_order([subscribers, logger, telemetry], {listener, So, accept_queue_details:found(Metadata)}, Metadata).

%% @private
-spec read_failed(map()) -> ok.
read_failed(Metadata) ->
    add_in_order([logger, telemetry], {read_failed, accept_queue_details:found(Metadata)}, Metadata).

%% @private
-spec read_recovered(map()) -> ok.
read_recovered(Metadata) ->
    add_in_order([logger, telemetry], {read_recovered, accept_queue_details:found(Metadata)}, Metadata).

%% @private
-spec late(#{late_ms := non_neg_integer()}) -> ok.
late(Late) ->
    add([logger, telemetry], {late, accept_queue_details:found(Late)}).

%% @private For the port program, when the VM is back.
-spec hung(#{duration_ms := non_neg_integer(), atom() => term()}) -> ok.
hung(Hung) ->
    add([subscribers, logger, telemetry], {hung, accept_queue_details:found(Hung)}).

%% @private
-spec sample(Measurements :: map(), Metadata :: map()) -> ok.
sample(Measurements, Metadata) ->
    case accept_queue_samples:put({sample, maps:merge(Metadata, Measurements)}) of
        first -> wake();
        _ -> ok
    end.

%% @private
-spec samples_left_out(non_neg_integer()) -> ok.
samples_left_out(Count) ->
    accept_queue_samples:left_out(Count).

%% @private As of half a minute ago, at the most.
-spec wants_samples() -> boolean().
wants_samples() ->
    accept_queue_samples:wanted().

%% @private
-spec subscribe(pid()) -> ok | {error, not_running | timeout}.
subscribe(Pid) ->
    accept_queue_call:call(?MODULE, {subscribe, Pid}).

%% @private
-spec unsubscribe(pid()) -> ok | {error, not_running | timeout}.
unsubscribe(Pid) ->
    accept_queue_call:call(?MODULE, {unsubscribe, Pid}).

%% @doc How many samples were left out because the monitor or a handler of telemetry was too slow, since the application was started.
-spec dropped_samples() -> non_neg_integer() | {error, not_running}.
dropped_samples() ->
    accept_queue_samples:dropped().

%% @doc How many times a handler or a subscriber has not had an event, by channel, since the application was started: a handler was
%% given up, ten thousand events waited, or the connection to the subscriber's node was down or busy. Samples do not count.
-spec lost_events() -> #{subscribers | logger | telemetry => non_neg_integer()}.
lost_events() ->
    maps:from_list([{Channel, accept_queue_event_store:lost(Channel)} || Channel <- [subscribers | ?DISPATCHED]]).

add(Channels, Event) ->
    case accept_queue_event_store:add(Channels, Event) of
        ok -> wake();
        dropped -> ok
    end.

%% Events of one listener are published in the order in which they happened.
add_in_order(Channels, Event, #{address := Address}) ->
    case accept_queue_event_store:found(Channels, Event, Address) of
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
    Subscribers = maps:from_list([{Pid, erlang:monitor(process, Pid)} || Pid <- accept_queue_event_store:subscribers()]),
    %% The process before this one may have been killed with work in hand.
    ok = wake(),
    self() ! check,
    Dispatchers = maps:from_list([{Channel, dispatcher(Channel)} || Channel <- ?DISPATCHED]),
    {ok, #state{dispatchers = Dispatchers, subscribers = Subscribers, busy_ms = now_ms()}}.

%% @private
-spec handle_call({subscribe | unsubscribe, pid()} | term(), gen_server:from(), #state{}) -> {reply, ok | {error, badarg}, #state{}}.
handle_call({subscribe, Pid}, _From, #state{subscribers = Subscribers} = State) when is_pid(Pid), not is_map_key(Pid, Subscribers) ->
    %% What is raised and not yet published is among what stands: those who were here before get it first, and the new one once.
    ok = publish_messages(),
    ok = send_standing(Pid),
    ok = accept_queue_event_store:subscribe(Pid),
    {reply, ok, State#state{subscribers = Subscribers#{Pid => erlang:monitor(process, Pid)}}};
handle_call({subscribe, Pid}, _From, State) when is_pid(Pid) ->
    {reply, ok, State};
handle_call({unsubscribe, Pid}, _From, State) when is_pid(Pid) ->
    {reply, ok, unsubscribed(Pid, State)};
handle_call(_, _From, State) ->
    {reply, {error, badarg}, State}.

%% @private
-spec handle_cast(wake | term(), #state{}) -> {noreply, #state{}}.
handle_cast(wake, State) ->
    Settled = settle(State),
    ok = publish(Settled),
    {noreply, check_soon(Settled)};
handle_cast(_, State) ->
    {noreply, State}.

%% @private
-spec handle_info(term(), #state{}) -> {noreply, #state{}}.
handle_info(check, #state{unanswered = Unanswered} = State) ->
    ok = want_samples(accept_queue_telemetry:is_attached([accept_queue, sample])),
    %% alarm_handler may be another process than before.
    ok = accept_queue_alarms:settle(),
    ok = publish_messages(),
    ok = maps:foreach(fun kill_hanging/2, State#state.dispatchers),
    NowMs = now_ms(),
    {noreply, check_later(State#state{unanswered = maps:filter(fun(_, UntilMs) -> UntilMs > NowMs end, Unanswered)})};
handle_info({'DOWN', _, process, Pid, Reason}, #state{askers = Askers} = State) ->
    case Askers of
        #{Pid := Address} -> {noreply, answered(Address, Reason, State)};
        #{} -> {noreply, unsubscribed(Pid, State)}
    end;
handle_info({timeout, _Timer, {asked, Asker}}, State) ->
    %% Its end, or the answer that came meanwhile, follows.
    true = exit(Asker, kill),
    {noreply, State};
handle_info({'EXIT', Pid, _}, #state{dispatchers = Dispatchers} = State) ->
    Ended = [Channel || {Channel, Dispatcher} <- maps:to_list(Dispatchers), Dispatcher =:= Pid],
    {noreply, lists:foldl(fun replace/2, State, Ended)};
handle_info(_, State) ->
    {noreply, State}.

%% @private When it stops in order, watching ends, and no alarm may stay for ever. After a crash the next process keeps them.
-spec terminate(term(), #state{}) -> ok.
terminate(Reason, _State) when Reason =:= normal; Reason =:= shutdown; element(1, Reason) =:= shutdown ->
    accept_queue_alarms:withdraw();
terminate(_Reason, _State) ->
    ok.

%% While nothing stands and no handler runs there is little to check.
check_later(State) ->
    InHand = [Channel || Channel <- ?DISPATCHED, accept_queue_event_store:in_hand(Channel) =/= nothing],
    case InHand =:= [] andalso map_size(accept_queue_event_store:raised()) =:= 0 of
        true ->
            State#state{check = {beat, accept_queue_beat:next(check, State#state.busy_ms)}};
        false ->
            _ = erlang:send_after(?CHECK_MS, self(), check),
            State#state{check = soon, busy_ms = now_ms()}
    end.

check_soon(#state{check = {beat, Timer}} = State) ->
    _ = erlang:cancel_timer(Timer),
    _ = erlang:send_after(?CHECK_MS, self(), check),
    State#state{check = soon, busy_ms = now_ms()};
check_soon(#state{check = soon} = State) ->
    State.

want_samples(Wanted) ->
    case accept_queue_samples:wanted() of
        Wanted ->
            ok;
        _ ->
            ok = accept_queue_samples:wanted(Wanted),
            accept_queue_monitor:samples(Wanted)
    end.

unsubscribed(Pid, #state{subscribers = Subscribers} = State) ->
    ok = accept_queue_event_store:unsubscribe(Pid),
    case maps:take(Pid, Subscribers) of
        {Monitor, Others} ->
            true = erlang:demonitor(Monitor, [flush]),
            State#state{subscribers = Others};
        error ->
            State
    end.

%% Takes up what was found since. The acceptors are asked for in a process of their own and not in the monitor: a framework whose
%% supervisor does not answer takes a second. What was found of one listener is settled in its order.
settle(#state{seen = Seen, asking = Asking, unanswered = Unanswered} = State) ->
    case accept_queue_event_store:next_found(Seen) of
        {ok, Key, Found} ->
            Next = State#state{seen = Key},
            Address = address(Found),
            case Asking of
                #{Address := #{found := Before} = Asked} ->
                    settle(Next#state{asking = Asking#{Address := Asked#{found := Before ++ [Key]}}});
                #{} when element(1, Found) =:= other; is_map_key(Address, Unanswered) ->
                    ok = settle([Key], undefined),
                    settle(Next);
                #{} ->
                    settle(ask(Key, element(3, Found), Next))
            end;
        none ->
            State
    end.

address({other, _, _, Address}) -> Address;
address({_, _, #{address := Address}}) -> Address.

%% The exit of the asking process carries the answer.
-dialyzer({nowarn_function, ask/3}).
ask(Key, #{address := Address} = Details, #state{asking = Asking, askers = Askers} = State) ->
    Of = maps:get(acceptors_of, Details, Address),
    try erlang:spawn_opt(fun() -> exit({answer, acceptors_summary(Of)}) end, [link, monitor]) of
        {Asker, _Monitor} ->
            Timer = erlang:start_timer(?ASK_MS, self(), {asked, Asker}),
            State#state{
                asking = Asking#{Address => #{asker => Asker, timer => Timer, found => [Key]}},
                askers = Askers#{Asker => Address}
            }
    catch
        %% There is no process left.
        error:system_limit ->
            ok = settle([Key], undefined),
            State
    end.

answered(Address, Reason, #state{asking = Asking, askers = Askers, unanswered = Unanswered} = State) ->
    #{Address := #{asker := Asker, timer := Timer, found := Found}} = Asking,
    _ = erlang:cancel_timer(Timer),
    {Summary, NotAgain} =
        case Reason of
            {answer, Answer} -> {Answer, Unanswered};
            killed -> {undefined, Unanswered#{Address => now_ms() + ?ASK_AGAIN_MS}};
            %% The condition is published without it.
            _ -> {undefined, Unanswered}
        end,
    ok = settle(Found, Summary),
    Settled = State#state{
        asking = maps:remove(Address, Asking), askers = maps:remove(Asker, Askers), unanswered = NotAgain
    },
    ok = publish(Settled),
    Settled.

%% Queues the events for each channel, and then makes the alarms agree: what has ended by now is none. Killed in between, the next
%% process does it again.
settle(Keys, Summary) ->
    Ids = [Id || Key <- Keys, {condition, Id} <- [queue(accept_queue_event_store:found_at(Key), Summary)]],
    ok = lists:foreach(fun accept_queue_alarms:settle/1, lists:usort(Ids)),
    lists:foreach(fun accept_queue_event_store:settled/1, Keys).

queue({other, Channels, Event, _Address}, _Summary) ->
    accept_queue_event_store:add(Channels, Event);
queue({So, Condition, #{address := Address} = Found}, Summary) ->
    Id = {Condition, Address},
    Details = with_acceptors(Condition, (maps:remove(acceptors_of, Found))#{acceptors_summary => Summary}),
    Events = [{Channel, {So, Condition, Details}} || Channel <- [subscribers | ?DISPATCHED]],
    ok =
        case So of
            raised -> accept_queue_event_store:raise(Id, Details, Events);
            cleared -> accept_queue_event_store:clear(Id, Events)
        end,
    {condition, Id}.

%% Of these sockets, or of what listens at this address.
acceptors_summary(Of) ->
    case accept_queue_acceptors:summary(Of) of
        {ok, Acceptors} -> accept_queue_details:acceptors(Acceptors);
        {error, _} -> undefined
    end.

with_acceptors(stuck, #{acceptors_summary := #{waiting_count := 0}} = Details) -> Details#{acceptors => none_waiting};
with_acceptors(stuck, #{acceptors_summary := #{}} = Details) -> Details#{acceptors => waiting};
with_acceptors(_, Details) -> Details.

publish(#state{dispatchers = Dispatchers}) ->
    ok = publish_messages(),
    lists:foreach(fun accept_queue_dispatcher:wake/1, maps:values(Dispatchers)).

publish_messages() ->
    case accept_queue_event_store:next(subscribers) of
        {ok, Key, Event} ->
            Message = message(Event),
            ok = lists:foreach(fun(Pid) -> send(Pid, Message, Key) end, accept_queue_event_store:not_sent(Key)),
            ok = accept_queue_event_store:sent_to_all(Key),
            publish_messages();
        none ->
            ok
    end.

send(Pid, Message, Key) ->
    ok = send(Pid, Message),
    accept_queue_event_store:sent(Key, Pid).

%% `nosuspend': a send to another node may suspend the sender.
send(Pid, Message) ->
    case erlang:send(Pid, Message, [nosuspend, noconnect]) of
        ok -> ok;
        _ -> accept_queue_event_store:lost(subscribers, 1)
    end.

send_standing(Pid) ->
    maps:foreach(
        fun({Condition, _}, Details) -> send(Pid, message({raised, Condition, Details#{standing => true}})) end,
        accept_queue_event_store:raised()
    ).

dispatcher(logger) ->
    Next = fun() -> accept_queue_event_store:next(logger) end,
    accept_queue_dispatcher:start_link(logger, Next, fun(Event) -> [{logger, fun() -> log(Event) end}] end);
dispatcher(telemetry) ->
    accept_queue_dispatcher:start_link(telemetry, fun next_for_telemetry/0, fun telemetry_handlers/1).

%% Samples come last.
next_for_telemetry() ->
    case accept_queue_event_store:next(telemetry) of
        {ok, _, _} = Next ->
            Next;
        none ->
            case accept_queue_samples:take() of
                {ok, Sample} -> {ok, sample, Sample};
                none -> none
            end
    end.

%% Its exit starts the next one.
kill_hanging(Channel, Dispatcher) ->
    NowMs = now_ms(),
    case accept_queue_event_store:in_hand(Channel) of
        #{running := {_Handler, SinceMs, _}} when NowMs - SinceMs > ?HANDLER_MAX_MS -> exit(Dispatcher, kill);
        _ -> true
    end.

replace(Channel, #state{dispatchers = Dispatchers} = State) ->
    Warned = warn(Channel, accept_queue_dispatcher:given_up(Channel, ?HANDLER_MAX_MS), State),
    Warned#state{dispatchers = Dispatchers#{Channel := dispatcher(Channel)}}.

warn(_Channel, none, State) ->
    State;
warn(Channel, {Handler, Event, WaitedMs}, #state{given_up = GivenUp} = State) ->
    NowMs = now_ms(),
    case GivenUp of
        #{Channel := BeforeMs} when NowMs - BeforeMs < ?GIVEN_UP_AGAIN_MS ->
            State;
        #{} ->
            Details = #{channel => Channel, handler => Handler, during => element(1, Event), waited_ms => WaitedMs},
            ok = add([logger], {given_up, Details}),
            State#state{given_up = GivenUp#{Channel => NowMs}}
    end.

now_ms() ->
    erlang:monotonic_time(millisecond).

%% The event on each channel.

-spec message(event()) -> tuple().
message({raised, Condition, Details}) -> {accept_queue, raised, Condition, Details};
message({cleared, Condition, Details}) -> {accept_queue, cleared, Condition, Details};
message({listener, So, Metadata}) -> {accept_queue, listener, So, Metadata};
message({hung, Hung}) -> {accept_queue, vm, hung, Hung}.

-spec log(event()) -> ok.
log({cleared, Condition, #{reason := closed} = Details}) -> log(warning, {cleared, Condition}, Details);
log({So, Condition, Details}) when So =:= raised; So =:= cleared -> log(level(So, Condition), {So, Condition}, Details);
log({listener, removed, #{named := true} = Metadata}) -> log(warning, {listener, removed}, Metadata);
log({listener, So, Metadata}) -> log(debug, {listener, So}, Metadata);
log({read_failed, Metadata}) -> log(warning, {read, failed}, Metadata);
log({read_recovered, Metadata}) -> log(notice, {read, recovered}, Metadata);
log({late, Late}) -> log(debug, {poll, late}, Late);
log({hung, Hung}) -> log(error, {vm, hung}, Hung);
log({given_up, Metadata}) -> log(warning, {handler, given_up}, Metadata).

%% The macro: levels that are set for this module or for the application count. In no domain: the default handler stops what is in
%% one that is not OTP's.
log(Level, Event, Details) ->
    ?LOG(Level, accept_queue_details:report(Event, Details), #{
        report_cb => fun accept_queue_text:report/1, application => accept_queue
    }).

level(raised, Condition) when Condition =:= overflowing; Condition =:= stuck -> error;
level(raised, _) -> warning;
level(cleared, _) -> notice.

-spec telemetry_handlers(event()) -> [accept_queue_dispatcher:handler()].
telemetry_handlers({So, Condition, Details}) when So =:= raised; So =:= cleared ->
    telemetry_handlers([accept_queue, condition, So], #{}, Details#{condition => Condition});
telemetry_handlers({listener, So, Metadata}) ->
    telemetry_handlers([accept_queue, listener, So], #{count => 1}, Metadata);
telemetry_handlers({read_failed, Metadata}) ->
    telemetry_handlers([accept_queue, read, failed], #{count => 1}, Metadata);
telemetry_handlers({read_recovered, Metadata}) ->
    telemetry_handlers([accept_queue, read, recovered], #{count => 1}, Metadata);
telemetry_handlers({late, Late}) ->
    telemetry_handlers([accept_queue, poll, late], #{}, Late);
telemetry_handlers({hung, Hung}) ->
    telemetry_handlers([accept_queue, vm, hung], #{}, Hung);
telemetry_handlers({sample, Sample}) ->
    telemetry_handlers([accept_queue, sample], #{}, accept_queue_details:named(Sample)).

telemetry_handlers(Name, Measurements, Known) ->
    Figures = maps:filter(fun is_figure/2, Known),
    Others = maps:filter(fun(Key, Value) -> not is_figure(Key, Value) andalso Value =/= undefined end, Known),
    accept_queue_telemetry:handlers(Name, maps:merge(Measurements, Figures), Others).

is_figure(time, _) -> false;
is_figure(_, Value) -> is_number(Value).
