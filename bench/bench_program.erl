%% The C programs of this folder, as ports. They end with the VM, for their standard input ends with it.
-module(bench_program).

-export([start/2, ask/2, answer/1, stop/1]).

-spec start(file:name(), [string()]) -> port().
start(Path, Arguments) ->
    open_port({spawn_executable, Path}, [{args, Arguments}, {line, 80}, exit_status]).

-spec ask(port(), iodata()) -> string().
ask(Program, Question) ->
    true = port_command(Program, [Question, $\n]),
    answer(Program).

-spec answer(port()) -> string().
answer(Program) ->
    receive
        {Program, {data, {eol, Line}}} -> Line;
        {Program, {exit_status, Status}} -> error({program_ended, Status})
    end.

%% Says good-bye, and waits until the program and all that it held are gone.
-spec stop(port()) -> ok.
stop(Program) ->
    true = port_command(Program, "\n"),
    receive
        {Program, {exit_status, 0}} -> ok;
        {Program, {exit_status, Status}} -> error({program_ended, Status})
    end.
