%% @private
%% The stubs that `native/nif' replaces.
%%
%% Where the library does not load, the module still does, so that the application starts everywhere; its functions then
%% raise `not_loaded', and {@link load_error/0} has the reason. {@link load/0} tries again.
%%
%% A second load of the module fails, and what is loaded goes on: the library has no upgrade callback (rustler 0.39 makes none), and
%% stubs in its place would break every handle. It is replaced by a release upgrade (`accept_queue.appup'), or by `code:purge/1',
%% `code:delete/1', `code:purge/1' and a load: the handles, watches and pollers of before are then `badarg'.
-module(accept_queue_nif).

-export([
    open/1, has_first_tier/1, join/1, depth/1, depth_at/1, depth_from_dump/1, counts/1, cookies/1, is_open/1, held/1, resize/2, listening/0, own/0,
    waited/1, peer_closed/1, accepted/1, add_wait/2, waits/1, inode/1, verdict/1, kernel/0, advise/1, allow_ptrace/1,
    default_settings/0, reopen_ms/0, watch/3, watch_sockets/2, status/1, watch_waits/1, poller_start/1, poller_report_to/2, poller_watch/3, poller_is_running/1,
    poller_silence_ms/1, poller_samples_taken/1, reader_start/0, reader_request/5
]).
-export([load/0, load_error/0, priv_dir/0]).

-export_type([watch/0, poller/0, reader/0, settings/0, change/0, finding/0, handle/0, fd/0, listening/0, own/0, queue/0, held/0, facts/0, advised/0, reading/0]).

-on_load(load/0).
-nifs([
    open/1, has_first_tier/1, join/1, depth/1, depth_at/1, depth_from_dump/1, counts/1, cookies/1, is_open/1, held/1, resize/2, listening/0, own/0,
    waited/1, peer_closed/1, accepted/1, add_wait/2, waits/1, inode/1, verdict/1, kernel/0, advise/1, allow_ptrace/1,
    default_settings/0, reopen_ms/0, watch/3, watch_sockets/2, status/1, watch_waits/1, poller_start/1, poller_report_to/2, poller_watch/3, poller_is_running/1,
    poller_silence_ms/1, poller_samples_taken/1, reader_start/0, reader_request/5
]).

-type handle() :: reference().
-type fd() :: non_neg_integer().
-type depth() :: {Queued :: non_neg_integer(), Limit :: non_neg_integer(), Drops :: non_neg_integer() | undefined}.
-type listening() :: #{
    address := accept_queue:address(),
    cookie := accept_queue:cookie(),
    inode := pos_integer(),
    queued := non_neg_integer(),
    limit := non_neg_integer(),
    drops := non_neg_integer() | undefined
}.

-type own() :: #{
    fd := fd(),
    handle := handle(),
    address := accept_queue:address(),
    cookie := accept_queue:cookie(),
    inode := pos_integer(),
    queue := queue(),
    %% The name of the one that it is bound to.
    device := binary() | undefined
}.
%% What an address leaves open: sockets of one address are one queue where this is the same. The index of the device that it is bound to
%% (0: none), its network namespace where that is not the VM's own (the inode that `/proc/PID/ns/net' shows), the cookie of a Unix socket.
-type queue() :: {Interface :: non_neg_integer(), Namespace :: pos_integer() | undefined, accept_queue:cookie() | undefined}.
-type held() :: #{
    fd := fd() | undefined,
    inode := pos_integer(),
    peer := accept_queue:address(),
    recv_bytes := non_neg_integer(),
    age_ms := non_neg_integer()
}.

%% A fact that is not known is left out, or `undefined'.
-type facts() :: #{
    backend => inet | socket | undefined,
    requested => non_neg_integer() | undefined,
    limit => non_neg_integer() | undefined,
    queued => non_neg_integer() | undefined,
    oldest_wait_ms => non_neg_integer() | undefined,
    pool => non_neg_integer() | undefined,
    waiting_acceptors => non_neg_integer() | undefined,
    somaxconn => non_neg_integer() | undefined,
    tcp_abort_on_overflow => non_neg_integer() | undefined,
    tcp_syncookies => non_neg_integer() | undefined
}.
-type advised() :: #{
    id := atom(),
    severity := info | warning | error,
    text := binary(),
    evidence := #{atom() => non_neg_integer()}
}.
%% What a verdict is given on.
-type reading() :: #{
    queued := non_neg_integer(),
    limit := non_neg_integer(),
    queued_closed := non_neg_integer() | undefined,
    queued_reset := non_neg_integer() | undefined,
    oldest_wait_ms := non_neg_integer() | undefined,
    close_wait := non_neg_integer(),
    waiting_acceptors := non_neg_integer() | undefined,
    atom() => term()
}.
-type finding() :: full | nobody_accepts | behind | {left | leaking, pos_integer()}.

-type watch() :: reference().
-type poller() :: reference().
-type reader() :: reference().
-type settings() :: #{
    interval_ms := pos_integer(),
    census_ms := pos_integer(),
    max_wait_ms := pos_integer(),
    for_ms := pos_integer(),
    stuck_ms := pos_integer(),
    abandoned_ratio := float(),
    abandoned_min := pos_integer(),
    close_wait_max := pos_integer(),
    clear_ms := pos_integer(),
    sample_ms := pos_integer()
}.
-type change() ::
    {raised | cleared, accept_queue:condition(), #{
        held_ms := non_neg_integer(),
        counts := accept_queue:counts() | undefined,
        dropped := non_neg_integer(),
        dropped_otherwise := non_neg_integer(),
        %% `overflowing' and `stuck': the one that is full, or that no process accepts from.
        socket := #{cookie := accept_queue:cookie(), queued := non_neg_integer(), limit := non_neg_integer()} | undefined
    }}.

-define(LIBRARY, "accept_queue_nif").

%% Normal scheduler: a few system calls.

-spec open(fd()) -> {ok, handle()} | {error, accept_queue:reason()}.
open(_Fd) ->
    erlang:nif_error(not_loaded).

%% Whether `depth/1' reads it, and no dump.
-spec has_first_tier(handle()) -> boolean().
has_first_tier(_Handle) ->
    erlang:nif_error(not_loaded).

%% One handle for the sockets of all.
-spec join([handle()]) -> handle().
join(_Handles) ->
    erlang:nif_error(not_loaded).

%% `second_tier': only a dump has it; see `depth_from_dump/1'.
-spec depth(handle()) -> {ok, depth()} | {error, second_tier | accept_queue:reason()}.
depth(_Handle) ->
    erlang:nif_error(not_loaded).

%% Of the listening socket that the descriptor is of now.
-spec depth_at(fd()) -> {ok, depth()} | {error, second_tier | accept_queue:reason()}.
depth_at(_Fd) ->
    erlang:nif_error(not_loaded).

%% The sockets of the handle.
-spec cookies(handle()) -> [accept_queue:cookie()].
cookies(_Handle) ->
    erlang:nif_error(not_loaded).

%% Whether a socket of the handle is still open.
-spec is_open(handle()) -> boolean().
is_open(_Handle) ->
    erlang:nif_error(not_loaded).

-spec waited(fd()) -> {ok, non_neg_integer()} | {error, accept_queue:reason()}.
waited(_Fd) ->
    erlang:nif_error(not_loaded).

-spec peer_closed(fd()) -> {ok, boolean()} | {error, accept_queue:reason()}.
peer_closed(_Fd) ->
    erlang:nif_error(not_loaded).

-spec accepted(fd()) -> {ok, {WaitMs :: non_neg_integer(), PeerClosed :: boolean()}} | {error, accept_queue:reason()}.
accepted(_Fd) ->
    erlang:nif_error(not_loaded).

%% Counts an accepted connection of the listener. `false': all sockets of the handle are closed; of a single one that is not checked.
-spec add_wait(handle(), WaitMs :: non_neg_integer()) -> boolean().
add_wait(_Handle, _WaitMs) ->
    erlang:nif_error(not_loaded).

%% From memory.
-spec waits(handle()) -> accept_queue:waits().
waits(_Handle) ->
    erlang:nif_error(not_loaded).

-spec inode(fd()) -> {ok, pos_integer()} | {error, accept_queue:reason()}.
inode(_Fd) ->
    erlang:nif_error(not_loaded).

%% The rules for wrong settings. Reads nothing.
-spec advise(facts()) -> [advised()].
advise(_Facts) ->
    erlang:nif_error(not_loaded).

%% What is wrong with a listener by one reading of it, the gravest first. Reads nothing.
-spec verdict(reading()) -> [finding()].
verdict(_Reading) ->
    erlang:nif_error(not_loaded).

%% Dirty I/O scheduler: a dump, a walk over the descriptors, or a system call that may wait. Where the application runs,
%% `accept_queue_reader' makes these on a thread of the library.

-spec depth_from_dump(handle()) -> {ok, depth()} | {error, accept_queue:reason()}.
depth_from_dump(_Handle) ->
    erlang:nif_error(not_loaded).

-spec counts(handle()) -> {ok, accept_queue:counts()} | {error, accept_queue:reason()}.
counts(_Handle) ->
    erlang:nif_error(not_loaded).

%% The longest held first.
-spec held(handle()) -> {ok, [held()]} | {error, accept_queue:reason()}.
held(_Handle) ->
    erlang:nif_error(not_loaded).

-spec resize(handle(), non_neg_integer()) -> {ok, non_neg_integer()} | {error, accept_queue:reason()}.
resize(_Handle, _Backlog) ->
    erlang:nif_error(not_loaded).

%% The listeners of the VM's network namespace.
-spec listening() -> {ok, [listening()]} | {error, accept_queue:reason()}.
listening() ->
    erlang:nif_error(not_loaded).

%% The listening descriptors of this operating system process.
-spec own() -> {ok, [own()]} | {error, accept_queue:reason()}.
own() ->
    erlang:nif_error(not_loaded).

-spec kernel() -> {ok, accept_queue:kernel()} | {error, accept_queue:reason()}.
kernel() ->
    erlang:nif_error(not_loaded).

%% Allows this operating system process to trace the VM and read its memory where Yama forbids it (`prctl(PR_SET_PTRACER)').
%% `{errno, einval}' where the kernel has no Yama.
-spec allow_ptrace(OsPid :: pos_integer()) -> {ok, OsPid :: pos_integer()} | {error, accept_queue:reason()}.
allow_ptrace(_OsPid) ->
    erlang:nif_error(not_loaded).

%% For the monitor.

-spec default_settings() -> settings().
default_settings() ->
    erlang:nif_error(not_loaded).

%% An address that is closed and opened again within this time is the same listener.
-spec reopen_ms() -> pos_integer().
reopen_ms() ->
    erlang:nif_error(not_loaded).

%% Reads the listener once, so that later readings are compared with this one.
-spec watch(Id :: non_neg_integer(), handle(), settings()) -> watch().
watch(_Id, _Handle, _Settings) ->
    erlang:nif_error(not_loaded).

%% Goes on with other sockets: one has come or gone, or all have been closed and opened again. What is known stays.
-spec watch_sockets(watch(), handle()) -> ok.
watch_sockets(_Watch, _Handle) ->
    erlang:nif_error(not_loaded).

%% From memory.
-spec status(watch()) ->
    #{
        conditions := [{accept_queue:condition(), RaisedAgoMs :: non_neg_integer()}],
        depth := depth() | undefined,
        drops := non_neg_integer() | undefined,
        counts := accept_queue:counts() | undefined,
        counts_ago_ms := non_neg_integer() | undefined,
        census_every_ms := pos_integer(),
        window :=
            #{
                min := non_neg_integer(),
                max := non_neg_integer(),
                mean := float(),
                peak_ago_ms := non_neg_integer()
            }
            | undefined,
        watched_ms := non_neg_integer(),
        read_ago_ms := non_neg_integer() | undefined,
        waits := accept_queue:waits()
    }.
status(_Watch) ->
    erlang:nif_error(not_loaded).

%% From memory.
-spec watch_waits(watch()) -> accept_queue:waits().
watch_waits(_Watch) ->
    erlang:nif_error(not_loaded).

%% Starts a thread that polls the watches. It ends with the last reference to it. Its reports are messages,
%% `{accept_queue_poller, accept_queue_source:report()}'.
-spec poller_start(ReportsTo :: pid()) -> {ok, poller()} | {error, accept_queue:reason()}.
poller_start(_ReportsTo) ->
    erlang:nif_error(not_loaded).

%% Replaces the process that gets the reports. A poll that is under way is reported to the new one, which may have found in a
%% `status/1' what that reports.
-spec poller_report_to(poller(), pid()) -> ok.
poller_report_to(_Poller, _Pid) ->
    erlang:nif_error(not_loaded).

%% Replaces what is polled. Each watch has its own interval. `Samples': readings that change nothing are reported too, at the pace of each.
-spec poller_watch(poller(), [watch()], Samples :: boolean()) -> ok.
poller_watch(_Poller, _Watches, _Samples) ->
    erlang:nif_error(not_loaded).

-spec poller_is_running(poller()) -> boolean().
poller_is_running(_Poller) ->
    erlang:nif_error(not_loaded).

%% How long ago its thread last began a round: about a second at most, unless the thread is held up.
-spec poller_silence_ms(poller()) -> non_neg_integer().
poller_silence_ms(_Poller) ->
    erlang:nif_error(not_loaded).

%% The last `{samples, _}' has been dealt with, and another may come. How many samples were left out meanwhile.
-spec poller_samples_taken(poller()) -> non_neg_integer().
poller_samples_taken(_Poller) ->
    erlang:nif_error(not_loaded).

%% Threads for the readings that walk a table. They end with the last reference.
-spec reader_start() -> {ok, reader()} | {error, accept_queue:reason()}.
reader_start() ->
    erlang:nif_error(not_loaded).

%% Has a function of those for a dirty scheduler called on such a thread. The answer is a message, `{accept_queue_reader, Tag,
%% Answer}'; `{error, timeout}' where the call waited for longer than its caller does. `full': too many wait.
-spec reader_request(reader(), AnswersTo :: pid(), Tag :: pos_integer(), PatienceMs :: pos_integer(), {atom(), [term()]}) -> ok | full.
reader_request(_Reader, _AnswersTo, _Tag, _PatienceMs, _Request) ->
    erlang:nif_error(not_loaded).

%% Why the library could not be loaded; `undefined' when it was.
-spec load_error() -> undefined | {atom(), string()}.
load_error() ->
    persistent_term:get({?MODULE, load_error}, undefined).

%% Runs when the module is loaded, and again when the application starts without the library: it may have come back.
%%
%% While `on_load' runs, an earlier instance of the module is the loaded one (erts/emulator/beam/beam_load.c). Where that has its
%% library, any error is the answer, and the code server keeps it.
-spec load() -> ok | {error, {atom(), string()}}.
load() ->
    HasLibrary = erlang:module_loaded(?MODULE) andalso load_error() =:= undefined,
    case erlang:load_nif(library(), 0) of
        ok ->
            %% Changes nothing, and costs nothing, where there is none.
            _ = persistent_term:erase({?MODULE, load_error}),
            ok;
        {error, {Reason, Text}} when HasLibrary ->
            {error, {Reason, lists:flatten(Text)}};
        {error, {Reason, Text}} ->
            persistent_term:put({?MODULE, load_error}, {Reason, lists:flatten(Text)})
    end.

library() ->
    filename:join(priv_dir(), ?LIBRARY).

%% Where the library and the program are: beside the folder that this module comes from. `code:priv_dir' goes by the names of
%% folders alone, and finds any project that is called accept_queue.
-spec priv_dir() -> file:filename().
priv_dir() ->
    Beam =
        case code:where_is_file(?MODULE_STRING ".beam") of
            %% Loaded from elsewhere than the code path.
            non_existing -> code:which(?MODULE);
            Found -> Found
        end,
    filename:join(filename:dirname(filename:dirname(Beam)), "priv").
