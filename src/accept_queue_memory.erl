%% @private
%% The tables of this application. The supervisor makes them, so that no crash of a child loses them.
%%
%% They are public, and any process of the VM can delete one. Then the child that needs it ends, and what starts it again makes
%% the table.
-module(accept_queue_memory).

-export([ensure/0, table/3]).

-spec ensure() -> ok.
ensure() ->
    ok = accept_queue_registry:new(),
    ok = accept_queue_pool_cache:new(),
    ok = accept_queue_pools:new(),
    ok = accept_queue_event:new(),
    ok = accept_queue_monitor:new(),
    ok = accept_queue_port:new(),
    accept_queue_accepted:new().

%% Makes a table with these rows, unless there is one. The caller owns it.
-spec table(atom(), [term()], [tuple()]) -> ok.
table(Name, Options, Rows) ->
    case ets:whereis(Name) of
        undefined ->
            try
                Name = ets:new(Name, [named_table, public | Options]),
                true = ets:insert(Name, Rows),
                ok
            catch
                %% Another process was faster.
                error:badarg -> ok
            end;
        _ ->
            ok
    end.
