%% A user of accept_queue, through rebar3 or mix: each function reads the queue of a real listener and crashes where the
%% answer is not the right one.
-module(consumer).

-export([reads/1, reads_without_library/1, is_elsewhere/1]).

-define(DEADLINE_MS, 5000).

%% `Api' is accept_queue or 'Elixir.AcceptQueue': a struct is a map with the same keys.
-spec reads(module()) -> ok.
reads(Api) ->
    Listener = listener_with_two_clients(Api),
    {ok, #{queued := 2, queued_alive := 2, sockets := 1}} = Api:counts(Listener),
    io:put_chars("two clients are queued\n").

%% Neither the library nor the program.
-spec reads_without_library(module()) -> ok.
reads_without_library(Api) ->
    Listener = listener_with_two_clients(Api),
    {error, not_loaded} = Api:counts(Listener),
    {error, not_loaded} = Api:open(Listener),
    {error, not_loaded} = Api:list(),
    {error, not_loaded} = Api:kernel(),
    io:put_chars("two clients are queued; nothing else can be said\n").

%% Not on Linux: a project that has it as a dependency works, and each call answers that nothing is read.
-spec is_elsewhere(module()) -> ok.
is_elsewhere(Api) ->
    {ok, _} = application:ensure_all_started(accept_queue),
    {ok, Listener} = gen_tcp:listen(0, [{ip, {127, 0, 0, 1}}]),
    {ok, Port} = inet:port(Listener),
    {ok, Client} = gen_tcp:connect({127, 0, 0, 1}, Port, []),
    Unary = [open, depth, counts, acceptors, holders, status, advice],
    Answers = [{Name, Api:Name(Listener)} || Name <- Unary] ++ [{Name, Api:Name()} || Name <- [list, kernel]]
        ++ [{wait_ms, Api:wait_ms(Client)}, {peer_closed, Api:peer_closed(Client)}],
    [] = [Other || {_, Answer} = Other <- Answers, Answer =/= {error, unsupported}],
    %% Which a readiness probe takes for ready.
    {degraded, [monitor_not_running]} = Api:health(),
    io:put_chars("every call says unsupported\n").

listener_with_two_clients(Api) ->
    {ok, _} = application:ensure_all_started(accept_queue),
    {ok, Listener} = gen_tcp:listen(0, [{ip, {127, 0, 0, 1}}, {backlog, 30}]),
    {ok, Port} = inet:port(Listener),
    {ok, #{queued := 0, limit := 30}} = Api:depth(Listener),
    {ok, _} = gen_tcp:connect({127, 0, 0, 1}, Port, []),
    {ok, _} = gen_tcp:connect({127, 0, 0, 1}, Port, []),
    ok = wait_for_two(Api, Listener, erlang:monotonic_time(millisecond) + ?DEADLINE_MS),
    Listener.

wait_for_two(Api, Listener, Deadline) ->
    case {Api:depth(Listener), erlang:monotonic_time(millisecond) < Deadline} of
        {{ok, #{queued := 2}}, _} ->
            ok;
        {{ok, #{queued := Fewer}}, true} when Fewer < 2 ->
            timer:sleep(5),
            wait_for_two(Api, Listener, Deadline)
    end.
