%% @private
%% Looks at each listener of this VM while all is well, so that the first alarm knows the pool and the server by name without a caller
%% having asked: when the monitor has found one, a second later, every ten seconds for a minute, and every thirty then; where there are many,
%% each minute at least.
%%
%% A look reads of each listener which processes are in accept: one `port_info', or on the `socket' backend the
%% processes that were found before. Where those are not all, the processes of the VM are searched, and its sockets where a listening
%% descriptor has none, for a two-hundredth of the time at most. The listeners are those that the monitor has found, which searches when others
%% listen than before. A name is found anew where the owner is another one, and each minute: a process may get a name while it runs. A
%% framework is asked for a name alone, with a time-out, and not again for half a minute where it has not answered.
%%
%% A process of its own: the monitor must not wait for a port or a framework. It does not wait for this one either: a call leaves a row,
%% and a message only where none is under way.
-module(accept_queue_pools).
-behaviour(gen_server).

-export([new/0, start_link/0, look/0]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

-record(state, {
    timer :: reference() | undefined,
    %% How many listeners the last look has read.
    count = 0 :: non_neg_integer(),
    %% When listeners last came or changed.
    changed_ms :: integer(),
    %% When the VM may be searched again.
    search_ms :: integer(),
    %% Listeners whose framework did not answer, and until when it is not asked again.
    unanswered = #{} :: #{accept_queue:cookie() => MonotonicMs :: integer()},
    %% The name of each is found anew from then on.
    names_ms :: integer()
}).

-define(TABLE, ?MODULE).
%% Acceptors start a little after their listener.
-define(SOON_MS, 1000).
-define(SEARCH_SHARE, 200).
%% A look costs 5 us a listener.
-define(LISTENERS_A_STEP, 200).
-define(STEP_MS, 10000).
-define(STEPS_MAX, 6).
-define(ASK_AGAIN_MS, 30000).
-define(NAMES_MS, 60000).

%% To be called by the process that is to own the table.
-spec new() -> ok.
new() ->
    accept_queue_memory:table(?TABLE, [], []).

-spec start_link() -> {ok, pid()} | {error, term()}.
start_link() ->
    accept_queue_child:start_link(?MODULE, [], []).

%% To be called when listeners may have come or changed. Never waits.
-spec look() -> ok.
look() ->
    try ets:insert_new(?TABLE, {asked}) of
        true -> gen_server:cast(?MODULE, look);
        false -> ok
    catch
        %% The table is missing: the next look comes by itself.
        error:badarg -> ok
    end.

-spec init([]) -> {ok, #state{}}.
init([]) ->
    self() ! look,
    {ok, #state{changed_ms = now_ms(), search_ms = now_ms(), names_ms = now_ms()}}.

-spec handle_call(term(), gen_server:from(), #state{}) -> {reply, {error, badarg}, #state{}}.
handle_call(_, _From, State) ->
    {reply, {error, badarg}, State}.

-spec handle_cast(look | term(), #state{}) -> {noreply, #state{}, hibernate} | {noreply, #state{}}.
handle_cast(look, State) ->
    {noreply, soon(all(fun found_now/0, State#state{changed_ms = now_ms(), names_ms = now_ms()})), hibernate};
handle_cast(_, State) ->
    {noreply, State}.

-spec handle_info(look | look_again | term(), #state{}) -> {noreply, #state{}, hibernate} | {noreply, #state{}}.
handle_info(look, State) ->
    {noreply, at_next_beat(all(fun found_before/0, State)), hibernate};
handle_info(look_again, State) ->
    {noreply, at_next_beat(all(fun found_now/0, State#state{names_ms = now_ms()})), hibernate};
handle_info(_, State) ->
    {noreply, State}.

soon(State) ->
    ok = cancel(State),
    State#state{timer = erlang:send_after(?SOON_MS, self(), look_again)}.

at_next_beat(#state{count = Count, changed_ms = ChangedMs} = State) ->
    ok = cancel(State),
    LeastMs = ?STEP_MS * min(?STEPS_MAX, 1 + Count div ?LISTENERS_A_STEP),
    State#state{timer = accept_queue_beat:next(look, ChangedMs, LeastMs)}.

%% One look is due at a time, also where one came otherwise.
cancel(#state{timer = Timer}) ->
    _ = is_reference(Timer) andalso erlang:cancel_timer(Timer),
    ok.

found_now() ->
    case accept_queue_registry:listeners() of
        {ok, Listeners} -> {ok, [Entry || {Entry, _Shown} <- Listeners]};
        {error, _} = Error -> Error
    end.

%% While the monitor runs it sees to it that they are those of now, but for some that have just closed.
found_before() ->
    case {whereis(accept_queue_monitor), accept_queue_registry:last_entries()} of
        {Monitor, {ok, Entries}} when is_pid(Monitor) -> {ok, Entries};
        _ -> found_now()
    end.

%% What is asked for from here on is another look.
all(Find, State) ->
    _ = ets:whereis(?TABLE) =/= undefined andalso ets:delete_all_objects(?TABLE),
    Remembered = accept_queue_pool_cache:cookies(),
    case accept_queue_reading:make(Find) of
        {ok, Entries} ->
            {Bare, Owned} = lists:partition(fun(#{socket := Socket}) -> Socket =:= undefined end, Entries),
            ok = forget_closed(Remembered, Bare ++ Owned),
            Unread = [Entry || Entry <- Owned, not read(Entry)],
            {Taken, Searched} = search(Bare, Unread, State),
            name(Taken ++ Owned, Searched#state{count = length(Entries)});
        %% The next look may read them.
        {error, _} ->
            State
    end.

%% What was remembered before these were read, and is none of them.
forget_closed(Remembered, Entries) ->
    Open = maps:from_list([{Cookie, true} || #{cookie := Cookie} <- Entries]),
    lists:foreach(fun accept_queue_pool_cache:forget/1, [Cookie || Cookie <- Remembered, not is_map_key(Cookie, Open)]).

%% Whether all that are in accept are known now.
read(#{socket := Socket, handle := Handle, cookie := Cookie}) ->
    {Count, Waiting} = accept_queue_acceptors:in_accept(Socket, Handle, known(Cookie)),
    ok = accept_queue_pool_cache:remember(Cookie, Waiting),
    length(Waiting) >= Count.

%% The bare ones that have a socket by now; and the pools that were not read whole.
search([], [], State) ->
    {[], State};
search(Bare, Unread, #state{search_ms = SearchMs} = State) ->
    BegunMs = now_ms(),
    case BegunMs >= SearchMs of
        true ->
            Taken = taken_over(Bare),
            ok = search_processes(Unread),
            EndedMs = now_ms(),
            {Taken, State#state{search_ms = EndedMs + ?SEARCH_SHARE * (EndedMs - BegunMs)}};
        false ->
            {[], State}
    end.

%% A listening descriptor that came without an Erlang socket, from systemd or another VM.
taken_over([]) ->
    [];
taken_over(Bare) ->
    Found = accept_queue_backend:find([Fd || #{fd := Fd} <- Bare]),
    _ = [ok = accept_queue_registry:forget() || map_size(Found) > 0],
    [Entry#{socket := map_get(Fd, Found)} || #{fd := Fd} = Entry <- Bare, is_map_key(Fd, Found)].

search_processes([]) ->
    ok;
search_processes(Unread) ->
    Found = accept_queue_socket:search([Socket || #{socket := Socket} <- Unread]),
    lists:foreach(
        fun(#{socket := Socket, handle := Handle, cookie := Cookie}) ->
            #{Socket := Pids} = Found,
            _ = [ok = accept_queue_pool_cache:remember(Cookie, Pids) || accept_queue_acceptors:held(Socket, Handle, Pids) =:= []]
        end,
        Unread
    ).

known(Cookie) ->
    case accept_queue_pool_cache:pool(Cookie) of
        undefined -> [];
        Pids -> Pids
    end.

name(Entries, #state{unanswered = Unanswered, names_ms = NamesMs} = State) ->
    NowMs = now_ms(),
    Owned = [{Cookie, Socket, accept_queue_backend:owner(Socket)} || #{socket := Socket, cookie := Cookie} <- Entries],
    Resting = maps:filter(fun(_, UntilMs) -> UntilMs > NowMs end, Unanswered),
    case NowMs >= NamesMs orelse map_size(Resting) < map_size(Unanswered) orelse not lists:all(fun is_named/1, Owned) of
        true -> name_all(Owned, Resting, State#state{names_ms = NowMs + ?NAMES_MS});
        false -> State
    end.

is_named({Cookie, _Socket, Owner}) ->
    case accept_queue_pool_cache:named(Cookie) of
        {Owner, _} -> true;
        _ -> false
    end.

%% Frameworks are asked last, and no more of them once one has not answered.
name_all(Owned, Resting, State) ->
    Listeners = [{Cookie, Socket, Owner, accept_queue_framework:named(Owner)} || {Cookie, Socket, Owner} <- Owned],
    {Plain, Framed} = lists:partition(fun({_, _, _, Named}) -> Named =:= undefined end, Listeners),
    Elsewhere = elsewhere(Plain, Framed),
    %% To ask a process that sleeps wakes it: each owner once.
    Servers = maps:from_list([{Owner, accept_queue_process:server(Owner)} || Owner <- owners(Plain, Elsewhere)]),
    ok = lists:foreach(fun(Listener) -> name_plain(Listener, Elsewhere, Servers) end, Plain),
    State#state{unanswered = name_framed(Framed, Resting, now_ms())}.

%% A framework may accept from a socket that another process owns.
elsewhere([], _Framed) ->
    #{};
elsewhere(_Plain, Framed) ->
    accept_queue_framework:elsewhere([Named || {_, _, _, Named} <- Framed]).

owners(Plain, Elsewhere) ->
    lists:usort([Owner || {_, Socket, Owner, _} <- Plain, not is_map_key(Socket, Elsewhere)]).

name_plain({Cookie, Socket, Owner, _}, Elsewhere, Servers) ->
    case Elsewhere of
        #{Socket := Server} -> accept_queue_pool_cache:name(Cookie, Owner, Server);
        #{} -> accept_queue_pool_cache:name(Cookie, Owner, map_get(Owner, Servers))
    end.

%% The whole name is asked for once, for as long as the owner is the same.
name_framed([{Cookie, _Socket, Owner, Named} | Others], Resting, NowMs) ->
    case accept_queue_pool_cache:named(Cookie) of
        {Owner, Server} when element(1, Server) =:= element(1, Named), Server =/= Named ->
            name_framed(Others, Resting, NowMs);
        _ when is_map_key(Cookie, Resting) ->
            ok = accept_queue_pool_cache:name(Cookie, Owner, Named),
            name_framed(Others, Resting, NowMs);
        _ ->
            case accept_queue_framework:whole_name(Named, Owner) of
                {ok, Server} ->
                    ok = accept_queue_pool_cache:name(Cookie, Owner, Server),
                    name_framed(Others, Resting, NowMs);
                {error, timeout} ->
                    ok = accept_queue_pool_cache:name(Cookie, Owner, Named),
                    Resting#{Cookie => NowMs + ?ASK_AGAIN_MS}
            end
    end;
name_framed([], Resting, _NowMs) ->
    Resting.

now_ms() ->
    erlang:monotonic_time(millisecond).
