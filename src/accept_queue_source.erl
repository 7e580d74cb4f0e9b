%% @private
%% The source of the readings: the NIF, or the port program. The one place that chooses; both give the same answers.
%%
%% `{source, nif | port}' of the environment chooses. Where the library cannot be loaded, the program reads in its place, if it was
%% built; where the application does not run, the program does not either, and the NIF reads.
%%
%% Each reads its own handles and watches: those of the program are tagged terms with all that it needs. No state is kept for a
%% handle.
-module(accept_queue_source).

-export([choose/0, replace_library/0, reset/0, source/0, is_handle/1]).
-export([
    open/1, has_first_tier/1, join/1, depth/1, depth_at/1, counts/1, cookies/1, are_open/1, held/1, resize/2, listening/0, own/0,
    waited/1, peer_closed/1, accepted/1, add_wait/2, waits/1, inode/1, verdict/1, kernel/0, advise/1
]).
-export([default_settings/0, reopen_ms/0, watch/2, watch_sockets/2, watch_id/1, again/1, unwatch/1, status/1, waits_of_watch/1]).
-export([poller/1, poller_watch/3, poller_is_running/1, poller_sees_all/1, poller_silence_ms/1, poller_samples_taken/1, is_process/2]).
-export([interval_ms/1, read/2, census/1, listening_cookies/0]).

-export_type([source/0, handle/0, watch/0, watch_id/0, poller/0, report/0, notices/0]).

%% `fallback': the program, because the library cannot be loaded.
-type source() :: nif | port | fallback.
-type remote_socket() :: {accept_queue_nif:fd(), accept_queue:cookie(), Inode :: pos_integer(), accept_queue:address()}.
-type handle() :: accept_queue_nif:handle() | {accept_queue_port_handle, [remote_socket(), ...]}.
-type watch_id() :: pos_integer().
-type watch() ::
    {watch_id(), accept_queue_nif:watch()}
    | {accept_queue_port_watch, watch_id(), handle(), accept_queue_nif:settings()}.
-type poller() :: accept_queue_nif:poller() | accept_queue_poller:poller().
%% `samples': readings that changed nothing; the next ones come when these have been taken. `late': a poll was later than an
%% interval. `listeners_changed': other sockets listen than a second ago.
-type report() :: notices() | {samples, notices()} | {late, Ms :: pos_integer()} | listeners_changed.
-type notices() ::
    [
        {
            watch_id(),
            {reading, {non_neg_integer(), non_neg_integer(), non_neg_integer() | undefined}, [accept_queue_nif:change()]}
            | {census, accept_queue:counts(), [accept_queue_nif:change()]}
            | {error, accept_queue:reason() | lost}
            %% The depth can be read, and no census can be taken; and can be taken again.
            | {census_error, accept_queue:reason()}
            | census_recovered
        },
        ...
    ].
-type unread() :: {error, accept_queue:reason() | badarg}.

-define(HANDLE, accept_queue_port_handle).
-define(WATCH, accept_queue_port_watch).
%% No reading of the library takes longer.
-define(READING_MS, 6000).
-define(READING_AGAIN_MS, 50).

%% To be called when the application starts. `none': there is neither library nor program, and OTP's `inet:getopts' has the depth.
-spec choose() -> source() | none.
choose() ->
    Source =
        case {application:get_env(accept_queue, source, nif), load_error(), accept_queue_port:program()} of
            {port, _, _} -> port;
            {_, undefined, _} -> nif;
            {_, _, undefined} -> none;
            {_, _, _} -> fallback
        end,
    %% With `none', the stubs of the NIF raise `not_loaded'.
    ok = persistent_term:put(?MODULE, if Source =:= none -> nif; true -> Source end),
    Source.

%% The library may have come back since the last start.
load_error() ->
    case accept_queue_nif:load_error() of
        undefined ->
            undefined;
        _ ->
            ok = accept_queue_nif:load(),
            accept_queue_nif:load_error()
    end.

%% For a release upgrade (`accept_queue.appup'), while the application does not run. Where a caller has just had the module loaded again,
%% the load fails, and that is as good.
-spec replace_library() -> ok.
replace_library() ->
    _ = code:purge(accept_queue_nif),
    _ = code:delete(accept_queue_nif),
    ok = purge(accept_queue_nif, erlang:monotonic_time(millisecond) + ?READING_MS),
    _ = code:load_file(accept_queue_nif),
    ok.

%% Processes that are reading end that first, for a purge kills them.
purge(Module, DeadlineMs) ->
    case code:soft_purge(Module) orelse erlang:monotonic_time(millisecond) > DeadlineMs of
        true ->
            _ = code:purge(Module),
            ok;
        false ->
            receive
            after ?READING_AGAIN_MS -> purge(Module, DeadlineMs)
            end
    end.

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

%% Whether a few system calls on the descriptor read it, here and now.
-spec has_first_tier(handle()) -> boolean().
has_first_tier({?HANDLE, _}) -> false;
has_first_tier(Handle) -> accept_queue_nif:has_first_tier(Handle).

-spec depth(handle()) -> {ok, {non_neg_integer(), non_neg_integer(), non_neg_integer() | undefined}} | unread().
depth({?HANDLE, Sockets}) ->
    ask(depth, [Sockets]);
depth(Handle) ->
    case accept_queue_nif:depth(Handle) of
        {error, second_tier} -> read_natively(depth_from_dump, [Handle]);
        Answer -> Answer
    end.

%% Of the listening socket that the descriptor is of now; `second_tier': a handle is asked instead.
-spec depth_at(accept_queue_nif:fd()) ->
    {ok, {non_neg_integer(), non_neg_integer(), non_neg_integer() | undefined}} | {error, second_tier} | unread().
depth_at(Fd) ->
    case source() of
        nif -> accept_queue_nif:depth_at(Fd);
        _ -> {error, second_tier}
    end.

-spec counts(handle()) -> {ok, accept_queue:counts()} | unread().
counts({?HANDLE, Sockets}) -> ask(counts, [Sockets]);
counts(Handle) -> read_natively(counts, [Handle]).

-spec cookies(handle()) -> [accept_queue:cookie()].
cookies({?HANDLE, Sockets}) -> [Cookie || {_Fd, Cookie, _Inode, _Address} <- Sockets];
cookies(Handle) -> accept_queue_nif:cookies(Handle).

%% Of each of them, in the same order.
-spec are_open([handle()]) -> {ok, [boolean()]} | unread().
are_open([{?HANDLE, _} | _] = Handles) -> ask(are_open, [[Sockets || {?HANDLE, Sockets} <- Handles]]);
are_open(Handles) -> {ok, [of_instance(fun() -> accept_queue_nif:is_open(Handle) end, false) || Handle <- Handles]}.

-spec held(handle()) -> {ok, [accept_queue_nif:held()]} | unread().
held({?HANDLE, Sockets}) -> ask(held, [Sockets]);
held(Handle) -> read_natively(held, [Handle]).

-spec resize(handle(), non_neg_integer()) -> {ok, non_neg_integer()} | unread().
resize({?HANDLE, Sockets}, Backlog) -> ask(resize, [Sockets, Backlog]);
resize(Handle, Backlog) -> read_natively(resize, [Handle, Backlog]).

-spec listening() -> {ok, [accept_queue_nif:listening()]} | unread().
listening() ->
    either(fun() -> read_natively(listening, []) end, listening, []).

-spec own() -> {ok, [accept_queue_nif:own() | #{handle := handle(), atom() => term()}]} | unread().
own() ->
    case source() of
        nif ->
            read_natively(own, []);
        _ ->
            case ask(own, []) of
                {ok, Sockets} -> {ok, [own(Socket) || Socket <- Sockets]};
                {error, _} = Error -> Error
            end
    end.

own({{Fd, Cookie, Inode, Address} = Socket, Queue, Device}) ->
    #{fd => Fd, handle => {?HANDLE, [Socket]}, address => Address, cookie => Cookie, inode => Inode, queue => Queue, device => Device}.

-spec waited(accept_queue_nif:fd()) -> {ok, non_neg_integer()} | unread().
waited(Fd) ->
    either(fun() -> accept_queue_nif:waited(Fd) end, waited, [Fd]).

-spec peer_closed(accept_queue_nif:fd()) -> {ok, boolean()} | unread().
peer_closed(Fd) ->
    either(fun() -> accept_queue_nif:peer_closed(Fd) end, peer_closed, [Fd]).

-spec accepted(accept_queue_nif:fd()) -> {ok, {WaitMs :: non_neg_integer(), PeerClosed :: boolean()}} | unread().
accepted(Fd) ->
    either(fun() -> accept_queue_nif:accepted(Fd) end, accepted, [Fd]).

%% Counts an accepted connection. The program is not waited for.
-spec add_wait(handle(), WaitMs :: non_neg_integer()) -> ok | {error, closed}.
add_wait({?HANDLE, Sockets}, WaitMs) ->
    accept_queue_port:cast(add_wait, [Sockets, WaitMs]);
add_wait(Handle, WaitMs) ->
    case accept_queue_nif:add_wait(Handle, WaitMs) of
        true -> ok;
        false -> {error, closed}
    end.

-spec waits(handle()) -> {ok, accept_queue:waits()} | unread().
waits({?HANDLE, Sockets}) -> ask(waits, [Sockets]);
waits(Handle) -> {ok, accept_queue_nif:waits(Handle)}.

-spec inode(accept_queue_nif:fd()) -> {ok, pos_integer()} | unread().
inode(Fd) ->
    either(fun() -> accept_queue_nif:inode(Fd) end, inode, [Fd]).

-spec kernel() -> {ok, accept_queue:kernel()} | unread().
kernel() ->
    either(fun() -> read_natively(kernel, []) end, kernel, []).

%% Rules. They read nothing, but they are core's, and core is in the library and the program.

-spec advise(accept_queue_nif:facts()) -> {ok, [accept_queue_nif:advised()]} | unread().
advise(Facts) ->
    either(fun() -> {ok, accept_queue_nif:advise(Facts)} end, advise, [Facts]).

-spec verdict(accept_queue_nif:reading()) -> {ok, [accept_queue_nif:finding()]} | unread().
verdict(Reading) ->
    either(fun() -> {ok, accept_queue_nif:verdict(Reading)} end, verdict, [Reading]).

-spec default_settings() -> {ok, accept_queue_nif:settings()} | unread().
default_settings() ->
    either(fun() -> {ok, accept_queue_nif:default_settings()} end, default_settings, []).

%% An address that is closed and opened again within this time is the same listener.
-spec reopen_ms() -> {ok, pos_integer()} | unread().
reopen_ms() ->
    either(fun() -> {ok, accept_queue_nif:reopen_ms()} end, reopen_ms, []).

%% Watches. Each reads its listener once when it begins, so that later readings are compared with this one.
%%
%% The detectors of the program end with it: then a watch is `lost', and has to be replaced (`again/1'). Those of the library are lost
%% where its module was purged and loaded again, and are not replaced: the handle is of no use either.

-spec watch(handle(), accept_queue_nif:settings()) -> {ok, watch()} | unread().
watch({?HANDLE, _} = Handle, Settings) ->
    case unread_watch(Handle, Settings) of
        {ok, {?WATCH, Id, _, _}} = Begun ->
            _ = ask(read, [[Id], now_ms(), news]),
            Begun;
        {error, _} = Error ->
            Error
    end;
watch(Handle, Settings) ->
    Id = new_id(),
    case read_natively(watch, [Id, Handle, Settings]) of
        {error, _} = Error -> Error;
        Watch -> {ok, {Id, Watch}}
    end.

unread_watch({?HANDLE, Sockets} = Handle, Settings) ->
    Id = new_id(),
    case ask(watch, [Id, Sockets, Settings, now_ms()]) of
        ok -> {ok, {?WATCH, Id, Handle, Settings}};
        {error, _} = Error -> Error
    end.

%% Goes on with other sockets: what is known of the listener stays.
-spec watch_sockets(watch(), handle()) -> watch().
watch_sockets({?WATCH, Id, _Handle, Settings}, {?HANDLE, Sockets} = Handle) ->
    ok = accept_queue_port:cast(watch_sockets, [Id, Sockets]),
    {?WATCH, Id, Handle, Settings};
watch_sockets({_Id, Watch} = Known, Handle) ->
    ok = accept_queue_nif:watch_sockets(Watch, Handle),
    Known.

%% Never given twice by this VM, so that a new program does not confuse it with an earlier watch.
new_id() -> erlang:unique_integer([positive]).

%% The watch's name in reports.
-spec watch_id(watch()) -> watch_id().
watch_id({?WATCH, Id, _Handle, _Settings}) -> Id;
watch_id({Id, _Watch}) -> Id.

%% A new watch of the same listener; `none' where its handle is lost too. The first poll reads it, and so reports that it can be read.
-spec again(watch()) -> {ok, watch()} | none | unread().
again({?WATCH, _Id, Handle, Settings}) ->
    unread_watch(Handle, Settings);
again({_Id, _Watch}) ->
    none.

%% A watch of the NIF ends with the last reference to it.
-spec unwatch(watch()) -> ok.
unwatch({?WATCH, Id, _Handle, _Settings}) ->
    accept_queue_port:cast(unwatch, [Id]);
unwatch(_Watch) ->
    ok.

%% From memory.
-spec status(watch()) -> {ok, map()} | {error, lost} | unread().
status({?WATCH, Id, _Handle, _Settings}) -> ask(status, [Id, now_ms()]);
status({_Id, Watch}) -> of_instance(fun() -> {ok, accept_queue_nif:status(Watch)} end, {error, lost}).

%% `undefined' from the program: what asks for it must not wait.
-spec waits_of_watch(watch()) -> accept_queue:waits() | undefined.
waits_of_watch({?WATCH, _Id, _Handle, _Settings}) -> undefined;
waits_of_watch({_Id, Watch}) -> of_instance(fun() -> accept_queue_nif:watch_waits(Watch) end, undefined).

%% The poller of the watches: a thread of the library, or a process that asks the program. Reports to the caller, as
%% `{accept_queue_poller, report()}', and no longer to the process before, which was killed. The caller may find in the state of a
%% watch what is reported to it afterwards.
-spec poller(Before :: poller() | undefined) -> {ok, poller()} | {error, accept_queue:reason()}.
poller(Before) ->
    case source() of
        nif when is_reference(Before) ->
            case poller_is_running(Before) of
                true ->
                    ok = accept_queue_nif:poller_report_to(Before, self()),
                    {ok, Before};
                false ->
                    poller(undefined)
            end;
        nif ->
            accept_queue_nif:poller_start(self());
        _ ->
            accept_queue_poller:start_link()
    end.

%% Replaces what is polled. Each watch has its own interval. `Samples': readings that change nothing are reported too, at the pace of each.
-spec poller_watch(poller(), [watch()], Samples :: boolean()) -> ok.
poller_watch(Poller, Watches, Samples) when is_reference(Poller) ->
    accept_queue_nif:poller_watch(Poller, [Watch || {_Id, Watch} <- Watches], Samples);
poller_watch(Poller, Watches, Samples) ->
    accept_queue_poller:watch(Poller, Watches, Samples).

-spec poller_is_running(poller()) -> boolean().
poller_is_running(Poller) when is_reference(Poller) -> of_instance(fun() -> accept_queue_nif:poller_is_running(Poller) end, false);
poller_is_running(Poller) -> accept_queue_poller:is_running(Poller).

%% Whether it reports each listener of this VM that comes or goes: also one of another network namespace, or one that was handed over.
-spec poller_sees_all(poller()) -> boolean().
poller_sees_all(Poller) -> is_reference(Poller).

%% How long ago it last began a round: about a second at most, unless it is held up. From memory. `lost': of a library that was replaced.
-spec poller_silence_ms(poller()) -> non_neg_integer() | lost.
poller_silence_ms(Poller) when is_reference(Poller) ->
    of_instance(fun() -> accept_queue_nif:poller_silence_ms(Poller) end, lost);
poller_silence_ms(Poller) ->
    accept_queue_poller:silence_ms(Poller).

%% The last `{samples, _}' has been dealt with. How many samples were left out meanwhile.
-spec poller_samples_taken(poller()) -> non_neg_integer().
poller_samples_taken(Poller) when is_reference(Poller) ->
    of_instance(fun() -> accept_queue_nif:poller_samples_taken(Poller) end, 0);
poller_samples_taken(Poller) ->
    accept_queue_poller:samples_taken(Poller).

%% Whether it is a process, and this one.
-spec is_process(poller(), pid()) -> boolean().
is_process(Poller, _Pid) when is_reference(Poller) -> false;
is_process(Poller, Pid) -> accept_queue_poller:is_process(Poller, Pid).

%% For the process that polls the program.

-spec interval_ms(watch()) -> pos_integer().
interval_ms({?WATCH, _Id, _Handle, #{interval_ms := IntervalMs}}) -> IntervalMs.

%% Of those that changed nothing the samples, or all, or none.
-spec read([watch()], news | samples | all) -> [{watch(), {ok, tuple()} | {error, lost} | unread()}].
read(Watches, Wanted) ->
    case ask(read, [ids(Watches), now_ms(), Wanted]) of
        {ok, Readings} ->
            ByPlace = list_to_tuple(Watches),
            [{element(Place, ByPlace), Reading} || {Place, Reading} <- Readings];
        {error, _} = Error ->
            [{Watch, Error} || Watch <- Watches]
    end.

-spec census([watch()]) ->
    [{watch(), {ok, {accept_queue:counts(), [accept_queue_nif:change()], news | sample | quiet}} | {error, lost} | unread()}].
census([]) ->
    [];
census(Watches) ->
    case ask(census, [ids(Watches), now_ms()]) of
        {ok, Censuses} -> lists:zip(Watches, Censuses);
        {error, _} = Error -> [{Watch, Error} || Watch <- Watches]
    end.

%% In order: two answers are the same where the same sockets listen.
-spec listening_cookies() -> {ok, [accept_queue:cookie()]} | unread().
listening_cookies() ->
    ask(listening_cookies, []).

ids(Watches) ->
    [Id || {?WATCH, Id, _Handle, _Settings} <- Watches].

%% Since the VM started: never negative, and never back.
now_ms() ->
    erlang:convert_time_unit(erlang:monotonic_time() - erlang:system_info(start_time), native, millisecond).

%% What the library made before its module was purged and loaded again is nothing to the new instance.
of_instance(Native, Lost) ->
    try
        Native()
    catch
        error:badarg -> Lost
    end.

either(Native, Command, Arguments) ->
    case source() of
        nif -> Native();
        _ -> ask(Command, Arguments)
    end.

%% What walks a table, or waits.
read_natively(Function, Arguments) ->
    accept_queue_reader:call(Function, Arguments).

ask(Command, Arguments) ->
    accept_queue_port:call(Command, Arguments).
