%% @doc What the monitor finds, told under four roofs: telemetry, alarms, the log, and messages to subscribers.
%%
%% == The catalogue ==
%%
%% <table>
%% <tr><th>event</th><th>telemetry</th><th>alarm</th><th>log</th><th>message</th></tr>
%% <tr><td>a condition begins</td><td>`[accept_queue, condition, raised]'</td>
%%     <td>`{{accept_queue, Condition, Address}, Details}', set once</td><td>warning; `overflowing' and `stuck': error</td>
%%     <td>`{accept_queue, raised, Condition, Details}'</td></tr>
%% <tr><td>it ends</td><td>`[accept_queue, condition, cleared]'</td><td>cleared</td><td>notice</td>
%%     <td>`{accept_queue, cleared, Condition, Details}'</td></tr>
%% <tr><td>a reading</td><td>`[accept_queue, sample]'</td><td></td><td></td><td></td></tr>
%% <tr><td>a listener was found, or has gone</td><td>`[accept_queue, listener, added | removed]'</td><td></td><td>debug</td>
%%     <td>`{accept_queue, listener, added | removed, Details}'</td></tr>
%% <tr><td>a reading failed, the first in a row</td><td>`[accept_queue, read, failed]'</td><td></td><td>warning</td>
%%     <td></td></tr>
%% <tr><td>a tick came late by more than its interval</td><td>`[accept_queue, tick, late]'</td><td></td><td></td>
%%     <td></td></tr>
%% </table>
%%
%% Measurements are the integers among the details: `queued', `limit', `drops', `oldest_wait_ms', `dropped', `held_ms',
%% `duration_ms' (of a condition that has ended), `late_ms'. Metadata are the rest: `condition', `address', `server', `who' (as of
%% {@link accept_queue:acceptors/1}), and for `stuck' `acceptors': `none_waiting' or `waiting'.
%%
%% == Whose code runs where ==
%%
%% Handlers of telemetry and of the logger run in the process that calls them. Here that is a process for each event, which
%% is killed after a second: one that crashes or hangs delays what comes after it by so much, and the monitor not at all.
%% Samples are dropped while events pile up; conditions never are.
%%
%% Telemetry and alarms are used where they are there: `telemetry' where it can be loaded, `alarm_handler' where SASL runs.
%% Alarms that stood before SASL started are set at the next event. They are cleared when the application stops.
-module(accept_queue_event).
-behaviour(gen_server).

-export([new/0, start_link/0, subscribe/1, unsubscribe/1]).
-export([raised/2, cleared/2, sample/2, listener/2, read_failed/1, late/1, wants_samples/0]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

-export_type([details/0]).

-type details() :: #{address := accept_queue:address(), atom() => term()}.

%% Rows: `{{subscriber, Pid}}', `{{alarm, {accept_queue, Condition, Address}}, Details, Handler}'.
-define(TABLE, ?MODULE).
-define(OUTSIDER_MS, 1000).
-define(BACKLOG_MAX, 1000).

%% @private To be called by the process that is to own the table.
-spec new() -> ok.
new() ->
    ?TABLE = ets:new(?TABLE, [named_table, public]),
    ok.

%% @private
-spec start_link() -> {ok, pid()} | {error, term()}.
start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

%% @private
-spec subscribe(pid()) -> ok.
subscribe(Pid) ->
    gen_server:call(?MODULE, {subscribe, Pid}).

%% @private
-spec unsubscribe(pid()) -> ok.
unsubscribe(Pid) ->
    gen_server:call(?MODULE, {unsubscribe, Pid}).

%% @private
-spec raised(accept_queue:condition(), details()) -> ok.
raised(Condition, Details) ->
    gen_server:cast(?MODULE, {condition, raised, Condition, Details}).

%% @private
-spec cleared(accept_queue:condition(), details()) -> ok.
cleared(Condition, Details) ->
    gen_server:cast(?MODULE, {condition, cleared, Condition, Details}).

%% @private
-spec listener(added | removed, details()) -> ok.
listener(Kind, Details) ->
    gen_server:cast(?MODULE, {listener, Kind, Details}).

%% @private
-spec read_failed(details()) -> ok.
read_failed(Details) ->
    gen_server:cast(?MODULE, {read_failed, Details}).

%% @private
-spec late(#{late_ms := pos_integer()}) -> ok.
late(Details) ->
    gen_server:cast(?MODULE, {telemetry, [tick, late], Details}).

%% @private
-spec sample(map(), details()) -> ok.
sample(Figures, Details) ->
    case is_behind() of
        true -> ok;
        false -> gen_server:cast(?MODULE, {telemetry, [sample], maps:merge(Figures, Details)})
    end.

%% @private Whether anybody would see one.
-spec wants_samples() -> boolean().
wants_samples() ->
    telemetry(list_handlers, [[accept_queue, sample]], []) =/= [].

is_behind() ->
    case whereis(?MODULE) of
        undefined ->
            true;
        Pid ->
            case erlang:process_info(Pid, message_queue_len) of
                {message_queue_len, Length} -> Length > ?BACKLOG_MAX;
                undefined -> true
            end
    end.

%% @private
-spec init([]) -> {ok, undefined}.
init([]) ->
    _ = process_flag(trap_exit, true),
    _ = process_flag(message_queue_data, off_heap),
    _ = code:ensure_loaded(telemetry),
    _ = [erlang:monitor(process, Pid) || Pid <- subscribers()],
    {ok, undefined}.

%% @private
-spec handle_call(term(), gen_server:from(), undefined) -> {reply, ok, undefined}.
handle_call({subscribe, Pid}, _From, State) ->
    _ = [erlang:monitor(process, Pid) || ets:insert_new(?TABLE, {{subscriber, Pid}})],
    {reply, ok, State};
handle_call({unsubscribe, Pid}, _From, State) ->
    true = ets:delete(?TABLE, {subscriber, Pid}),
    {reply, ok, State}.

%% @private
-spec handle_cast(term(), undefined) -> {noreply, undefined}.
handle_cast({condition, Kind, Condition, Details}, State) ->
    ok = tell_subscribers({accept_queue, Kind, Condition, Details}),
    ok = alarm(Kind, Condition, Details),
    ok = outside(fun() ->
        log(level(Kind, Condition), {Kind, Condition}, Details),
        telemetry([condition, Kind], Details#{condition => Condition})
    end),
    {noreply, State};
handle_cast({listener, Kind, Details}, State) ->
    ok = tell_subscribers({accept_queue, listener, Kind, Details}),
    ok = outside(fun() ->
        log(debug, {listener, Kind}, Details),
        telemetry([listener, Kind], Details)
    end),
    {noreply, State};
handle_cast({read_failed, Details}, State) ->
    ok = outside(fun() ->
        log(warning, {read, failed}, Details),
        telemetry([read, failed], Details)
    end),
    {noreply, State};
handle_cast({telemetry, Event, Details}, State) ->
    ok = outside(fun() -> telemetry(Event, Details) end),
    {noreply, State}.

%% @private
-spec handle_info(term(), undefined) -> {noreply, undefined}.
handle_info({'DOWN', _, process, Pid, _}, State) ->
    true = ets:delete(?TABLE, {subscriber, Pid}),
    {noreply, State};
handle_info(_, State) ->
    {noreply, State}.

%% @private In order; killed, the alarms stand, and are known to the next one.
-spec terminate(term(), undefined) -> ok.
terminate(_Reason, _State) ->
    _ = [clear_alarm(Id) || [Id] <- ets:match(?TABLE, {{alarm, '$1'}, '_', '_'})],
    ok.

subscribers() ->
    [Pid || [Pid] <- ets:match(?TABLE, {{subscriber, '$1'}})].

tell_subscribers(Message) ->
    lists:foreach(fun(Pid) -> Pid ! Message end, subscribers()).

%% alarm_handler neither knows what has been set already nor remembers it when it is started again; this does.
alarm(raised, Condition, #{address := Address} = Details) ->
    true = ets:insert(?TABLE, {{alarm, {accept_queue, Condition, Address}}, Details, undefined}),
    set_alarms();
alarm(cleared, Condition, #{address := Address}) ->
    ok = clear_alarm({accept_queue, Condition, Address}),
    set_alarms().

set_alarms() ->
    Handler = whereis(alarm_handler),
    [
        begin
            ok = gen_event:notify(alarm_handler, {set_alarm, {Id, Details}}),
            true = ets:insert(?TABLE, {{alarm, Id}, Details, Handler})
        end
     || Handler =/= undefined, {{alarm, Id}, Details, SetAt} <- ets:tab2list(?TABLE), SetAt =/= Handler
    ],
    ok.

clear_alarm(Id) ->
    case {ets:lookup(?TABLE, {alarm, Id}), whereis(alarm_handler)} of
        {[{_, _, Handler}], Handler} when is_pid(Handler) -> gen_event:notify(alarm_handler, {clear_alarm, Id});
        _ -> ok
    end,
    true = ets:delete(?TABLE, {alarm, Id}),
    ok.

%% Handlers that are not ours.
outside(Tell) ->
    {Pid, Monitor} = spawn_monitor(Tell),
    receive
        {'DOWN', Monitor, process, Pid, _} -> ok
    after ?OUTSIDER_MS ->
        exit(Pid, kill),
        receive
            {'DOWN', Monitor, process, Pid, _} -> ok
        end
    end.

level(raised, Condition) when Condition =:= overflowing; Condition =:= stuck -> error;
level(raised, _) -> warning;
level(cleared, _) -> notice.

log(Level, Event, Details) ->
    logger:log(Level, Details#{event => Event}, #{
        domain => [accept_queue],
        report_cb => fun accept_queue_text:report/1
    }).

telemetry(Event, Details) ->
    Measurements = maps:filter(fun(_, Value) -> is_integer(Value) end, Details),
    Metadata = maps:without(maps:keys(Measurements), Details),
    telemetry(execute, [[accept_queue | Event], Measurements, Metadata], ok).

%% Where it is loaded; else nobody listens.
telemetry(Function, Arguments, Absent) ->
    case erlang:function_exported(telemetry, Function, length(Arguments)) of
        true -> apply(telemetry, Function, Arguments);
        false -> Absent
    end.
