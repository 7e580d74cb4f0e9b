%% @private
%% Samples on their way to telemetry: a bounded queue, and whether a handler wants them.
%%
%% The table belongs to the supervisor. A sample that finds no place is dropped and counted.
-module(accept_queue_samples).

-export([new/0, wanted/0, wanted/1, put/1, left_out/1, take/0, dropped/0]).

-define(TABLE, ?MODULE).
-define(ROWS_MAX, 1000).

%% To be called by the process that is to own the table.
-spec new() -> ok.
new() ->
    %% Numbers sort before atoms: the first row is the oldest sample, if there is one.
    accept_queue_memory:table(?TABLE, [ordered_set], [{wanted, false}, {dropped, 0}, {put, 0}]).

-spec wanted() -> boolean().
wanted() ->
    ets:lookup_element(?TABLE, wanted, 2).

-spec wanted(boolean()) -> ok.
wanted(Wanted) ->
    true = ets:insert(?TABLE, {wanted, Wanted}),
    ok.

%% `first': the dispatcher may be asleep.
-spec put(Sample :: term()) -> first | behind_others | dropped.
put(Sample) ->
    case waiting() < ?ROWS_MAX of
        true ->
            true = ets:insert(?TABLE, {ets:update_counter(?TABLE, put, 1), Sample}),
            case waiting() > 1 of
                true -> behind_others;
                false -> first
            end;
        false ->
            _ = ets:update_counter(?TABLE, dropped, 1),
            dropped
    end.

%% So many did not come here at all.
-spec left_out(non_neg_integer()) -> ok.
left_out(Count) ->
    _ = ets:update_counter(?TABLE, dropped, Count),
    ok.

waiting() ->
    ets:info(?TABLE, size) - 3.

-spec take() -> {ok, Sample :: term()} | none.
take() ->
    case ets:first(?TABLE) of
        Key when is_integer(Key) ->
            case ets:take(?TABLE, Key) of
                [{_, Sample}] -> {ok, Sample};
                %% A predecessor that was just being killed has taken it.
                [] -> take()
            end;
        _ ->
            none
    end.

%% Since the application was started.
-spec dropped() -> non_neg_integer() | {error, not_running}.
dropped() ->
    try
        ets:lookup_element(?TABLE, dropped, 2)
    catch
        error:badarg -> {error, not_running}
    end.
