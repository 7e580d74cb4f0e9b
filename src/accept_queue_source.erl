%% @private
%% Who reads: the NIF, or the port program. The one place that chooses; both give the same answers.
%%
%% The environment's `{source, nif | port}' says who is wanted. Where the library cannot be loaded, the program reads in its
%% place, if it was built; where the application does not run, nobody has started it, and the NIF reads.
%%
%% What was made by the one is read by it: a handle or a watch of the program's is a term that says so, and holds all that is
%% known of it. Nothing is kept for a handle anywhere.
-module(accept_queue_source).

-export([choose/0, reset/0, source/0, is_handle/1]).
-export([
    open/1, join/1, depth/1, counts/1, cookies/1, are_open/1, held/1, resize/2, listening/0, listening_cookies/0, own/0,
    waited/1, peer_closed/1, inode/1, verdict/1, kernel/0, advise/1
]).
-export([default_settings/0, watch/3, again/2, unwatch/1, tick/3, tick_on_dirty/3, look/2, status/2]).

-export_type([source/0, handle/0, watch/0]).

%% `fallback': the program, because the library cannot be loaded.
-type source() :: nif | port | fallback.
-type remote_socket() :: {accept_queue_nif:fd(), accept_queue:cookie(), Inode :: pos_integer(), accept_queue:address()}.
-type handle() :: accept_queue_nif:handle() | {accept_queue_port_handle, [remote_socket(), ...]}.
-type watch() ::
    accept_queue_nif:watch()
    | {accept_queue_port_watch, Id :: pos_integer(), handle(), accept_queue_nif:settings()}.
-type unread() :: {error, accept_queue:reason() | badarg}.

-define(HANDLE, accept_queue_port_handle).
-define(WATCH, accept_queue_port_watch).

%% To be called when the application starts. `none': nobody can read but with what OTP has.
-spec choose() -> source() | none.
choose() ->
    Source =
        case {application:get_env(accept_queue, source, nif), accept_queue_nif:load_error(), accept_queue_port:program()} of
            {port, _, _} -> port;
            {_, undefined, _} -> nif;
            {_, _, undefined} -> none;
            {_, _, _} -> fallback
        end,
    %% The stubs say that there is no library.
    ok = persistent_term:put(?MODULE, if Source =:= none -> nif; true -> Source end),
    Source.

%% To be called when it has stopped.
-spec reset() -> ok.
reset() ->
    persistent_term:put(?MODULE, nif).

-spec source() -> source().
source() ->
    persistent_term:get(?MODULE, nif).

-spec is_handle(term()) -> boolean().
is_handle(Handle) when is_reference(Handle) -> true;
is_handle({?HANDLE, _}) -> true;
is_handle(_) -> false.

%% Readings. See `accept_queue_nif' for what each means.

-spec open(accept_queue_nif:fd()) -> {ok, handle()} | unread().
open(Fd) ->
    case source() of
        nif ->
            accept_queue_nif:open(Fd);
        _ ->
            case ask(open, [Fd]) of
                {ok, Socket} -> {ok, {?HANDLE, [Socket]}};
                {error, _} = Error -> Error
            end
    end.

-spec join([handle(), ...]) -> handle().
join([{?HANDLE, _} | _] = Handles) -> {?HANDLE, lists:append([Sockets || {?HANDLE, Sockets} <- Handles])};
join(Handles) -> accept_queue_nif:join(Handles).

-spec depth(handle()) -> {ok, {non_neg_integer(), non_neg_integer(), non_neg_integer() | undefined}} | unread().
depth({?HANDLE, Sockets}) ->
    ask(depth, [Sockets]);
depth(Handle) ->
    case accept_queue_nif:depth(Handle) of
        {error, second_tier} -> accept_queue_nif:depth_from_dump(Handle);
        Answer -> Answer
    end.

-spec counts(handle()) -> {ok, accept_queue:counts()} | unread().
counts({?HANDLE, Sockets}) -> ask(counts, [Sockets]);
counts(Handle) -> accept_queue_nif:counts(Handle).

-spec cookies(handle()) -> [accept_queue:cookie()].
cookies({?HANDLE, Sockets}) -> [Cookie || {_Fd, Cookie, _Inode, _Address} <- Sockets];
cookies(Handle) -> accept_queue_nif:cookies(Handle).

%% Of each of them, in the same order.
-spec are_open([handle()]) -> {ok, [boolean()]} | unread().
are_open([{?HANDLE, _} | _] = Handles) -> ask(are_open, [[Sockets || {?HANDLE, Sockets} <- Handles]]);
are_open(Handles) -> {ok, [accept_queue_nif:is_open(Handle) || Handle <- Handles]}.

-spec held(handle()) -> {ok, [accept_queue_nif:held()]} | unread().
held({?HANDLE, Sockets}) -> ask(held, [Sockets]);
held(Handle) -> accept_queue_nif:held(Handle).

-spec resize(handle(), non_neg_integer()) -> {ok, non_neg_integer()} | unread().
resize({?HANDLE, Sockets}, Backlog) -> ask(resize, [Sockets, Backlog]);
resize(Handle, Backlog) -> accept_queue_nif:resize(Handle, Backlog).

-spec listening() -> {ok, [accept_queue_nif:listening()]} | unread().
listening() ->
    either(fun accept_queue_nif:listening/0, listening, []).

-spec listening_cookies() -> {ok, [accept_queue:cookie()]} | unread().
listening_cookies() ->
    either(fun accept_queue_nif:listening_cookies/0, listening_cookies, []).

-spec own() -> {ok, [accept_queue_nif:own() | #{handle := handle(), atom() => term()}]} | unread().
own() ->
    case source() of
        nif ->
            accept_queue_nif:own();
        _ ->
            case ask(own, []) of
                {ok, Sockets} -> {ok, [own(Socket) || Socket <- Sockets]};
                {error, _} = Error -> Error
            end
    end.

own({Fd, Cookie, Inode, Address} = Socket) ->
    #{fd => Fd, handle => {?HANDLE, [Socket]}, address => Address, cookie => Cookie, inode => Inode}.

-spec waited(accept_queue_nif:fd()) -> {ok, non_neg_integer()} | unread().
waited(Fd) ->
    either(fun() -> accept_queue_nif:waited(Fd) end, waited, [Fd]).

-spec peer_closed(accept_queue_nif:fd()) -> {ok, boolean()} | unread().
peer_closed(Fd) ->
    either(fun() -> accept_queue_nif:peer_closed(Fd) end, peer_closed, [Fd]).

-spec inode(accept_queue_nif:fd()) -> {ok, pos_integer()} | unread().
inode(Fd) ->
    either(fun() -> accept_queue_nif:inode(Fd) end, inode, [Fd]).

-spec kernel() -> {ok, accept_queue:kernel()} | unread().
kernel() ->
    either(fun accept_queue_nif:kernel/0, kernel, []).

%% Rules. They read nothing, but they are core's, and core is where the reading is.

-spec advise(accept_queue_nif:facts()) -> {ok, [accept_queue_nif:advised()]} | unread().
advise(Facts) ->
    either(fun() -> {ok, accept_queue_nif:advise(Facts)} end, advise, [Facts]).

-spec verdict(accept_queue_nif:standing()) -> {ok, [accept_queue_nif:finding()]} | unread().
verdict(Standing) ->
    either(fun() -> {ok, accept_queue_nif:verdict(Standing)} end, verdict, [Standing]).

-spec default_settings() -> {ok, accept_queue_nif:settings()} | unread().
default_settings() ->
    either(fun() -> {ok, accept_queue_nif:default_settings()} end, default_settings, []).

%% Watches. The detectors of the program's end with it: then a watch is `lost', and has to begin anew.

-spec watch(handle(), accept_queue_nif:settings(), At :: non_neg_integer()) -> {ok, watch()} | unread().
watch({?HANDLE, Sockets} = Handle, Settings, AtMs) ->
    %% Never given twice by this VM, so that a program that was started again does not take it for another's.
    Id = erlang:unique_integer([positive]),
    case ask(watch, [Id, Sockets, Settings, AtMs]) of
        ok -> {ok, {?WATCH, Id, Handle, Settings}};
        {error, _} = Error -> Error
    end;
watch(Handle, Settings, AtMs) ->
    {ok, accept_queue_nif:watch(Handle, Settings, AtMs)}.

%% The same listener, with nothing behind it.
-spec again(watch(), At :: non_neg_integer()) -> {ok, watch()} | unread().
again({?WATCH, _Id, Handle, Settings}, AtMs) ->
    watch(Handle, Settings, AtMs).

%% The NIF's are let go with the last reference.
-spec unwatch(watch()) -> ok.
unwatch({?WATCH, Id, _Handle, _Settings}) ->
    accept_queue_port:cast(unwatch, [Id]);
unwatch(_Watch) ->
    ok.

-spec tick([watch()], At :: non_neg_integer(), All :: boolean()) ->
    {ok, [{Place :: pos_integer(), {ok, tuple()} | {error, lost} | unread()}]} | {error, second_tier}.
tick([{?WATCH, _, _, _} | _] = Watches, AtMs, All) ->
    case ask(tick, [ids(Watches), AtMs, All]) of
        {ok, Ticks} -> {ok, Ticks};
        {error, _} = Error -> {ok, [{Place, Error} || Place <- lists:seq(1, length(Watches))]}
    end;
tick(Watches, AtMs, All) ->
    accept_queue_nif:tick(Watches, AtMs, All).

-spec tick_on_dirty([watch()], At :: non_neg_integer(), All :: boolean()) ->
    {ok, [{Place :: pos_integer(), {ok, tuple()} | {error, lost} | unread()}]}.
tick_on_dirty([{?WATCH, _, _, _} | _] = Watches, AtMs, All) ->
    {ok, _} = tick(Watches, AtMs, All);
tick_on_dirty(Watches, AtMs, All) ->
    accept_queue_nif:tick_on_dirty(Watches, AtMs, All).

-spec look([watch()], At :: non_neg_integer()) ->
    [{ok, {accept_queue:counts(), [accept_queue_nif:change()]}} | {error, lost} | unread()].
look([{?WATCH, _, _, _} | _] = Watches, AtMs) ->
    case ask(look, [ids(Watches), AtMs]) of
        {ok, Looks} -> Looks;
        {error, _} = Error -> [Error || _ <- Watches]
    end;
look(Watches, AtMs) ->
    accept_queue_nif:look(Watches, AtMs).

-spec status(watch(), At :: non_neg_integer()) -> {ok, map()} | {error, lost} | unread().
status({?WATCH, Id, _Handle, _Settings}, AtMs) -> ask(status, [Id, AtMs]);
status(Watch, AtMs) -> {ok, accept_queue_nif:status(Watch, AtMs)}.

ids(Watches) ->
    [Id || {?WATCH, Id, _Handle, _Settings} <- Watches].

either(Native, Command, Arguments) ->
    case source() of
        nif -> Native();
        _ -> ask(Command, Arguments)
    end.

ask(Command, Arguments) ->
    accept_queue_port:call(Command, Arguments).
