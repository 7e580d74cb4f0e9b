%% Stands in for the processes of frameworks that Debian does not carry: what their dictionaries and links show, and what their
%% supervisors answer. A tree is a map:
%%
%% - `began': the function that a process began with, as `proc_lib' notes it;
%% - `name': under which it is registered;
%% - `id', `argument': what its supervisor knows of it;
%% - `label': as `proc_lib:set_label/1' sets it;
%% - `does': runs in the process, a leaf; otherwise it is a supervisor of its `children', and answers as one, unless it is `stuck'.
-module(framework_tree).

-export([start/1, stop/1, find/2]).

%% The root and all below it have started.
start(Tree) ->
    process(Tree, [self()]).

stop(Root) ->
    Monitor = monitor(process, Root),
    unlink(Root),
    exit(Root, kill),
    receive {'DOWN', Monitor, process, Root, _} -> ok end.

%% The processes that began so.
find(Root, Began) ->
    {links, Links} = process_info(Root, links),
    {dictionary, Dictionary} = process_info(Root, dictionary),
    Below = [Pid || Pid <- Links, is_pid(Pid), lists:member(Root, [P || P <- parents(Pid)])],
    [Root || lists:keyfind('$initial_call', 1, Dictionary) =:= {'$initial_call', Began}] ++ lists:append([find(Pid, Began) || Pid <- Below]).

parents(Pid) ->
    {dictionary, Dictionary} = process_info(Pid, dictionary),
    proplists:get_value(stand_in_parent, Dictionary, []).

process(#{began := Began} = Tree, Ancestors) ->
    Parent = self(),
    Pid = spawn_link(fun() ->
        put('$initial_call', Began),
        put('$ancestors', Ancestors),
        put(stand_in_parent, [Parent]),
        _ = [put('$process_label', Label) || #{label := Label} <- [Tree]],
        _ = [register(Name, self()) || #{name := Name} <- [Tree]],
        Children = [{Child, process(Child, [maps:get(name, Tree, self()) | Ancestors])} || Child <- maps:get(children, Tree, [])],
        Parent ! {started, self()},
        case Tree of
            #{does := Does} -> Does();
            #{stuck := true} -> receive never -> ok end;
            #{} -> supervise(Children)
        end
    end),
    receive {started, Pid} -> Pid end.

supervise(Children) ->
    receive
        {'$gen_call', From, which_children} ->
            gen_server:reply(From, [{maps:get(id, Child, undefined), Pid, type(Child), []} || {Child, Pid} <- Children]);
        {'$gen_call', From, {get_childspec, Id}} ->
            [Argument | _] = [A || {#{id := Of, argument := A}, _} <- Children, Of =:= Id],
            gen_server:reply(From, {ok, #{id => Id, start => {stand_in, start_link, [Argument]}}})
    end,
    supervise(Children).

type(#{does := _}) -> worker;
type(#{}) -> supervisor.
