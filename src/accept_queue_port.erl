%% @private
%% The port program: a process of the operating system that reads the sockets of this VM from outside.
%%
%% A call is answered within five seconds, or is `{error, timeout}'; at once where the program is known to be away: `not_loaded' where
%% the last one has ended before its first frame, as one of another processor or libc does. The program is started again when it ends,
%% at most once a second, and after longer and longer pauses while none sends a frame. Its end is logged once a minute at most. Only a few requests are under way at once, the others wait here: a program
%% that is stopped holds up its callers only, and its late answers are dropped.
%%
%% Its frames are decoded with `safe': {@link words/0} makes sure that this VM has every atom that it may use.
-module(accept_queue_port).
-behaviour(gen_server).

-include_lib("kernel/include/logger.hrl").

-export([new/0, start_link/0, program/0, call/2, cast/2, heartbeat/0, cannot_run/0, os_pid/0, words/0]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

-record(state, {
    port :: port() | undefined,
    %% The error of calls while there is no program.
    away = timeout :: timeout | not_loaded,
    %% Whether the program has sent its first frame.
    ready = false :: boolean(),
    next = 1 :: pos_integer(),
    calls = #{} :: #{pos_integer() => {gen_server:from() | cast, reference()}},
    %% Requests under way, also those whose callers have timed out; and those that are not sent yet.
    sent = #{} :: #{pos_integer() => true},
    waiting = queue:new() :: queue:queue({pos_integer(), binary()})
}).

-define(TABLE, ?MODULE).
-define(HELLO, {accept_queue, 3}).
-define(CALL_MS, 5000).
-define(RESTART_MS, 1000).
-define(RESTART_MAX_MS, 30000).
-define(LOG_MS, 60000).
%% More gain nothing: the program answers one after the other.
-define(UNDER_WAY, 16).
%% As native/cli/src/port/inbox.rs has it.
-define(FRAME_BYTES, 1048576).

%% To be called by the process that is to own the table.
-spec new() -> ok.
new() ->
    accept_queue_memory:table(?TABLE, [], []).

-spec start_link() -> {ok, pid()} | {error, term()}.
start_link() ->
    accept_queue_child:start_link(?MODULE, [], []).

%% Where the program is; `undefined' where it was not built.
-spec program() -> file:filename() | undefined.
program() ->
    Path = filename:join(accept_queue_nif:priv_dir(), "accept-queue"),
    case filelib:is_regular(Path) of
        true -> Path;
        false -> undefined
    end.

%% The program's answer; native/cli/src/port/commands.rs has the commands.
-spec call(atom(), [term()]) -> term() | {error, timeout | not_loaded | badarg | accept_queue:reason()}.
call(Command, Arguments) ->
    try
        %% The server keeps the time, so that no answer comes after it, and has a second for that.
        gen_server:call(?MODULE, {Command, Arguments}, ?CALL_MS + 1000)
    catch
        exit:_ -> {error, timeout}
    end.

%% Drops the answer.
-spec cast(atom(), [term()]) -> ok.
cast(Command, Arguments) ->
    gen_server:cast(?MODULE, {Command, Arguments}).

%% Sends a heartbeat from the caller's process, past all requests: neither a queue nor a busy program delays it.
-spec heartbeat() -> sent | lost.
heartbeat() ->
    try ets:lookup(?TABLE, port) of
        [{port, Port}] ->
            case submit(Port, term_to_binary(heartbeat)) of
                true -> sent;
                false -> lost
            end;
        [] ->
            lost
    catch
        %% The application is being stopped.
        error:badarg -> lost
    end.

%% The last program has ended before its first frame. From memory.
-spec cannot_run() -> boolean().
cannot_run() ->
    try
        noted(mute, 0) > 0
    catch
        %% The application is being stopped.
        error:badarg -> false
    end.

-spec os_pid() -> pos_integer() | undefined.
os_pid() ->
    case accept_queue_call:call(?MODULE, os_pid) of
        {error, _} -> undefined;
        OsPid -> OsPid
    end.

%% Every atom that the program may use: `rustler::atoms!' and core's words, as native/cli/src/port/words.rs has them.
-spec words() -> [atom()].
words() ->
    [
        accept_queue, event, malformed, panicked, watchdog, hung, duration_ms, file, reason, finding, ok, error, true, false, undefined, badarg, lost,
        already_written, unsupported, not_listening, closed, not_found, eacces, eperm, truncated, interrupted, timeout,
        errno, eafnosupport, eagain, ebadf, ebadmsg, ebusy, econnrefused, efault, eintr, einval, eio, eisdir, eloop, emfile,
        enametoolong, enfile, enobufs, enodev, enoent, enomem, enoprotoopt, enosys, enotconn, enotdir, enotsock, eopnotsupp,
        eoverflow, eprotonosupport, esocktnosupport, esrch, etimedout, eunknown,
        address, local, cookie, inode, fd, queued, limit, drops,
        syn_recv, queued_alive, queued_closed, queued_reset, queued_bytes, oldest_wait_ms, established, close_wait, sockets,
        full, nobody_accepts, behind, left, leaking,
        peer, recv_bytes, age_ms,
        somaxconn, tcp_max_syn_backlog, tcp_abort_on_overflow, tcp_syncookies, tcp_synack_retries, listen_overflows,
        listen_drops, tcp_req_q_full_drop, tcp_req_q_full_do_cookies, syncookies_sent, syncookies_recv, syncookies_failed,
        interval_ms, census_ms, max_wait_ms, for_ms, stuck_ms, abandoned_ratio, abandoned_min, close_wait_max, clear_ms, sample_ms, news, sample, quiet,
        overflowing, stuck, abandoned, raised, cleared, held_ms, dropped, dropped_otherwise, socket, depth, counts, conditions, window,
        min, max, mean, peak_ago_ms, watched_ms, read_ago_ms, counts_ago_ms, census_every_ms,
        waits, count, sum_ms, max_ms, p50_ms, p99_ms, buckets, infinity,
        backlog_wraps, default_backlog, somaxconn_clips, drain_time, one_acceptor, many_acceptors, abort_on_overflow,
        no_syncookies, requested, pool, waiting_acceptors, drain_time_ms, patience_ms, id, severity, text, evidence, info,
        warning,
        process_ended, cgroup_frozen, process_stopped, descriptors_exhausted, scheduler_blocked, scheduler_spinning,
        no_heartbeat, event_not_handled, unattended_pollset, nobody_polls, never_accepted, nobody_in_accept, pool_at_limit, queue_full,
        clients_gone, close_wait_held, dirty_schedulers_exhausted, backlog_clipped, cannot_tell, scheduler_busy, healthy
    ].

-spec init([]) -> {ok, #state{}}.
init([]) ->
    _ = process_flag(trap_exit, true),
    {ok, start(#state{})}.

-spec handle_call(term(), gen_server:from(), #state{}) -> {noreply, #state{}} | {reply, term(), #state{}}.
handle_call(os_pid, _From, #state{port = Port} = State) ->
    Pid =
        case Port =/= undefined andalso erlang:port_info(Port, os_pid) of
            {os_pid, OsPid} -> OsPid;
            _ -> undefined
        end,
    {reply, Pid, State};
handle_call({_Command, _Arguments}, _From, #state{port = undefined, away = Reason} = State) ->
    {reply, {error, Reason}, State};
handle_call({_Command, _Arguments} = Request, From, State) ->
    {noreply, requested(Request, From, State)};
handle_call(_, _From, State) ->
    {reply, {error, badarg}, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(_Request, #state{port = undefined} = State) ->
    {noreply, State};
handle_cast({_Command, _Arguments} = Request, State) ->
    {noreply, requested(Request, cast, State)};
handle_cast(_, State) ->
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}}.
handle_info({Port, {data, Frame}}, #state{port = Port} = State) ->
    case decoded(Frame) of
        {ok, Term} -> {noreply, send(received(Term, State))};
        error -> {noreply, ended("it sent a frame that is no term of the protocol", State)}
    end;
handle_info({Port, {exit_status, Status}}, #state{port = Port} = State) ->
    {noreply, ended(io_lib:format("exit status ~b", [Status]), State)};
%% A write to a program that has ended, before its exit status came: it never comes then.
handle_info({'EXIT', Port, Reason}, #state{port = Port} = State) ->
    {noreply, ended(io_lib:format("a write to it failed: ~0tp", [Reason]), State)};
handle_info({timeout, _Timer, Ref}, #state{calls = Calls} = State) ->
    case maps:take(Ref, Calls) of
        {{From, _}, Others} ->
            ok = reply(From, {error, timeout}),
            {noreply, forget(State#state{calls = Others})};
        error ->
            {noreply, State}
    end;
handle_info(start, #state{port = undefined} = State) ->
    {noreply, start(State)};
handle_info(_, State) ->
    {noreply, State}.

-spec terminate(term(), #state{}) -> ok.
terminate(_Reason, #state{} = State) ->
    _ = stop(State),
    ok.

%% Starting and ending.

%% The table has the time of the last start, how many programs in a row have sent no frame, and when an end was logged, so that a kill
%% of this server makes nothing more frequent.
start(State) ->
    NowMs = erlang:monotonic_time(millisecond),
    PauseMs = min(?RESTART_MAX_MS, ?RESTART_MS bsl min(16, max(0, noted(mute, 0) - 1))),
    case noted(started, NowMs - PauseMs) of
        LastMs when NowMs - LastMs < PauseMs ->
            _ = erlang:send_after(LastMs + PauseMs - NowMs, self(), start),
            State;
        _ ->
            true = ets:insert(?TABLE, {started, NowMs}),
            open(State)
    end.

noted(Key, Default) ->
    case ets:lookup(?TABLE, Key) of
        [{Key, Noted}] -> Noted;
        [] -> Default
    end.

open(State) ->
    try
        Port = open_port({spawn_executable, program()}, [
            {args, ["port", "--vm", os:getpid()] ++ accept_queue_watchdog:arguments()},
            {packet, 4},
            binary,
            exit_status,
            hide
        ]),
        State#state{port = Port, ready = false}
    catch
        error:Reason -> ended(io_lib:format("it cannot be started: ~0tp", [Reason]), State)
    end.

%% Those who wait get their error now.
ended(Why, #state{calls = Calls, ready = WasReady} = State) ->
    _ = stop(State),
    Away = if WasReady -> timeout; true -> not_loaded end,
    _ = [unanswered(Call, Away) || Call <- maps:values(Calls)],
    ok = log(Why),
    _ = [ets:update_counter(?TABLE, mute, 1, {mute, 0}) || not WasReady],
    start(State#state{port = undefined, away = Away, ready = false, calls = #{}, sent = #{}, waiting = queue:new()}).

stop(#state{port = undefined}) ->
    true;
stop(#state{port = Port}) ->
    true = ets:delete(?TABLE, port),
    try
        port_close(Port)
    catch
        error:badarg -> true
    end.

unanswered({From, Timer}, Reason) ->
    _ = erlang:cancel_timer(Timer),
    reply(From, {error, Reason}).

%% Once until it works again, and once a minute where it works and ends by turns.
log(Why) ->
    NowMs = erlang:monotonic_time(millisecond),
    case noted(mute, 0) =:= 0 andalso NowMs - noted(logged, NowMs - ?LOG_MS) >= ?LOG_MS of
        true ->
            true = ets:insert(?TABLE, {logged, NowMs}),
            ?LOG_WARNING("accept_queue: the port program has ended (~ts); it is started again", [Why], #{application => accept_queue});
        false ->
            ok
    end.

%% Sending.

requested({Command, Arguments}, From, #state{next = Ref, calls = Calls, waiting = Waiting} = State) ->
    case term_to_binary({Ref, Command, Arguments}) of
        Frame when byte_size(Frame) =< ?FRAME_BYTES ->
            Timer = erlang:start_timer(?CALL_MS, self(), Ref),
            send(State#state{
                next = Ref + 1,
                calls = Calls#{Ref => {From, Timer}},
                waiting = queue:in({Ref, Frame}, Waiting)
            });
        _ ->
            ok = reply(From, {error, {errno, enobufs}}),
            State
    end.

reply(cast, _Result) -> ok;
reply(From, Result) -> gen_server:reply(From, Result).

send(#state{ready = true, port = Port, sent = Sent, waiting = Waiting, calls = Calls} = State) when
    map_size(Sent) < ?UNDER_WAY
->
    case queue:peek(Waiting) of
        {value, {Ref, Frame}} when is_map_key(Ref, Calls) ->
            %% A port that is busy has requests under way: the answer to one of them comes back here.
            case submit(Port, Frame) of
                true -> send(State#state{sent = Sent#{Ref => true}, waiting = queue:drop(Waiting)});
                false -> State
            end;
        {value, _} ->
            send(State#state{waiting = queue:drop(Waiting)});
        empty ->
            State
    end;
send(State) ->
    State.

submit(Port, Frame) ->
    try
        port_command(Port, Frame, [nosuspend])
    catch
        %% It has ended, and the message of its end is under way.
        error:badarg -> false
    end.

%% Drops the requests at the head whose callers have timed out: time-outs come in the order of the requests.
forget(#state{waiting = Waiting, calls = Calls} = State) ->
    case queue:peek(Waiting) of
        {value, {Ref, _}} when not is_map_key(Ref, Calls) -> forget(State#state{waiting = queue:drop(Waiting)});
        _ -> State
    end.

%% Receiving.

decoded(Frame) ->
    try
        {ok, binary_to_term(Frame, [safe])}
    catch
        error:badarg -> error
    end.

%% It may have begun some time after it was asked for: from now on the pause before the next one counts. Nothing is written to it before: of
%% one that ends at once the exit status would be lost.
received(?HELLO, #state{port = Port, ready = false} = State) ->
    _ = submit(Port, term_to_binary(?HELLO)),
    ok = accept_queue_watchdog:started(erlang:port_info(Port, os_pid)),
    true = ets:insert(?TABLE, [{port, Port}, {mute, 0}, {started, erlang:monotonic_time(millisecond)}]),
    State#state{ready = true, away = timeout};
received({event, hung, #{duration_ms := _} = Details}, State) ->
    ok = accept_queue_event:hung(Details),
    State;
received({event, Name, Details}, State) ->
    ?LOG_ERROR("accept_queue: the port program reports ~ts: ~ts", [Name, printable(Details)], #{application => accept_queue}),
    State;
received({Ref, Result}, #state{calls = Calls, sent = Sent} = State) ->
    Answered = State#state{sent = maps:remove(Ref, Sent)},
    case maps:take(Ref, Calls) of
        {{From, Timer}, Others} ->
            _ = erlang:cancel_timer(Timer),
            ok = reply(From, Result),
            Answered#state{calls = Others};
        error ->
            Answered
    end;
received(_, State) ->
    ended("it has another version of the protocol", State).

printable(Details) when is_binary(Details) -> [if C < 32 -> $\s; true -> C end || <<C/utf8>> <= Details];
printable(Details) -> io_lib:format("~0tp", [Details]).
