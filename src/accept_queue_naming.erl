%% @private
%% Which sockets are one queue, and what it is called. Pure.
%%
%% Listeners on one address are not one queue where they are bound to different devices or live in different network namespaces, nor
%% where a Unix path was bound again while the old socket listens on: core tells them apart (`queue'). The first is called by its address, a
%% further one also by what it differs in. A name sticks: it stays for as long as one of its sockets does.
-module(accept_queue_naming).

-export([queues/2, names/1, place/1, base/1, is_before/2]).

-export_type([known/0, place/0]).

%% What has the name now, or had it until it was closed.
-type known() :: {accept_queue:address(), [accept_queue:cookie()], place()}.
%% What an address leaves open, but for the socket.
-type place() :: {Interface :: non_neg_integer(), Namespace :: pos_integer() | undefined}.
-type entry() :: accept_queue_registry:entry().

%% The queues among all listeners of this VM, each by its name. What is closed and opened again has its name again.
-spec queues([entry()], [known()]) -> [{accept_queue:address(), [entry(), ...]}].
queues(Entries, Known) ->
    ByQueue = maps:values(maps:groups_from_list(fun(#{address := Address, queue := Queue}) -> {Address, Queue} end, Entries)),
    NameOf = maps:from_list([{Cookie, Name} || {Name, Cookies, _} <- Known, Cookie <- Cookies]),
    {Named, New} = lists:foldl(fun(Queue, So) -> keep_name(Queue, NameOf, So) end, {#{}, []}, ByQueue),
    Closed = [{{base(Name), Place}, Name} || {Name, _, Place} <- Known, not is_map_key(Name, Named)],
    maps:to_list(element(1, lists:foldl(fun give_name/2, {Named, Closed}, lists:sort(fun plainer/2, New)))).

keep_name(Queue, NameOf, {Named, New}) ->
    case [map_get(Cookie, NameOf) || #{cookie := Cookie} <- Queue, is_map_key(Cookie, NameOf)] of
        [Name | _] when not is_map_key(Name, Named) -> {Named#{Name => Queue}, New};
        _ -> {Named, [Queue | New]}
    end.

%% That of a closed one in its place, or else one that no other has.
give_name([#{address := Address} = Entry | _] = Queue, {Named, Closed}) ->
    case lists:keytake({Address, place(Entry)}, 1, Closed) of
        {value, {_, Name}, Others} ->
            {Named#{Name => Queue}, Others};
        false ->
            IsFree = fun(Name) -> not is_map_key(Name, Named) andalso not lists:keymember(Name, 2, Closed) end,
            Names = names(Entry),
            {Named#{hd(lists:filter(IsFree, Names) ++ [lists:last(Names)]) => Queue}, Closed}
    end.

%% The plain address goes to the one that is bound to nothing; of Unix sockets, to the newest, which is the one that clients reach.
plainer([One | _], [Other | _]) ->
    plainness(One) =< plainness(Other).

plainness(#{address := Address, queue := {Interface, Namespace, _}, inode := Inode}) ->
    {Address, Namespace =/= undefined, Namespace, Interface, -Inode}.

%% All that it may be called; the last one is no other's.
-spec names(entry()) -> [accept_queue:address(), ...].
names(#{address := Address, queue := {_, Namespace, _}, device := Device, inode := Inode}) ->
    Differs = [{device, Device} || Device =/= undefined] ++ [{namespace, Namespace} || Namespace =/= undefined],
    [Address | [{Address, By} || By <- Differs ++ [{inode, Inode}]]].

-spec place(entry()) -> place().
place(#{queue := {Interface, Namespace, _}}) ->
    {Interface, Namespace}.

%% The address in a name.
-spec base(accept_queue:address()) -> accept_queue:address().
base({Address, {By, _}}) when By =:= device; By =:= namespace; By =:= inode -> Address;
base(Address) -> Address.

%% By address, first the one that is called by it alone.
-spec is_before(accept_queue:address(), accept_queue:address()) -> boolean().
is_before(One, Other) ->
    {base(One), base(One) =/= One, One} =< {base(Other), base(Other) =/= Other, Other}.
