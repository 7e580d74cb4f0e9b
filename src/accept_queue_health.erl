%% @private
%% What is wrong with the watched listeners, and the answer to a readiness probe.
%%
%% The monitor notes it in a table of its own, so that a probe reads nothing else and no process is asked. The table belongs to the
%% supervisor: what is noted outlasts a kill of the monitor.
-module(accept_queue_health).

-export([new/0, health/0, health/1, is_held_up/0]).
-export([raised/1, raised/3, cleared/2, failed/3, recovered/2, named/2, search/1]).

-export_type([health/0, tier/0]).

-type reason() ::
    {accept_queue:condition(), accept_queue:address()}
    | {unreadable, accept_queue:address() | accept_queue:listener(), accept_queue:reason() | stale}
    | {not_listening, accept_queue:listener()}
    | {not_watched, accept_queue:listener()}
    | {listeners_unreadable, accept_queue:reason()}
    | monitor_not_running
    | watchdog_not_running.
-type health() :: ok | {degraded | failing, [reason(), ...]}.
%% Which reading fails. A census alone that fails leaves the depth, by which `overflowing' and `stuck' are still found.
-type tier() :: depth | census.

%% `{{raised, Address, Condition}, SinceMs}', `{{failed, Address, tier()}, Reason}', `{{missing, Listener}, FromMs}',
%% `{search, Reason}'.
-define(TABLE, ?MODULE).
%% A poller that has begun no round for so long is held up; it begins one a second.
-define(SILENCE_MS, 4000).

%% To be called by the process that is to own the table.
-spec new() -> ok.
new() ->
    accept_queue_memory:table(?TABLE, [{read_concurrency, true}], []).

%% For the monitor.

-spec raised(accept_queue:address()) -> [{accept_queue:condition(), SinceMs :: integer()}].
raised(Address) ->
    [{Condition, SinceMs} || [Condition, SinceMs] <- ets:match(?TABLE, {{raised, Address, '$1'}, '$2'})].

-spec raised(accept_queue:condition(), accept_queue:address(), SinceMs :: integer()) -> ok.
raised(Condition, Address, SinceMs) ->
    note({raised, Address, Condition}, SinceMs).

-spec cleared(accept_queue:condition(), accept_queue:address()) -> ok.
cleared(Condition, Address) ->
    forget({raised, Address, Condition}).

%% Whether that is new.
-spec failed(tier(), accept_queue:address(), accept_queue:reason()) -> boolean().
failed(Tier, Address, Reason) ->
    IsNew = not ets:member(?TABLE, {failed, Address, Tier}),
    ok = note({failed, Address, Tier}, Reason),
    IsNew.

%% Why it failed before.
-spec recovered(tier(), accept_queue:address()) -> {ok, accept_queue:reason()} | did_not_fail.
recovered(Tier, Address) ->
    case ets:take(?TABLE, {failed, Address, Tier}) of
        [{_, Reason}] -> {ok, Reason};
        [] -> did_not_fail
    end.

%% The listeners that the environment names, and whether there is one of each. `unknown': it is as it was. One that is missing may be
%% about to be opened, or opened again, for so long.
-spec named([{accept_queue:listener(), there | missing | unknown}], ReopenMs :: non_neg_integer()) -> ok.
named(Named, ReopenMs) ->
    FromMs = now_ms() + ReopenMs,
    Before = lists:append(ets:match(?TABLE, {{missing, '$1'}, '_'})),
    _ = [forget({missing, Listener}) || Listener <- Before -- [Other || {Other, So} <- Named, So =/= there]],
    _ = [ets:insert_new(?TABLE, {{missing, Listener}, FromMs}) || {Listener, missing} <- Named],
    ok.

%% Whether the listeners of this VM could be listed.
-spec search(ok | {error, accept_queue:reason()}) -> ok.
search(ok) -> forget(search);
search({error, Reason}) -> note(search, Reason).

%% Of a probe.

%% Of all that is watched, and of all that is to be.
-spec health() -> health().
health() ->
    Known = known(),
    judged(not_watching(fun accept_queue_monitor:watched/0, Known) ++ watchdog() ++ Known).

%% Of these alone.
-spec health(accept_queue:listener() | [accept_queue:listener()]) -> health() | {error, badarg}.
health(Listeners) when is_list(Listeners) ->
    of_these([{Listener, accept_queue_monitor:addresses(Listener)} || Listener <- Listeners]);
health(Listener) ->
    health([Listener]).

of_these(Found) ->
    case [Error || {_, {error, badarg} = Error} <- Found] of
        [Error | _] ->
            Error;
        [] ->
            Addresses = lists:usort(lists:append([Addresses || {_, {ok, Addresses}} <- Found])),
            Known = [Reason || Reason <- known(), is_about(Reason, Addresses)],
            NotFound = [not_found(Listener, Error) || {Listener, {error, Error}} <- Found, Error =/= not_running],
            judged(not_watching(fun() -> Addresses end, Known) ++ NotFound ++ Known)
    end.

not_found(Listener, not_watched) -> {not_watched, Listener};
not_found(Listener, Error) when Error =:= not_found; Error =:= not_listening; Error =:= closed -> {not_listening, Listener};
not_found(Listener, Error) -> {unreadable, Listener, Error}.

is_about({unreadable, Address, _}, Addresses) -> lists:member(Address, Addresses);
is_about({listeners_unreadable, _}, _Addresses) -> false;
is_about({not_listening, _}, _Addresses) -> false;
is_about({_Condition, Address}, Addresses) -> lists:member(Address, Addresses).

judged([]) ->
    ok;
judged(Reasons) ->
    case lists:any(fun is_failing/1, Reasons) of
        true -> {failing, Reasons};
        false -> {degraded, Reasons}
    end.

is_failing({Condition, _}) -> Condition =:= overflowing orelse Condition =:= stuck;
is_failing(_) -> false.

%% What reads is asked, from memory: neither the monitor nor a timer of the VM can say that it runs while it does not.
not_watching(Watched, Known) ->
    case accept_queue_monitor:silence_ms() of
        SilenceMs when is_integer(SilenceMs), SilenceMs < ?SILENCE_MS -> [];
        not_running -> [monitor_not_running];
        _ -> [monitor_not_running | [{unreadable, Address, stale} || Address <- Watched(), not is_unreadable(Address, Known)]]
    end.

%% Whether what reads has not run for so long that nothing is known.
-spec is_held_up() -> boolean().
is_held_up() ->
    SilenceMs = accept_queue_monitor:silence_ms(),
    is_integer(SilenceMs) andalso SilenceMs >= ?SILENCE_MS.

is_unreadable(Address, Known) ->
    lists:any(fun(Reason) -> element(1, Reason) =:= unreadable andalso element(2, Reason) =:= Address end, Known).

%% What is noted. Empty where the application does not run.
known() ->
    Noted =
        try
            ets:tab2list(?TABLE)
        catch
            error:badarg -> []
        end,
    case Noted of
        [] -> [];
        _ -> lists:sort(lists:filtermap(fun(Note) -> reason(Note, now_ms()) end, Noted))
    end.

reason({{raised, Address, Condition}, _SinceMs}, _NowMs) -> {true, {Condition, Address}};
reason({{failed, Address, depth}, Reason}, _NowMs) -> {true, {unreadable, Address, Reason}};
reason({{failed, _Address, census}, _Reason}, _NowMs) -> false;
reason({search, Reason}, _NowMs) -> {true, {listeners_unreadable, Reason}};
reason({{missing, Listener}, FromMs}, NowMs) when NowMs >= FromMs -> {true, {not_listening, Listener}};
reason({{missing, _Listener}, _FromMs}, _NowMs) -> false.

%% A watchdog is wanted, and its program is not there or ends before it has said anything: there will be no evidence of a hang.
%% One that ends and comes back within seconds is not reported.
watchdog() ->
    case application:get_env(accept_queue, watchdog) of
        undefined -> [];
        {ok, _} -> [watchdog_not_running || whereis(accept_queue_watchdog) =:= undefined orelse accept_queue_port:cannot_run()]
    end.

note(Key, Value) ->
    true = ets:insert(?TABLE, {Key, Value}),
    ok.

forget(Key) ->
    true = ets:delete(?TABLE, Key),
    ok.

now_ms() ->
    erlang:monotonic_time(millisecond).
