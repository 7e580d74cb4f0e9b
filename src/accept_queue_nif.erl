%% @private
%% The stubs that `native/nif' replaces. Nothing but stubs: the library is loaded once and never upgraded.
%%
%% The module loads also where the library does not, so that the application starts everywhere; its functions then
%% raise `not_loaded', and {@link load_error/0} says why.
-module(accept_queue_nif).

-export([
    open/1, join/1, depth/1, depth_from_dump/1, counts/1, cookies/1, is_open/1, held/1, resize/2, listening/0, own/0,
    waited/1, peer_closed/1, inode/1, verdict/1, kernel/0, advise/1, let_read/1,
    default_settings/0, watch/3, status/1, patrol_start/1, patrol_report_to/2, patrol_watch/3, patrol_is_at_work/1
]).
-export([load_error/0, priv_dir/0]).

-export_type([watch/0, patrol/0, settings/0, change/0, finding/0, handle/0, fd/0, listening/0, own/0, held/0, facts/0, advised/0, standing/0]).

-on_load(load/0).
-nifs([
    open/1, join/1, depth/1, depth_from_dump/1, counts/1, cookies/1, is_open/1, held/1, resize/2, listening/0, own/0,
    waited/1, peer_closed/1, inode/1, verdict/1, kernel/0, advise/1, let_read/1,
    default_settings/0, watch/3, status/1, patrol_start/1, patrol_report_to/2, patrol_watch/3, patrol_is_at_work/1
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
    inode := pos_integer()
}.
-type held() :: #{
    fd := fd() | undefined,
    inode := pos_integer(),
    peer := accept_queue:address(),
    recv_bytes := non_neg_integer(),
    age_ms := non_neg_integer()
}.

%% What is not known is left out, or `undefined'.
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
-type standing() :: #{
    queued := non_neg_integer(),
    limit := non_neg_integer(),
    queued_closed := non_neg_integer(),
    queued_reset := non_neg_integer(),
    oldest_wait_ms := non_neg_integer() | undefined,
    close_wait := non_neg_integer(),
    waiting_acceptors := non_neg_integer() | undefined,
    atom() => term()
}.
-type finding() :: full | nobody_accepts | behind | {left | leaking, pos_integer()}.

-type watch() :: reference().
-type patrol() :: reference().
-type settings() :: #{
    interval_ms := pos_integer(),
    census_ms := pos_integer(),
    max_wait_ms := pos_integer(),
    for_ms := pos_integer(),
    stuck_ms := pos_integer(),
    abandoned_ratio := float(),
    abandoned_min := pos_integer(),
    close_wait_max := pos_integer(),
    clear_ms := pos_integer()
}.
-type change() ::
    {raised | cleared, accept_queue:condition(), #{
        held_ms := non_neg_integer(),
        counts := accept_queue:counts() | undefined,
        dropped := non_neg_integer(),
        dropped_otherwise := non_neg_integer()
    }}.

-define(LIBRARY, "accept_queue_nif").

%% Normal scheduler: a few system calls.

-spec open(fd()) -> {ok, handle()} | {error, accept_queue:reason()}.
open(_Fd) ->
    erlang:nif_error(not_loaded).

%% A handle that answers for all of these.
-spec join([handle()]) -> handle().
join(_Handles) ->
    erlang:nif_error(not_loaded).

%% `second_tier': not to be read here; see `depth_from_dump/1'.
-spec depth(handle()) -> {ok, depth()} | {error, second_tier | accept_queue:reason()}.
depth(_Handle) ->
    erlang:nif_error(not_loaded).

%% The sockets that the handle answers for.
-spec cookies(handle()) -> [accept_queue:cookie()].
cookies(_Handle) ->
    erlang:nif_error(not_loaded).

%% Whether the socket of a handle is still open; of several, any.
-spec is_open(handle()) -> boolean().
is_open(_Handle) ->
    erlang:nif_error(not_loaded).

-spec waited(fd()) -> {ok, non_neg_integer()} | {error, accept_queue:reason()}.
waited(_Fd) ->
    erlang:nif_error(not_loaded).

-spec peer_closed(fd()) -> {ok, boolean()} | {error, accept_queue:reason()}.
peer_closed(_Fd) ->
    erlang:nif_error(not_loaded).

-spec inode(fd()) -> {ok, pos_integer()} | {error, accept_queue:reason()}.
inode(_Fd) ->
    erlang:nif_error(not_loaded).

%% Reads nothing: the rules for what is set wrongly.
-spec advise(facts()) -> [advised()].
advise(_Facts) ->
    erlang:nif_error(not_loaded).

%% What is wrong with a listener, by one reading of it, the gravest first.
-spec verdict(standing()) -> [finding()].
verdict(_Standing) ->
    erlang:nif_error(not_loaded).

%% Dirty I/O scheduler: a dump, a walk over the descriptors, or a system call that may wait.

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

%% Whoever listens in the VM's network namespace.
-spec listening() -> {ok, [listening()]} | {error, accept_queue:reason()}.
listening() ->
    erlang:nif_error(not_loaded).

%% Whatever listens among the descriptors of this process.
-spec own() -> {ok, [own()]} | {error, accept_queue:reason()}.
own() ->
    erlang:nif_error(not_loaded).

-spec kernel() -> {ok, accept_queue:kernel()} | {error, accept_queue:reason()}.
kernel() ->
    erlang:nif_error(not_loaded).

%% Lets this process of the operating system read the memory of the VM where Yama would not. `{errno, einval}' where the kernel
%% has no Yama.
-spec let_read(OsPid :: pos_integer()) -> {ok, OsPid :: pos_integer()} | {error, accept_queue:reason()}.
let_read(_OsPid) ->
    erlang:nif_error(not_loaded).

%% What the monitor asks.

-spec default_settings() -> settings().
default_settings() ->
    erlang:nif_error(not_loaded).

%% Read once: what has happened before was not watched.
-spec watch(Id :: non_neg_integer(), handle(), settings()) -> watch().
watch(_Id, _Handle, _Settings) ->
    erlang:nif_error(not_loaded).

%% From memory.
-spec status(watch()) ->
    #{
        conditions := [{accept_queue:condition(), RaisedAgoMs :: non_neg_integer()}],
        depth := depth() | undefined,
        drops := non_neg_integer() | undefined,
        counts := accept_queue:counts() | undefined,
        counts_ago_ms := non_neg_integer() | undefined,
        window :=
            #{
                min := non_neg_integer(),
                max := non_neg_integer(),
                mean := float(),
                peak_ago_ms := non_neg_integer()
            }
            | undefined,
        watched_ms := non_neg_integer(),
        read_ago_ms := non_neg_integer() | undefined
    }.
status(_Watch) ->
    erlang:nif_error(not_loaded).

%% A thread that goes the rounds of what is watched, and ends with the last reference to this. Its reports are messages,
%% `{accept_queue_patrol, accept_queue_source:report()}'.
-spec patrol_start(ReportsTo :: pid()) -> {ok, patrol()} | {error, accept_queue:reason()}.
patrol_start(_ReportsTo) ->
    erlang:nif_error(not_loaded).

%% From the end of a round that has begun.
-spec patrol_report_to(patrol(), pid()) -> ok.
patrol_report_to(_Patrol, _Pid) ->
    erlang:nif_error(not_loaded).

%% These from now on, each at its own interval, and nothing else. `All': every reading is reported.
-spec patrol_watch(patrol(), [watch()], All :: boolean()) -> ok.
patrol_watch(_Patrol, _Watches, _All) ->
    erlang:nif_error(not_loaded).

-spec patrol_is_at_work(patrol()) -> boolean().
patrol_is_at_work(_Patrol) ->
    erlang:nif_error(not_loaded).

%% Why the library could not be loaded; `undefined' when it was.
-spec load_error() -> undefined | {atom(), string()}.
load_error() ->
    persistent_term:get({?MODULE, load_error}, undefined).

load() ->
    case erlang:load_nif(library(), 0) of
        ok ->
            ok;
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
