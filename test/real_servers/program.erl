%% The program accept-queue, run from outside of a server.
-module(program).

-export([run/2, json/2, begun/2, next/2, next/3, ended/1]).

-define(RUN_MS, 60000).
-define(EVENT_MS, 20000).

%% Its exit status, and what it has written.
run(Repository, Arguments) ->
    collected(opened(Repository, Arguments, [binary]), []).

json(Repository, Arguments) ->
    {Status, Output} = run(Repository, Arguments ++ ["--json"]),
    {Status, jiffy:decode(Output, [return_maps])}.

%% One that goes on: its events are asked for one by one.
begun(Repository, Arguments) ->
    opened(Repository, Arguments, [binary, {line, 65536}]).

%% The next event of this name; those before it are passed over.
next(Port, Event) ->
    next(Port, Event, undefined).

next(Port, Event, Condition) ->
    receive
        {Port, {data, {eol, Line}}} ->
            case jiffy:decode(Line, [return_maps]) of
                #{<<"event">> := Event} = Found when Condition =:= undefined -> Found;
                #{<<"event">> := Event, <<"condition">> := Condition} = Found -> Found;
                _ -> next(Port, Event, Condition)
            end;
        {Port, {exit_status, Status}} ->
            error({ended, Status, before, Event, Condition})
    after ?EVENT_MS ->
        error({not_within_ms, ?EVENT_MS, Event, Condition})
    end.

%% Ended as a service is.
ended(Port) ->
    {os_pid, Pid} = erlang:port_info(Port, os_pid),
    ok = processes:signal(term, Pid),
    status(Port).

status(Port) ->
    receive
        {Port, {exit_status, Status}} -> Status;
        {Port, {data, _}} -> status(Port)
    after ?RUN_MS ->
        error(does_not_end)
    end.

opened(Repository, Arguments, Options) ->
    Program = filename:join([os:getenv("CARGO_TARGET_DIR", filename:join(Repository, "target")), "release/accept-queue"]),
    open_port({spawn_executable, Program}, [{args, Arguments}, exit_status | Options]).

collected(Port, Read) ->
    receive
        {Port, {data, Bytes}} -> collected(Port, [Read, Bytes]);
        {Port, {exit_status, Status}} -> {Status, iolist_to_binary(Read)}
    after ?RUN_MS ->
        error({does_not_end, iolist_to_binary(Read)})
    end.
