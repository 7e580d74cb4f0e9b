%% What holds for every term, as PropEr makes them: an answer of the documented kind or a refusal of the documented kind, no
%% other crash, neither of the caller nor of the monitor, and no atom made of what was sent.
%%
%% Debian's PropEr comes without its header, so its macros are written out: `proper:forall/2' is ?FORALL, and
%% `proper_types:bind/3' is ?LET.
-module(accept_queue_properties_SUITE).

-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

%% Fewer where each takes fifty times as long: under valgrind.
-define(CASES, list_to_integer(os:getenv("ACCEPT_QUEUE_CASES", "1000"))).
-define(U64_MAX, 16#ffffffffffffffff).
%% The names of errors and the rules of advice become atoms when they are first used: so many at the most.
-define(ATOMS_MAX, 60).

suite() ->
    [{timetrap, {minutes, 10}}].

all() ->
    [
        any_listener_term_is_answered_or_badarg,
        no_listener_term_takes_the_monitor_with_it,
        any_watch_options_are_taken_or_refused_in_a_sentence,
        any_environment_is_taken_or_refused_in_a_sentence,
        an_improper_list_is_refused_in_a_sentence,
        what_the_environment_may_name_can_be_looked_up,
        any_arguments_of_a_stub_are_answered_or_badarg,
        any_settings_make_a_watch_that_works
    ].

init_per_suite(Config) ->
    case code:ensure_loaded(proper) of
        {module, proper} ->
            %% A module that is loaded on its first call makes atoms.
            _ = code:ensure_modules_loaded(lists:append([modules_beside(Module) || Module <- [lists, kernel, accept_queue]])),
            {ok, Started} = application:ensure_all_started(accept_queue),
            [{started, Started} | Config];
        {error, _} ->
            {skip, "PropEr is not installed here; Debian has it as erlang-proper"}
    end.

modules_beside(Module) ->
    Beams = filelib:wildcard("*.beam", filename:dirname(code:which(Module))),
    [list_to_atom(filename:rootname(Beam)) || Beam <- Beams].

end_per_suite(Config) ->
    [ok = application:stop(App) || App <- lists:reverse(proplists:get_value(started, Config))],
    ok.

any_listener_term_is_answered_or_badarg(_) ->
    Things = things(),
    holds(
        tuple([listener(Things), sometimes(limit()), sometimes(backlog()), sometimes(watch_options())]),
        fun([Listener, Limit, Backlog, Options]) ->
            Calls = [
                {open, [Listener]},
                {depth, [Listener]},
                {counts, [Listener]},
                {acceptors, [Listener]},
                {holders, [Listener]},
                {holders, [Listener, #{limit => Limit}]},
                {holders, [Listener, Options]},
                {wait_ms, [Listener]},
                {peer_closed, [Listener]},
                {accepted, [Listener, Listener]},
                {waits, [Listener]},
                {resize, [Listener, Backlog]},
                {advice, [Listener]},
                {status, [Listener]},
                {cluster, [{depth, Listener}, 1000]},
                {cluster, [Listener, 1000]}
            ],
            [documented(Call, outcome(accept_queue, Call)) || Call <- Calls]
        end
    ).

no_listener_term_takes_the_monitor_with_it(_) ->
    Things = things(),
    Monitor = whereis(accept_queue_monitor),
    holds(tuple([listener(Things), sometimes(watch_options())]), fun([Listener, Options]) ->
        Calls = [{watch, [Listener]}, {watch, [Listener, Options]}, {unwatch, [Listener]}],
        [documented(Call, outcome(accept_queue, Call)) || Call <- Calls],
        ?assertEqual(Monitor, whereis(accept_queue_monitor))
    end).

an_improper_list_is_refused_in_a_sentence(_) ->
    Things = things(),
    holds(improper(proper_types:oneof([proper_types:any(), pair()])), fun(Improper) ->
        ?assertMatch({answer, {error, "the options are " ++ _}}, outcome(accept_queue_config, {watch_options, [Improper]}))
    end),
    with_environment(fun() ->
        holds(improper(listener(Things)), fun(Improper) ->
            ok = application:set_env(accept_queue, watch, Improper),
            ?assertMatch({answer, {error, "watch is " ++ _}}, outcome(accept_queue_config, {environment, []}))
        end)
    end).

any_watch_options_are_taken_or_refused_in_a_sentence(_) ->
    holds(watch_options(), fun(Options) ->
        case outcome(accept_queue_config, {watch_options, [Options]}) of
            {answer, {ok, Known}} ->
                ?assertEqual(lists:sort(pairs_of(Options)), lists:sort(maps:to_list(maps:map(fun as_given/2, Known))));
            {answer, {error, Sentence}} ->
                names_what_is_wrong(Sentence, Options)
        end
    end).

any_environment_is_taken_or_refused_in_a_sentence(_) ->
    Things = things(),
    with_environment(fun() ->
        holds(tuple([watched(Things), options()]), fun([Watched, Options]) ->
            ok = clear_environment(),
            Pairs = lists:ukeysort(1, [Pair || {Key, _} = Pair <- Options, is_atom(Key), Key =/= watch]),
            Environment = [{watch, Watched} | Pairs],
            ok = application:set_env([{accept_queue, Environment}]),
            case outcome(accept_queue_config, {environment, []}) of
                {answer, {ok, #{watch := Watched, options := Known}}} ->
                    ?assertEqual(Pairs, lists:sort([{Key, as_given(Key, maps:get(Key, Known))} || {Key, _} <- Pairs]));
                {answer, {error, Sentence}} ->
                    names_what_is_wrong(Sentence, Environment)
            end
        end)
    end).

what_the_environment_may_name_can_be_looked_up(_) ->
    Things = things(),
    with_environment(fun() ->
        holds(listener(Things), fun(Listener) ->
            ok = application:set_env(accept_queue, watch, [Listener]),
            case outcome(accept_queue_config, {environment, []}) of
                {answer, {ok, _}} -> ?assertMatch({answer, _}, outcome(accept_queue, {open, [Listener]}));
                {answer, {error, "watch names " ++ _}} -> ok
            end
        end)
    end).

with_environment(Check) ->
    Before = application:get_all_env(accept_queue),
    try
        Check()
    after
        ok = clear_environment(),
        ok = application:set_env([{accept_queue, Before}])
    end.

clear_environment() ->
    lists:foreach(fun({Key, _}) -> application:unset_env(accept_queue, Key) end, application:get_all_env(accept_queue)).

%% Each is a guest of the VM: whatever it is given, it answers as its spec says or raises badarg. Descriptors are of this
%% VM or of no process: `resize' of any listener is what it is for.
any_arguments_of_a_stub_are_answered_or_badarg(_) ->
    Things = things(),
    Stubs = [Stub || {Name, _} = Stub <- accept_queue_nif:module_info(exports), Name =/= module_info, Name =/= load, Name =/= load_error],
    holds(
        bind(proper_types:oneof(Stubs), fun({Name, Arity}) ->
            bind(proper_types:vector(Arity, argument(Things)), fun(Arguments) -> {Name, Arguments} end)
        end),
        fun({_, Arguments} = Call) ->
            case outcome(accept_queue_nif, Call) of
                {raised, badarg, _} -> ?assertNotEqual([], Arguments);
                {answer, {error, second_tier}} -> ok;
                {answer, {error, Reason}} -> ?assert(is_reason(Reason), {Call, Reason});
                {answer, _} -> ok
            end
        end
    ).

%% Any times as well: native/core/tests/detector.rs.
any_settings_make_a_watch_that_works(_) ->
    L = sockets:listen(5),
    _ = sockets:clients(2, sockets:address(L)),
    {ok, Handle} = accept_queue:open(L),
    {ok, Poller} = accept_queue_nif:poller_start(self()),
    Whole = maps:keys(maps:remove(abandoned_ratio, accept_queue_nif:default_settings())),
    holds(
        tuple([
            proper_types:vector(length(Whole), u64()),
            proper_types:oneof([proper_types:float(), proper_types:float(0.0, 1.0)]),
            proper_types:boolean()
        ]),
        fun([Figures, Ratio, All]) ->
            Small = fun(Key, Figure) -> if Key =:= abandoned_min; Key =:= close_wait_max -> Figure band 16#ffffffff; true -> Figure end end,
            Settings = maps:from_list([{abandoned_ratio, Ratio} | [{Key, Small(Key, Figure)} || {Key, Figure} <- lists:zip(Whole, Figures)]]),
            Watch = accept_queue_nif:watch(1, Handle, Settings),
            ?assertMatch({answer, #{depth := {2, 5, 0}, watched_ms := _}}, outcome(accept_queue_nif, {status, [Watch]})),
            ok = accept_queue_nif:poller_watch(Poller, [Watch], All),
            ?assert(accept_queue_nif:poller_is_running(Poller))
        end
    ),
    ok = accept_queue_nif:poller_watch(Poller, [], false),
    ok = accept_queue_nif:poller_report_to(Poller, self()),
    ?assert(accept_queue_nif:poller_is_running(Poller), "after the poll that was under way").

%% Judging.

holds(Type, Check) ->
    Property = proper:forall(Type, fun(Value) ->
        try
            _ = Check(Value),
            true
        catch
            Class:Reason:Stack ->
                %% The last that fails is the smallest.
                put(failure, {Value, Class, Reason, Stack}),
                false
        end
    end),
    put(atoms, 0),
    case proper:quickcheck(Property, [?CASES, quiet, {max_size, 30}, {max_shrinks, 50}]) of
        true -> ?assert(get(atoms) =< ?ATOMS_MAX, {atoms_made, get(atoms)});
        _ -> ct:fail({does_not_hold, erase(failure)})
    end.

%% What a call does: answers, or raises. The atoms that it makes are counted.
outcome(Module, {Function, Arguments}) ->
    Before = erlang:system_info(atom_count),
    Outcome =
        try
            {answer, apply(Module, Function, Arguments)}
        catch
            error:Reason:Stack -> {raised, Reason, texts(Reason, Stack)}
        end,
    put(atoms, get(atoms) + erlang:system_info(atom_count) - Before),
    Outcome.

documented({watch, [_, Options]}, {raised, badarg, #{2 := Sentence}}) -> names_what_is_wrong(Sentence, Options);
documented(Call, {raised, badarg, Texts}) -> ?assertEqual(1, map_size(Texts), Call);
documented({Does, _}, {answer, ok}) when Does =:= watch; Does =:= unwatch -> ok;
documented({cluster, _}, {answer, #{}}) -> ok;
documented({_, _}, {answer, {ok, _}}) -> ok;
documented(Call, {answer, {error, Reason}}) -> ?assert(is_reason(Reason), {Call, Reason});
documented(Call, Outcome) -> error({undocumented, Call, Outcome}).

%% What the exception says of the arguments.
texts(Reason, [{_, _, _, Info} | _] = Stack) ->
    case proplists:get_value(error_info, Info) of
        #{module := Module} -> Module:format_error(Reason, Stack);
        undefined -> #{}
    end.

%% accept_queue:reason().
is_reason({errno, Name}) -> is_atom(Name);
is_reason(Reason) ->
    lists:member(Reason, [
        unsupported, not_listening, closed, not_found, eacces, eperm, truncated, interrupted, timeout, already_written, not_watched
    ]).

%% A sentence of characters, and it holds the key and the value that it is about.
names_what_is_wrong(Sentence, Options) ->
    ?assert(io_lib:char_list(Sentence), Sentence),
    IsNamed = fun(Term) -> string:find(Sentence, text(Term)) =/= nomatch end,
    Named = [Option || Option <- elements_of(Options), lists:any(fun(Parts) -> lists:all(IsNamed, Parts) end, parts(Option))],
    ?assert(Named =/= [] orelse IsNamed(Options), {Sentence, Options}).

%% What a sentence about it may name.
parts({watch, Listeners}) -> [[watch, Named] || Named <- [Listeners | elements_of(Listeners)]] ++ [[watch, {said, "is no option"}]];
parts({watchdog, Given}) ->
    Said = ["is no option", "directory is missing", "times heartbeat_ms"],
    [[watchdog, Given] | [[watchdog, {said, Words}] || Words <- Said]] ++ [[watchdog | Named] || Option <- elements_of(Given), Named <- parts(Option)];
parts({Key, Value}) -> [[Key, Value], [Key, {said, "is no option"}], [Key, {said, "is not supported"}]];
parts(Other) -> [[Other]].

text({said, Words}) -> Words;
text(Term) -> io_lib:format("~0tp", [Term]).

pairs_of(Options) when is_map(Options) -> maps:to_list(Options);
pairs_of(Options) -> maps:to_list(maps:from_list(Options)).

elements_of(Options) when is_map(Options) -> maps:to_list(Options);
elements_of([Element | Rest]) -> [Element | elements_of(Rest)];
elements_of(_) -> [].

%% 1 and 1.0 are the same ratio.
as_given(abandoned_ratio, 1.0) -> 1;
as_given(_, Value) -> Value.

%% Terms.

%% What cannot be made out of nothing. The suite's process owns them.
things() ->
    L = sockets:listen(5),
    {Ip, Port} = sockets:address(L),
    {ok, Client} = gen_tcp:connect(Ip, Port, []),
    {ok, Accepted} = gen_tcp:accept(L, 60000),
    {ok, Handle} = accept_queue:open(L),
    Closed = sockets:listen(5),
    {ok, HandleOfClosed} = accept_queue:open(Closed),
    ok = gen_tcp:close(Closed),
    {ok, Udp} = gen_udp:open(0),
    {ok, Socket} = socket:open(inet, stream, tcp),
    {ok, Wrapped} = gen_tcp:listen(0, [{inet_backend, socket}, {ip, {127, 0, 0, 1}}]),
    Watch = accept_queue_nif:watch(1, Handle, accept_queue_nif:default_settings()),
    {ok, Poller} = accept_queue_nif:poller_start(self()),
    [
        L, Client, Accepted, Closed, Udp, Socket, Wrapped, Handle, HandleOfClosed, Watch, Poller, make_ref(), self(),
        open_port({spawn, "cat"}, []), {Ip, Port}, {port, Port}, fun() -> ok end
    ].

thing(Things) -> proper_types:oneof(Things).

%% Half of them almost right.
listener(Things) ->
    Any = proper_types:any(),
    Inner = proper_types:oneof([thing(Things), proper_types:atom(), Any]),
    Octets = proper_types:vector(4, proper_types:oneof([proper_types:byte(), proper_types:integer(), proper_types:atom()])),
    Words = proper_types:vector(8, proper_types:integer(-1, 65536)),
    Ip = proper_types:oneof([as_tuple(Octets), as_tuple(Words), {127, 0, 0, 1}, proper_types:tuple(), Any]),
    Port = proper_types:oneof([proper_types:integer(-1, 65536), Any]),
    proper_types:oneof([
        thing(Things),
        Any,
        {port, Port},
        {Ip, Port},
        {Ip, Port, proper_types:oneof([proper_types:integer(), Any])},
        {local, proper_types:oneof([proper_types:binary(), proper_types:string(), proper_types:list(Any), improper(Any), Any])},
        {ranch, Any},
        {'$socket', Inner},
        {'$inet', proper_types:oneof([gen_tcp_socket, Any]), {Inner, Inner}},
        {'$inet', gen_tcp_socket, {thing(Things), {'$socket', thing(Things)}}},
        bind(proper_types:list(proper_types:oneof([Inner, {Inner, Inner}])), fun(Parts) -> list_to_tuple([sslsocket | Parts]) end)
    ]).

limit() -> proper_types:oneof([proper_types:integer(), proper_types:any(), ?U64_MAX]).

backlog() -> proper_types:oneof([proper_types:integer(), 16#7fffffff, 16#80000000, proper_types:any()]).

watch_options() ->
    Pairs = options(),
    proper_types:frequency([
        {4, bind(Pairs, fun(Options) -> maps:from_list(Options) end)},
        {4, Pairs},
        {1, proper_types:list(proper_types:any())},
        {1, proper_types:any()}
    ]).

options() -> proper_types:list(pair()).

pair() ->
    Keys = [watch, source, watchdog | maps:keys(accept_queue_nif:default_settings())],
    Key = proper_types:frequency([{6, proper_types:oneof(Keys)}, {1, proper_types:any()}]),
    Value = proper_types:oneof([
        proper_types:integer(), proper_types:integer(1, 5000), proper_types:float(0.0, 1.0), 0, 1, 100, 3600000, 3600001, proper_types:any()
    ]),
    {Key, Value}.

watched(Things) ->
    Listeners = proper_types:list(listener(Things)),
    proper_types:oneof([all, none, Listeners, proper_types:any()]).

argument(Things) ->
    Pairs = proper_types:list({proper_types:oneof([proper_types:atom() | known_keys()]), figure()}),
    proper_types:oneof([
        thing(Things),
        proper_types:list(thing(Things)),
        figure(),
        bind(Pairs, fun maps:from_list/1),
        bind(Pairs, fun(Some) -> maps:merge(accept_queue_nif:default_settings(), maps:from_list(Some)) end),
        bind(Pairs, fun(Some) -> maps:merge(standing(), maps:from_list(Some)) end),
        proper_types:any()
    ]).

%% Of facts, and of what a verdict is made of.
known_keys() ->
    [backend, requested, pool, somaxconn, tcp_abort_on_overflow, tcp_syncookies | maps:keys(standing())].

standing() ->
    #{
        queued => 6, limit => 5, queued_closed => 0, queued_reset => 0, oldest_wait_ms => 5000, close_wait => 0,
        waiting_acceptors => 0
    }.

figure() -> proper_types:oneof([u64(), proper_types:integer(), undefined, inet, socket, 16#ffffffff, 1 bsl 32, 1 bsl 80]).

u64() -> proper_types:oneof([proper_types:integer(0, 10000), proper_types:integer(0, ?U64_MAX), ?U64_MAX]).

improper(Type) ->
    bind({proper_types:non_empty(proper_types:list(Type)), proper_types:any()}, fun
        ({List, Tail}) when is_list(Tail) -> List ++ length(Tail);
        ({List, Tail}) -> List ++ Tail
    end).

sometimes(Type) -> proper_types:oneof([Type, 5, #{}]).

as_tuple(Type) -> bind(Type, fun list_to_tuple/1).

tuple(Types) -> proper_types:fixed_list(Types).

bind(Type, Make) -> proper_types:bind(Type, Make, false).
