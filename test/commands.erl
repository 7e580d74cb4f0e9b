%% Other programs, run as a person or a service runs them.
-module(commands).

-export([needs/1, run/2, run/3, start/2, start/3, line/1, stop/1, fetch/1, quoted/1]).

-define(DEADLINE_MS, 60000).

%% `make setup' brings them; the roots of other releases have only what Erlang needs.
needs(Programs) ->
    case [Program || Program <- Programs, os:find_executable(Program) =:= false] of
        [] -> ok;
        Missing -> {skip, lists:flatten(["not here: ", lists:join(", ", Missing), "; `make setup' installs what is missing"])}
    end.

run(Program, Arguments) ->
    run(Program, Arguments, "").

%% Its exit status and all that it has written, given this as its input.
run(Program, Arguments, Input) ->
    File = filename:join(filename:dirname(code:which(?MODULE)), io_lib:format("input.~s.~b", [os:getpid(), erlang:unique_integer([positive])])),
    ok = file:write_file(File, unicode:characters_to_binary(Input)),
    try
        Script = "input=$1; shift; exec \"$@\" <\"$input\" 2>&1",
        Port = opened("/bin/sh", ["-c", Script, "sh", File, found(Program) | Arguments], [stream]),
        ended(Port, [])
    after
        ok = file:delete(File)
    end.

ended(Port, Read) ->
    receive
        {Port, {data, Bytes}} -> ended(Port, [Read, Bytes]);
        {Port, {exit_status, Status}} -> {Status, unicode:characters_to_list(iolist_to_binary(Read))}
    after ?DEADLINE_MS ->
        erlang:error({does_not_end, Port, iolist_to_binary(Read)})
    end.

start(Program, Arguments) ->
    start(Program, Arguments, [{line, 65536}, stderr_to_stdout]).

%% One that goes on, until it is stopped or the calling process ends.
start(Program, Arguments, Options) ->
    Port = opened(found(Program), Arguments, Options),
    Owner = self(),
    _ = spawn(fun() -> guard(Port, Owner) end),
    Port.

%% A port ends with its owner, and closes the program's standard input, of which not every program makes something.
guard(Port, Owner) ->
    case erlang:port_info(Port, os_pid) of
        {os_pid, Pid} ->
            Monitor = erlang:monitor(port, Port),
            receive
                {'DOWN', Monitor, port, _, _} -> is_process_alive(Owner) orelse terminate(Pid)
            end;
        undefined ->
            ok
    end.

terminate(Pid) ->
    os:cmd("kill -TERM " ++ integer_to_list(Pid)).

opened(Path, Arguments, Options) ->
    open_port({spawn_executable, Path}, [{args, Arguments}, exit_status, binary | Options]).

%% The next line that it writes.
line(Port) ->
    receive
        {Port, {data, {_, Line}}} -> unicode:characters_to_list(Line);
        {Port, {exit_status, Status}} -> erlang:error({ended, Status})
    after ?DEADLINE_MS -> erlang:error({says_nothing, Port})
    end.

%% It was started here, so it may be ended.
stop(Port) ->
    {os_pid, Pid} = erlang:port_info(Port, os_pid),
    _ = terminate(Pid),
    gone(Port).

gone(Port) ->
    receive
        {Port, {exit_status, _}} -> ok;
        {Port, {data, _}} -> gone(Port)
    after ?DEADLINE_MS -> erlang:error({does_not_end, Port})
    end.

%% What a server answers there, on a connection of its own.
fetch(Url) ->
    {ok, _} = application:ensure_all_started(inets),
    %% Without a word of TLS, httpc looks for certificates of authorities, and fails where there are none.
    Http = [{timeout, ?DEADLINE_MS}, {ssl, []}],
    case httpc:request(get, {Url, [{"connection", "close"}]}, Http, []) of
        {ok, {{_, Status, _}, _Headers, Body}} -> {Status, Body};
        {error, _} = Error -> Error
    end.

%% As a shell takes them for these words, whatever is in them.
quoted(Words) ->
    lists:flatten(lists:join($\s, [[$', string:replace(Word, "'", "'\\''", all), $'] || Word <- Words])).

found(Program) ->
    case os:find_executable(Program) of
        false -> erlang:error({no_such_program, Program});
        Path -> Path
    end.
