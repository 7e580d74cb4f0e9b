%% @private
%% Options and environment: what is allowed, and the sentence that refuses the rest. Defaults come from core.
-module(accept_queue_config).

-export([watch_options/1, listeners/1, environment/0, watchdog/0]).

-export_type([environment/0, watchdog/0, wanted/0]).

%% Neither the library nor the port program answered with core's defaults.
-type unread() :: {unread, accept_queue:reason()}.
%% Which listeners the environment wants to be watched.
-type wanted() :: all | none | {all_but, [accept_queue:listener()]} | [accept_queue:listener()].
-type environment() :: #{watch := wanted(), options := accept_queue_nif:settings()}.

-type watchdog() :: #{
    heartbeat_ms := pos_integer(),
    hang_after_ms := pos_integer(),
    directory := file:filename_all(),
    keep := pos_integer(),
    allow_ptrace := boolean()
}.

-define(HOUR_MS, 3600000).
-define(WATCHDOG, #{heartbeat_ms => 1000, hang_after_ms => 5000, keep => 10, allow_ptrace => false}).
%% One late heartbeat is no hang.
-define(HEARTBEATS_IN_A_HANG, 3).

%% The options of {@link accept_queue:watch/2}, as a map or a list of pairs. What is not given is as in the environment.
-spec watch_options(term()) -> {ok, map()} | {error, Sentence :: string()} | unread().
watch_options(Options) when is_map(Options) ->
    watch_options(maps:to_list(Options));
watch_options(Options) when length(Options) >= 0 ->
    case environment() of
        {ok, #{options := Others}} -> valid(Options, Others);
        Other -> Other
    end;
watch_options(Options) ->
    {error, sentence("the options are ~0tp; allowed is a map or a list of pairs", [Options])}.

%% The listeners that a watcher is given: unlike those of the environment also sockets and handles. They need not be there yet.
-spec listeners(term()) -> ok | {error, Sentence :: string()}.
listeners(Listeners) when length(Listeners) >= 0 ->
    case [Other || Other <- Listeners, not (is_listener(Other) orelse is_in_hand(Other))] of
        [] ->
            ok;
        [Other | _] ->
            Format = "listeners names ~0tp; allowed is a listen socket, a handle, {port, 8080}, {Ip, Port}, {local, Path} or {ranch, Ref}",
            {error, sentence(Format, [Other])}
    end;
listeners(Other) ->
    {error, sentence("listeners is ~0tp; allowed is a list of listeners", [Other])}.

%% The environment of the application.
-spec environment() -> {ok, environment()} | {error, Sentence :: string()} | unread().
environment() ->
    case accept_queue_reading:make(fun accept_queue_source:default_settings/0) of
        {ok, Defaults} -> environment(application:get_all_env(accept_queue), Defaults);
        {error, Reason} -> {unread, Reason}
    end.

environment(Pairs, Defaults) ->
    {Others, Options} = lists:partition(fun({Key, _}) -> lists:member(Key, [watch, source, watchdog]) end, Pairs),
    Watched = watched(proplists:get_value(watch, Others, all)),
    Unknown = unknown([Key || {Key, _} <- Options, allowed(Key) =:= unknown], Defaults),
    case [Watched, source(proplists:get_value(source, Others, nif)), watchdog(), Unknown, valid(Options, Defaults)] of
        [{ok, Wanted}, {ok, _}, {ok, _}, {ok, _}, {ok, Given}] ->
            {ok, #{watch => Wanted, options => maps:merge(Defaults, Given)}};
        Answers ->
            {error, _} = lists:keyfind(error, 1, Answers)
    end.

unknown([], _Defaults) ->
    {ok, known};
unknown([Key | _], Defaults) ->
    Keys = known(Defaults#{watch => all, source => nif, watchdog => #{}}),
    {error, sentence("~0tp is no option of the environment; there are ~ts", [Key, Keys])}.

%% The watchdog of the environment; `undefined' where none is configured.
-spec watchdog() -> {ok, watchdog() | undefined} | {error, Sentence :: string()}.
watchdog() ->
    case application:get_env(accept_queue, watchdog) of
        undefined -> {ok, undefined};
        {ok, #{} = Given} -> watchdog(maps:to_list(Given));
        {ok, Given} when length(Given) >= 0 -> watchdog(Given);
        {ok, Other} -> {error, sentence("watchdog is ~0tp; allowed is a map or a list of pairs", [Other])}
    end.

watchdog(Given) ->
    case lists:filtermap(fun wrong_of_watchdog/1, Given) of
        [] -> watchdog_together(maps:merge(?WATCHDOG, maps:from_list(Given)));
        [Sentence | _] -> {error, "watchdog: " ++ Sentence}
    end.

wrong_of_watchdog({Key, Value}) ->
    case {Key, Value} of
        {heartbeat_ms, _} -> wrong_number(Key, Value, {10, ?HOUR_MS});
        {hang_after_ms, _} -> wrong_number(Key, Value, {1000, ?HOUR_MS});
        {keep, _} -> wrong_number(Key, Value, {1, 1000});
        {allow_ptrace, _} when is_boolean(Value) -> false;
        {allow_ptrace, _} -> {true, sentence("allow_ptrace is ~0tp; allowed is true or false", [Value])};
        {directory, _} ->
            case is_path(Value) of
                true -> false;
                false -> {true, sentence("directory is ~0tp; allowed is the path of a folder", [Value])}
            end;
        _ -> {true, sentence("~0tp is no option; there are directory, ~ts", [Key, known(?WATCHDOG)])}
    end;
wrong_of_watchdog(Other) ->
    {true, no_pair(Other)}.

is_path(<<>>) -> false;
is_path(Path) when is_binary(Path) -> binary:match(Path, <<0>>) =:= nomatch;
is_path([_ | _] = Path) -> io_lib:char_list(Path) andalso not lists:member(0, Path);
is_path(_) -> false.

watchdog_together(#{directory := Directory, heartbeat_ms := Heartbeat, hang_after_ms := HangAfter} = Watchdog) ->
    case HangAfter >= ?HEARTBEATS_IN_A_HANG * Heartbeat of
        true ->
            {ok, Watchdog#{directory := filename:absname(Directory)}};
        false ->
            Format = "watchdog: hang_after_ms is ~b; allowed is ~b times heartbeat_ms, ~b, or more: one that is late is no hang",
            {error, sentence(Format, [HangAfter, ?HEARTBEATS_IN_A_HANG, ?HEARTBEATS_IN_A_HANG * Heartbeat])}
    end;
watchdog_together(#{}) ->
    {error, "watchdog: directory is missing; it names the folder in which evidence is kept"}.

source(Source) when Source =:= nif; Source =:= port -> {ok, Source};
source(Source) -> {error, sentence("source is ~0tp; allowed is nif or port", [Source])}.

watched(Wanted) when Wanted =:= all; Wanted =:= none ->
    {ok, Wanted};
watched({all_but, Others} = Wanted) when length(Others) >= 0 ->
    named(Others, Wanted);
watched(Wanted) when length(Wanted) >= 0 ->
    named(Wanted, Wanted);
watched(Wanted) ->
    {error, sentence("watch is ~0tp; allowed is all, none, a list of listeners or {all_but, a list of listeners}", [Wanted])}.

named(Listeners, Wanted) ->
    case [Other || Other <- Listeners, not is_listener(Other)] of
        [] ->
            {ok, Wanted};
        [Other | _] ->
            Format = "watch names ~0tp; allowed is {port, 8080}, {Ip, Port}, {local, Path} or {ranch, Ref}",
            {error, sentence(Format, [Other])}
    end.

%% What a configuration can name: no sockets or handles, which do not exist yet.
is_listener({port, Port}) -> is_port_number(Port);
is_listener({ranch, _Ref}) -> true;
is_listener({local, Path}) -> is_binary(Path) orelse io_lib:char_list(Path);
is_listener({Ip, Port}) -> inet:is_ip_address(Ip) andalso is_port_number(Port);
is_listener({Ip, Port, Scope}) -> inet:is_ipv6_address(Ip) andalso is_port_number(Port) andalso is_integer(Scope);
is_listener(_) -> false.

is_in_hand(Term) -> accept_queue_source:is_handle(Term) orelse accept_queue_ssl:is_ssl(Term) orelse accept_queue_backend:is_socket(Term).

is_port_number(Port) -> is_integer(Port) andalso Port > 0 andalso Port =< 65535.

valid(Options, Others) ->
    case lists:filtermap(fun(Option) -> wrong(Option, Others) end, Options) of
        [] -> together(maps:from_list(Options), Others);
        [Sentence | _] -> {error, Sentence}
    end.

wrong({Key, Value}, Others) ->
    case allowed(Key) of
        {_, _} = Range -> wrong_number(Key, Value, Range);
        ratio when is_number(Value), Value > 0, Value =< 1 -> false;
        ratio -> {true, sentence("~p is ~0tp; allowed is a number above 0 and at most 1", [Key, Value])};
        unknown -> {true, sentence("~0tp is no option; there are ~ts", [Key, known(Others)])}
    end;
wrong(Other, _Others) ->
    {true, no_pair(Other)}.

wrong_number(_Key, Value, {Low, High}) when is_integer(Value), Value >= Low, Value =< High -> false;
wrong_number(Key, Value, {Low, High}) ->
    {true, sentence("~p is ~0tp; allowed is an integer from ~b to ~b", [Key, Value, Low, High])}.

no_pair(Other) ->
    sentence("~0tp is no pair of an option and its value", [Other]).

allowed(interval_ms) -> {10, ?HOUR_MS};
allowed(census_ms) -> {100, ?HOUR_MS};
allowed(max_wait_ms) -> {1, ?HOUR_MS};
allowed(for_ms) -> {1, ?HOUR_MS};
allowed(stuck_ms) -> {1, ?HOUR_MS};
allowed(abandoned_ratio) -> ratio;
allowed(abandoned_min) -> {1, 16#ffff};
allowed(close_wait_max) -> {1, 16#ffffffff};
allowed(clear_ms) -> {1, ?HOUR_MS};
allowed(sample_ms) -> {1, ?HOUR_MS};
allowed(_) -> unknown.

known(Settings) ->
    lists:join(", ", [atom_to_list(Key) || Key <- lists:sort(maps:keys(Settings))]).

%% Options that depend on each other, given or default.
together(Options, Others) ->
    case maps:merge(Others, Options) of
        #{interval_ms := Interval, for_ms := For} when For < Interval ->
            {error, sentence("for_ms is ~b; allowed is interval_ms, ~b, or more: a condition needs two readings", [For, Interval])};
        #{} ->
            {ok, maps:map(fun typed/2, Options)}
    end.

typed(abandoned_ratio, Ratio) -> float(Ratio);
typed(_, Value) -> Value.

sentence(Format, Arguments) ->
    lists:flatten(io_lib:format(Format, Arguments)).
