%% @doc The figures of this VM's listeners for prometheus.erl: a collector.
%%
%% For a VM that is scraped already: no second program to run. Names and units are those of `accept-queue export', so that one
%% dashboard and one set of rules serve both.
%% ```
%% 1> prometheus_registry:register_collector(accept_queue_prometheus).
%% ok
%% '''
%% or, in the environment of prometheus, `{collectors, [default, accept_queue_prometheus]}'.
%%
%% A scrape costs six files of `/proc'; the figures and the names of the servers come from the monitor's memory: those of a sample are
%% at most `interval_ms' old, those of a census at most `census_ms'.
%%
%% While the VM hangs, a scrape gets no answer: use the program for that. Only watched listeners are in it. A figure that is not
%% known has no line, for 0 would be a figure. `accept_queue_wait_seconds' is a histogram of the connections that were passed to
%% {@link accept_queue:accepted/2}; a listener has it from the first of them on.
-module(accept_queue_prometheus).

%% prometheus need not be there when this is compiled; the suite compares this with the callbacks of `prometheus_collector'.
-export([collect_mf/2, deregister_cleanup/1]).

-export_type([registry/0, callback/0]).

-type registry() :: term().
-type callback() :: fun((MetricFamily :: tuple()) -> term()).

-type labels() :: [{atom(), binary()}].
-type figures() :: [{labels(), number()}].
-type listener() :: {labels(), accept_queue:status()}.

%% As many as the exporter lists.
-define(LISTENERS_MAX, 1000).
-define(CONDITIONS, [behind, overflowing, stuck, abandoned, leaking]).
-define(KERNEL_GAUGES, [
    {kernel_somaxconn, somaxconn, "Clips every backlog (net.core.somaxconn)."},
    {kernel_tcp_max_syn_backlog, tcp_max_syn_backlog, "net.ipv4.tcp_max_syn_backlog."},
    {kernel_tcp_abort_on_overflow, tcp_abort_on_overflow, "net.ipv4.tcp_abort_on_overflow."},
    {kernel_tcp_syncookies, tcp_syncookies, "net.ipv4.tcp_syncookies."}
]).
-define(KERNEL_COUNTERS, [
    {kernel_listen_overflows, listen_overflows, "SYNs and last ACKs that met a full accept queue (ListenOverflows)."},
    {kernel_listen_drops, listen_drops, "SYNs that were dropped, for whatever reason (ListenDrops)."},
    {kernel_tcp_req_q_full_drop, tcp_req_q_full_drop, "SYNs dropped because the SYN queue was full (TCPReqQFullDrop)."},
    {kernel_tcp_req_q_full_do_cookies, tcp_req_q_full_do_cookies,
        "SYNs answered with a cookie because the SYN queue was full (TCPReqQFullDoCookies)."},
    {kernel_syncookies_sent, syncookies_sent, "Cookies that were sent (SyncookiesSent)."},
    {kernel_syncookies_received, syncookies_recv, "Valid cookies that came back (SyncookiesRecv)."},
    {kernel_syncookies_failed, syncookies_failed, "Cookies that came back invalid (SyncookiesFailed)."}
]).

%% @private
-spec deregister_cleanup(registry()) -> ok.
deregister_cleanup(_Registry) -> ok.

%% @doc Calls back with every family that has a figure, at each scrape.
-spec collect_mf(registry(), callback()) -> ok.
collect_mf(_Registry, Callback) ->
    lists:foreach(
        fun
            ({_Name, _Help, _Type, []}) ->
                ok;
            ({Name, Help, Type, Figures}) ->
                Callback(call(prometheus_model_helpers, create_mf, [name(Name, Type), Help, Type, Figures]))
        end,
        [of_the_bridge() | of_the_queues(accept_queue_monitor:statuses())] ++ of_the_kernel(accept_queue:kernel())
    ).

%% By the convention, `_total' ends the name of a counter.
name(Name, counter) -> <<(name(Name, gauge))/binary, "_total">>;
name(Name, _) -> <<"accept_queue_", (atom_to_binary(Name))/binary>>.

of_the_bridge() ->
    Version =
        case application:get_key(accept_queue, vsn) of
            {ok, Vsn} -> [{[{version, list_to_binary(Vsn)}], 1}];
            undefined -> []
        end,
    {build_info, "Which accept_queue this is.", gauge, Version}.

of_the_queues(Watched) ->
    %% What has not been read for several intervals is no longer a figure.
    Known = [{labels(Address, Server), Status} || {Address, Server, {ok, #{stale := false} = Status}} <- Watched],
    {Listed, Others} = lists:split(min(?LISTENERS_MAX, length(Known)), Known),
    [
        {up, "Whether the listeners of this VM are being watched.", gauge, one(is_watching())},
        {queued_connections, "Connections that wait for accept; full is more than the limit. As of the last sample.", gauge,
            of_depth(queued, Listed)},
        {limit, "The backlog in force. As of the last sample.", gauge, of_depth(limit, Listed)},
        {dropped_packets, "Packets that the listener has dropped since it was opened, overflow first among the causes.", counter,
            of_depth(drops, Listed)},
        {peak_connections, "The most that waited for accept in a sample of the last minute.", gauge, each(Listed, fun peak/1)},
        {condition, "Whether the listener is behind, overflowing, stuck, abandoned or leaking. As of the last sample.", gauge,
            each(Listed, fun conditions/1)},
        {connections, "Connections that wait for accept, by what their clients have done meanwhile. As of the last census.",
            gauge, by_state([{alive, queued_alive}, {closed, queued_closed}, {reset, queued_reset}], Listed)},
        {oldest_wait_seconds,
            "How long the longest-waiting connection has waited; absent where none waits. As of the last census.", gauge,
            [{Labels, Ms / 1000} || {Labels, Ms} <- of_counts(oldest_wait_ms, Listed)]},
        {queued_bytes, "Bytes of requests that the queued clients have sent. As of the last census.", gauge,
            of_counts(queued_bytes, Listed)},
        {syn_recv, "Handshakes that are not finished. As of the last census.", gauge, of_counts(syn_recv, Listed)},
        {accepted_connections, "Accepted connections that are open; close_wait: their clients have closed. As of the last census.",
            gauge, by_state([{established, established}, {close_wait, close_wait}], Listed)},
        {sockets, "Sockets that share the address; its figures are their sum. As of the last census.", gauge,
            of_counts(sockets, Listed)},
        {wait_seconds, "How long the accepted connections that were counted had waited for accept.", histogram, waits(Listed)},
        {listeners, "Listeners that are watched.", gauge, [{[], length(Watched)}]},
        {omitted_listeners, "Of these, those that are not listed one by one: too many, or not readable.", gauge,
            [{[], length(Watched) - length(Listed)}]},
        {omitted_queued_connections, "Connections that wait for accept at listeners that are too many to be listed one by one.",
            gauge, [{[], lists:sum([Queued || {_, Queued} <- of_depth(queued, Others)])}]}
    ].

is_watching() ->
    case accept_queue:health() of
        {_, [monitor_not_running | _]} -> 0;
        _ -> 1
    end.

labels(Address, undefined) -> [{listener, text(listener(Address))}];
labels(Address, Server) -> labels(Address, undefined) ++ [{server, text(accept_queue_text:server(Server))}].

%% As the exporter spells it.
listener({local, <<0, Name/binary>>}) -> ["unix:@", escaped(Name)];
listener({local, Path}) -> ["unix:", escaped(Path)];
listener({Address, {_, _} = Apart}) -> [listener(Address), accept_queue_text:apart(Apart)];
listener(Address) -> accept_queue_text:address(Address).

%% Rust's escape_ascii.
escaped(Bytes) ->
    [escaped_byte(Byte) || <<Byte>> <= Bytes].

escaped_byte($\t) -> "\\t";
escaped_byte($\r) -> "\\r";
escaped_byte($\n) -> "\\n";
escaped_byte(Byte) when Byte =:= $'; Byte =:= $"; Byte =:= $\\ -> [$\\, Byte];
escaped_byte(Byte) when Byte >= $\s, Byte =< $~ -> Byte;
escaped_byte(Byte) -> io_lib:format("\\x~2.16.0b", [Byte]).

text(Chars) ->
    unicode:characters_to_binary(Chars).

-spec each([listener()], fun((accept_queue:status()) -> figures())) -> figures().
each(Listed, Figures) ->
    [{Labels ++ More, Figure} || {Labels, Status} <- Listed, {More, Figure} <- Figures(Status), Figure =/= undefined].

peak(#{window := #{max := Max}}) -> one(Max);
peak(#{window := undefined}) -> [].

conditions(#{conditions := Held}) ->
    [
        {[{condition, atom_to_binary(Condition)}],
            case lists:member(Condition, Held) of
                true -> 1;
                false -> 0
            end}
     || Condition <- ?CONDITIONS
    ].

of_depth(Key, Listed) ->
    each(Listed, fun(#{depth := Depth}) -> figure(Key, Depth) end).

of_counts(Key, Listed) ->
    each(Listed, fun(#{counts := Counts}) -> figure(Key, Counts) end).

by_state(States, Listed) ->
    each(Listed, fun(#{counts := Counts}) ->
        [{[{state, atom_to_binary(State)}], Figure} || {State, Key} <- States, {[], Figure} <- figure(Key, Counts)]
    end).

%% With the buckets of Prometheus: each has those before it.
waits(Listed) ->
    [
        {Labels, in_seconds(Buckets), Count, SumMs / 1000}
     || {Labels, #{waits := #{count := Count, sum_ms := SumMs, buckets := Buckets}}} <- Listed, Count > 0
    ].

in_seconds(Buckets) ->
    {Cumulated, _} = lists:mapfoldl(fun({UpTo, Count}, Before) -> {{bound(UpTo), Before + Count}, Before + Count} end, 0, Buckets),
    Cumulated.

bound(infinity) -> infinity;
%% prometheus writes floats with all their digits.
bound(Ms) when Ms rem 1000 =:= 0 -> Ms div 1000;
bound(Ms) -> Ms / 1000.

figure(_Key, undefined) -> [];
figure(Key, Figures) -> one(maps:get(Key, Figures)).

one(undefined) -> [];
one(Figure) -> [{[], Figure}].

of_the_kernel({ok, Kernel}) ->
    [{Name, Help, gauge, figure(Key, Kernel)} || {Name, Key, Help} <- ?KERNEL_GAUGES] ++
        [{Name, Help, counter, figure(Key, Kernel)} || {Name, Key, Help} <- ?KERNEL_COUNTERS];
of_the_kernel({error, _}) ->
    [].

%% xref and Dialyzer need not know prometheus.
call(Module, Function, Arguments) ->
    apply(Module, Function, Arguments).
