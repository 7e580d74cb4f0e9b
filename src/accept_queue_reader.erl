%% @private
%% Makes the readings of the library that walk a table, on threads of the library: the counterpart of {@link accept_queue_port}.
%%
%% A NIF that takes long runs on a dirty scheduler. When all of those hang, in a file system that does not answer, a reading must
%% not wait for one: it may be the one that says so. This process hands the request to a thread by a NIF that does not block, and
%% gets the answer as a message. A call is answered within five seconds, or is `{error, timeout}'.
-module(accept_queue_reader).
-behaviour(gen_server).

-export([start_link/0, call/2]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

-record(state, {
    reader :: accept_queue_nif:reader(),
    next = 1 :: non_neg_integer(),
    %% As many as the library takes.
    calls = #{} :: #{pos_integer() => gen_server:from()}
}).

-define(CALL_MS, 5000).

-spec start_link() -> {ok, pid()} | {error, term()}.
start_link() ->
    accept_queue_child:start_link(?MODULE, [], []).

%% The answer of this function of `accept_queue_nif', which raises what that raises. Where this process does not run, the function
%% itself is called, on a dirty scheduler.
-spec call(atom(), [term()]) -> term() | {error, timeout}.
call(Function, Arguments) ->
    try gen_server:call(?MODULE, {Function, Arguments}, ?CALL_MS) of
        {raised, Reason} -> erlang:error(Reason);
        {answer, Answer} -> Answer
    catch
        exit:{noproc, _} -> apply(accept_queue_nif, Function, Arguments);
        exit:_ -> {error, timeout}
    end.

-spec init([]) -> {ok, #state{}} | {stop, accept_queue:reason()}.
init([]) ->
    case accept_queue_nif:reader_start() of
        {ok, Reader} -> {ok, #state{reader = Reader}};
        {error, Reason} -> {stop, Reason}
    end.

-spec handle_call(term(), gen_server:from(), #state{}) -> {reply, term(), #state{}} | {noreply, #state{}}.
handle_call(Request, From, State) ->
    case request(Request, State) of
        ok -> {noreply, expect(From, State)};
        {raised, badarg} -> {ok, Running} = running(State), answer(request(Request, Running), From, Running);
        Answer -> answer(Answer, From, State)
    end.

answer(ok, From, State) -> {noreply, expect(From, State)};
answer(full, _From, State) -> {reply, {answer, {error, timeout}}, State};
answer({raised, _} = Raised, _From, State) -> {reply, Raised, State}.

expect(From, #state{next = Tag, calls = Calls} = State) ->
    State#state{next = Tag + 1, calls = Calls#{Tag => From}}.

request(Request, #state{reader = Reader, next = Tag}) ->
    try
        accept_queue_nif:reader_request(Reader, self(), Tag, ?CALL_MS, Request)
    catch
        error:Reason -> {raised, Reason}
    end.

%% The threads of a library whose module was purged and loaded again are nothing to the new instance. A request that is always right
%% tells them from a wrong request; its answer has a tag that no call has.
running(State) ->
    case request({kernel, []}, State#state{next = 0}) of
        {raised, badarg} ->
            {ok, Reader} = accept_queue_nif:reader_start(),
            ok = accept_queue_monitor:library_replaced(),
            {ok, State#state{reader = Reader}};
        _ ->
            {ok, State}
    end.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(_, State) ->
    {noreply, State}.

%% The answer to a caller that has given up is dropped by its alias.
-spec handle_info(term(), #state{}) -> {noreply, #state{}}.
handle_info({accept_queue_reader, Tag, Answer}, #state{calls = Calls} = State) ->
    case maps:take(Tag, Calls) of
        {From, Others} ->
            ok = gen_server:reply(From, if Answer =:= nif_panicked -> {raised, Answer}; true -> {answer, Answer} end),
            {noreply, State#state{calls = Others}};
        error ->
            {noreply, State}
    end;
handle_info(_, State) ->
    {noreply, State}.
