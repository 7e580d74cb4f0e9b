%% @private
%% What a process shows of itself: its name, where it stands, what it is linked to. `process_info' alone, without a message to the
%% process; out of date as soon as it is read.
-module(accept_queue_process).

-export([server/1, module_name/1, describe/1, describe/2, kin/1, linked/2, ports/1, is_in/2, is_at/2]).

-export_type([description/0, kin/0]).

-type description() :: #{
    initial_call := mfa(),
    current_function := mfa() | undefined,
    registered_name := atom(),
    label := term(),
    %% What else was asked for.
    atom() => term()
}.
-type kin() :: #{
    pid := pid(),
    initial_call := mfa(),
    registered_name := atom(),
    label := term(),
    %% The supervisor first, by name or pid: of a process that `proc_lib' has started.
    ancestors := [pid() | atom()]
}.

%% A supervisor may have a million children.
-define(LINKS_MAX, 20000).

%% The name of a process for a person: its label, its registered name, its application, or else the function it started with.
-spec server(pid() | undefined) -> accept_queue:server().
server(undefined) ->
    undefined;
server(Pid) ->
    case kin(Pid) of
        #{label := Label} when Label =/= undefined -> {label, Label};
        #{registered_name := Name} when Name =/= undefined -> Name;
        #{initial_call := Initial} -> by_application(application:get_application(Pid), Initial);
        undefined -> undefined
    end.

by_application({ok, Application}, _Initial) -> {application, Application};
by_application(undefined, Initial) -> Initial.

%% An Elixir module as Elixir writes it, any other term as Erlang does.
-spec module_name(term()) -> iodata().
module_name(Name) when is_atom(Name) ->
    case atom_to_list(Name) of
        "Elixir." ++ Module -> Module;
        Text -> Text
    end;
module_name(Term) ->
    io_lib:format("~0tp", [Term]).

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
                registered_name => name(Name),
                initial_call => proplists:get_value('$initial_call', Dictionary, Initial),
                current_function => Current,
                label => label(Dictionary)
            };
        undefined ->
            undefined
    end.

-spec kin(pid() | undefined) -> kin() | undefined.
kin(undefined) ->
    undefined;
kin(Pid) ->
    case erlang:process_info(Pid, [registered_name, dictionary, initial_call]) of
        [{_, Name}, {_, Dictionary}, {_, Initial}] ->
            #{
                pid => Pid,
                registered_name => name(Name),
                initial_call => proplists:get_value('$initial_call', Dictionary, Initial),
                label => label(Dictionary),
                ancestors => proplists:get_value('$ancestors', Dictionary, [])
            };
        undefined ->
            undefined
    end.

%% The empty list: it has none.
name(Name) when is_atom(Name) -> Name;
name([]) -> undefined.

%% `proc_lib:set_label/1', since OTP 27.
label(Dictionary) -> proplists:get_value('$process_label', Dictionary).

%% The linked processes that began with one of these functions: the children of a supervisor, and of any process that starts its own.
-spec linked(pid() | undefined, [mfa()]) -> [pid()].
linked(Pid, InitialCalls) ->
    Linked = [Other || Other <- links(Pid), is_pid(Other), node(Other) =:= node()],
    [Other || Other <- lists:sublist(Linked, ?LINKS_MAX), #{initial_call := Call} <- [kin(Other)], lists:member(Call, InitialCalls)].

%% The ports that a process owns or is linked to.
-spec ports(pid() | undefined) -> [port()].
ports(Pid) ->
    [Port || Port <- links(Pid), is_port(Port)].

links(undefined) ->
    [];
links(Pid) ->
    case erlang:process_info(Pid, links) of
        {links, Links} -> Links;
        undefined -> []
    end.

%% Whether a function of this module, or this function, is under way in the process.
-spec is_in(pid(), module()) -> boolean().
is_in(Pid, Module) ->
    lists:keymember(Module, 1, stack(Pid)).

-spec is_at(pid(), mfa()) -> boolean().
is_at(Pid, {Module, Function, Arity}) ->
    lists:any(fun({M, F, A, _}) -> {M, F, A} =:= {Module, Function, Arity} end, stack(Pid)).

stack(Pid) ->
    case erlang:process_info(Pid, current_stacktrace) of
        {current_stacktrace, Stack} -> Stack;
        undefined -> []
    end.
