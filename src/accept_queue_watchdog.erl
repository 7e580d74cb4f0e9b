%% @private
%% The heartbeat of this VM, for the watchdog of the port program. See `docs/watchdog.md'.
%%
%% A heartbeat is sent when a process on each scheduler has answered: one scheduler in a native call is enough to freeze accept
%% while the others go on or sleep. All of them have high priority, so that a busy VM is late and does not seem to hang.
-module(accept_queue_watchdog).
-behaviour(gen_server).

-include_lib("kernel/include/logger.hrl").

-export([start_link/0, is_possible/0, arguments/0, started/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).
-export([pulse/1, system_continue/3, system_terminate/4]).

-record(state, {
    heartbeat_ms :: pos_integer(),
    %% By scheduler.
    pulses = #{} :: #{pos_integer() => pid()},
    %% Those that have not answered yet.
    awaited = #{} :: #{pid() => true}
}).

%% Starts nothing where no watchdog is configured. Without the program it logs a warning, and the VM goes on without one.
-spec start_link() -> {ok, pid()} | ignore | {error, term()}.
start_link() ->
    case {accept_queue_config:watchdog(), accept_queue_port:program()} of
        {{error, Sentence}, _} ->
            {error, Sentence};
        {{ok, undefined}, _} ->
            ignore;
        {{ok, #{}}, undefined} ->
            ok = warn("there is no watchdog: the program accept-queue is not in ~ts", [accept_queue_nif:priv_dir()]),
            ignore;
        {{ok, #{heartbeat_ms := HeartbeatMs}}, _} ->
            accept_queue_child:start_link(?MODULE, HeartbeatMs, [{spawn_opt, [{priority, high}]}])
    end.

%% A watchdog is configured, and the program is there.
-spec is_possible() -> boolean().
is_possible() ->
    case accept_queue_config:watchdog() of
        {ok, #{}} -> accept_queue_port:program() =/= undefined;
        _ -> false
    end.

%% The options on the program's command line, so that each start has them.
-spec arguments() -> [file:filename_all()].
arguments() ->
    case accept_queue_config:watchdog() of
        {ok, #{directory := Directory} = Watchdog} ->
            Numbers = [
                [Option, integer_to_list(maps:get(Key, Watchdog))]
             || {Option, Key} <- [{"--heartbeat-ms", heartbeat_ms}, {"--hang-after-ms", hang_after_ms}, {"--keep", keep}]
            ],
            ["--evidence", Directory | lists:append(Numbers)];
        _ ->
            []
    end.

%% The program has started.
-spec started({os_pid, pos_integer()} | undefined) -> ok.
started(Program) ->
    case {accept_queue_config:watchdog(), Program} of
        {{ok, #{allow_ptrace := true}}, {os_pid, OsPid}} -> allowed(allow_ptrace(OsPid));
        _ -> ok
    end.

allow_ptrace(OsPid) ->
    try
        accept_queue_nif:allow_ptrace(OsPid)
    catch
        error:not_loaded -> {error, not_loaded}
    end.

allowed({ok, _}) -> ok;
%% Without Yama it is allowed already.
allowed({error, {errno, einval}}) -> ok;
allowed({error, Reason}) -> warn("the port program could not be allowed to trace this VM: ~0tp", [Reason]).

warn(Format, Arguments) ->
    ?LOG_WARNING("accept_queue: " ++ Format, Arguments, #{application => accept_queue}).

%% The process.

-spec init(pos_integer()) -> {ok, #state{}}.
init(HeartbeatMs) ->
    self() ! heartbeat,
    {ok, #state{heartbeat_ms = HeartbeatMs}}.

-spec handle_call(term(), gen_server:from(), #state{}) -> {reply, {error, badarg}, #state{}}.
handle_call(_, _From, State) ->
    {reply, {error, badarg}, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(_, State) ->
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}}.
handle_info(heartbeat, #state{heartbeat_ms = HeartbeatMs, awaited = Awaited} = State) ->
    _ = erlang:send_after(HeartbeatMs, self(), heartbeat),
    %% A process that has not answered yet is asked already.
    {noreply, if map_size(Awaited) =:= 0 -> answered(asked(State)); true -> State end};
handle_info({Pid, pulse}, #state{awaited = Awaited} = State) when is_map_key(Pid, Awaited) ->
    {noreply, answered(State#state{awaited = maps:remove(Pid, Awaited)})};
handle_info(_, State) ->
    {noreply, State}.

asked(State) ->
    #state{pulses = Pulses} = Asked = with_pulses(State),
    Awaited = maps:from_list([{Pid, true} || Pid <- maps:values(Pulses)]),
    _ = [Pid ! {self(), pulse} || Pid <- maps:values(Pulses)],
    Asked#state{awaited = Awaited}.

answered(#state{awaited = Awaited} = State) when map_size(Awaited) =:= 0 ->
    %% A lost one means that the program is away, or far too busy.
    _ = accept_queue_port:heartbeat(),
    State;
answered(State) ->
    State.

%% One on each scheduler that works now.
with_pulses(#state{pulses = Pulses} = State) ->
    Schedulers = schedulers(),
    Gone = maps:without(Schedulers, Pulses),
    _ = [begin true = unlink(Pid), true = exit(Pid, kill) end || Pid <- maps:values(Gone)],
    New = maps:from_list([{Scheduler, pulse_on(Scheduler)} || Scheduler <- Schedulers, not is_map_key(Scheduler, Pulses)]),
    State#state{pulses = maps:merge(maps:with(Schedulers, Pulses), New)}.

%% Where multi-scheduling is blocked, a process that is bound to another scheduler waits for the end of it.
schedulers() ->
    case erlang:system_info(multi_scheduling) of
        enabled -> lists:seq(1, erlang:system_info(schedulers_online));
        _ -> []
    end.

%% The option `scheduler' is not documented: a test makes sure that each scheduler has its process.
-dialyzer({nowarn_function, pulse_on/1}).
pulse_on(Scheduler) ->
    spawn_opt(?MODULE, pulse, [self()], [link, {priority, high}, {scheduler, Scheduler}]).

%% @private
-spec pulse(pid()) -> no_return().
pulse(Heart) ->
    receive
        {Heart, pulse} -> Heart ! {self(), pulse};
        {system, From, Request} -> sys:handle_system_msg(Request, From, Heart, ?MODULE, [], Heart);
        _ -> ok
    end,
    ?MODULE:pulse(Heart).

%% @private
-spec system_continue(pid(), [sys:dbg_opt()], pid()) -> no_return().
system_continue(_Parent, _Debug, Heart) ->
    pulse(Heart).

%% @private
-spec system_terminate(term(), pid(), [sys:dbg_opt()], pid()) -> no_return().
system_terminate(Reason, _Parent, _Debug, _Heart) ->
    exit(Reason).
