%% @private
%% A description of an Erlang process for a person. One `process_info', without a message to the process; out of date as soon as it
%% is read.
-module(accept_queue_process).

-export([server/1, describe/1, describe/2]).

-export_type([description/0]).

-type description() :: #{
    initial_call := mfa(),
    current_function := mfa() | undefined,
    registered_name := atom(),
    label := term(),
    %% What else was asked for.
    atom() => term()
}.

%% Its name, or else the function it started with.
-spec server(pid() | undefined) -> atom() | mfa().
server(undefined) ->
    undefined;
server(Pid) ->
    case describe(Pid) of
        #{registered_name := undefined, initial_call := Initial} -> Initial;
        #{registered_name := Name} -> Name;
        undefined -> undefined
    end.

%% `undefined': it has ended.
-spec describe(pid()) -> description() | undefined.
describe(Pid) ->
    describe(Pid, []).

%% With items of `erlang:process_info/2', as they are.
-spec describe(pid(), [atom()]) -> description() | undefined.
describe(Pid, Items) ->
    case erlang:process_info(Pid, [registered_name, dictionary, initial_call, current_function | Items]) of
        [{_, Name}, {_, Dictionary}, {_, Initial}, {_, Current} | Others] ->
            (maps:from_list(Others))#{
                %% The empty list: it has none.
                registered_name => if is_atom(Name) -> Name; true -> undefined end,
                initial_call => proplists:get_value('$initial_call', Dictionary, Initial),
                current_function => Current,
                %% `proc_lib:set_label/1', since OTP 27.
                label => proplists:get_value('$process_label', Dictionary)
            };
        undefined ->
            undefined
    end.
