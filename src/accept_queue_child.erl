%% @private
%% A process of this application, whose callbacks are those of its module. What fails in them ends the process with a reason that OTP
%% does not report: {@link accept_queue_keeper} logs it, once. OTP would write some twenty lines about each end, with the state.
-module(accept_queue_child).
-behaviour(gen_server).

-export([start_link/3, why/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

%% Registered by the name of its module. The answer to a failure in `init/1' is `{error, {shutdown, _}}'.
-spec start_link(module(), Argument :: term(), [gen_server:start_opt()]) -> {ok, pid()} | {error, term()}.
start_link(Module, Argument, Options) ->
    gen_server:start_link({local, Module}, ?MODULE, {Module, Argument}, Options).

%% What has failed, of the reason with which a process has ended.
-spec why(term()) -> term().
why({shutdown, {?MODULE, Why}}) -> Why;
why(Reason) -> Reason.

-spec init({module(), term()}) -> {ok, term()} | {stop, term()}.
init({Module, Argument}) ->
    %% As `observer' and `proc_lib:translate_initial_call/1' show it. The state stays the module's own, also for `sys'.
    _ = put('$initial_call', {Module, init, 1}),
    _ = put(?MODULE, Module),
    case call(init, [Argument]) of
        {failed, Why} -> {stop, quiet(Why)};
        {stop, Reason} -> {stop, quiet(Reason)};
        Answer -> Answer
    end.

-spec handle_call(term(), gen_server:from(), term()) -> {reply, term(), term()} | {noreply, term()} | {stop, term(), term()}.
handle_call(Request, From, State) ->
    or_ended(call(handle_call, [Request, From, State]), State).

-spec handle_cast(term(), term()) -> {noreply, term()} | {stop, term(), term()}.
handle_cast(Request, State) ->
    or_ended(call(handle_cast, [Request, State]), State).

-spec handle_info(term(), term()) -> {noreply, term()} | {noreply, term(), hibernate} | {stop, term(), term()}.
handle_info(Message, State) ->
    or_ended(call(handle_info, [Message, State]), State).

%% The module gets the reason: what ended by a failure did not end in order.
-spec terminate(term(), term()) -> ok.
terminate(Reason, State) ->
    _ = [call(terminate, [why(Reason), State]) || erlang:function_exported(get(?MODULE), terminate, 2)],
    ok.

call(Function, Arguments) ->
    try
        apply(get(?MODULE), Function, Arguments)
    catch
        exit:Reason -> {failed, Reason};
        _:Reason:Stack -> {failed, {Reason, Stack}}
    end.

or_ended({failed, Why}, State) -> {stop, quiet(Why), State};
or_ended(Answer, _State) -> Answer.

quiet({shutdown, _} = Reason) -> Reason;
quiet(Why) -> {shutdown, {?MODULE, Why}}.
