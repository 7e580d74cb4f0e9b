%% @private
%% One reading, taken on every node that runs the application.
%%
%% Each node is asked by a process of its own. The channel to a node that is stopped fills, and a process that then sends into
%% it is suspended (busy_dist_port): one `erpc:multicall/5' for all nodes would be suspended, past its time-out, before it had
%% asked the rest. `process_flag(async_dist, true)', which avoids that, came with OTP 25.3.
-module(accept_queue_cluster).

-export([ask/2, answer/1]).

%% What another node may be asked: functions that only read, and whose arguments and answers mean the same on both nodes.
-define(READINGS, [
    {depth, 1}, {counts, 1}, {list, 0}, {acceptors, 1}, {holders, 1}, {holders, 2}, {kernel, 0}, {advice, 0}, {advice, 1},
    {health, 0}, {health, 1}, {status, 1}, {waits, 1}, {watched, 0}
]).

-spec ask(accept_queue:call(), TimeoutMs :: non_neg_integer()) ->
    #{node() => accept_queue:node_answer()} | {error, badarg}.
ask(Call, Timeout) ->
    case is_reading(Call) of
        true ->
            Deadline = now_ms() + Timeout,
            Asked = [{Node, request(Node, Call, Timeout)} || Node <- [node() | nodes()]],
            Answered = [{Node, result(Request, Deadline)} || {Node, Request} <- Asked],
            maps:from_list([{Node, Answer} || {Node, Answer} <- Answered, Answer =/= not_running]);
        false ->
            {error, badarg}
    end.

%% Runs on the node that is asked: whether it runs the application, and the reading, in one round trip.
-spec answer(accept_queue:call()) -> not_running | accept_queue:node_answer().
answer(Call) ->
    %% `application:which_applications/0' would be a call to a process that may be busy.
    case {whereis(accept_queue_sup), is_reading(Call)} of
        {undefined, _} -> not_running;
        {_, true} -> read(Call);
        %% The other node has a newer release.
        {_, false} -> {error, unsupported}
    end.

is_reading({Function, Arguments}) when length(Arguments) >= 0 ->
    lists:member({Function, length(Arguments)}, ?READINGS);
is_reading(Function) ->
    lists:member({Function, 0}, ?READINGS).

read({Function, Arguments}) -> apply(accept_queue, Function, Arguments);
read(Function) -> read({Function, []}).

%% Through a process of erpc's on this node, which drops an answer that comes too late.
request(Node, Call, Timeout) ->
    erpc:send_request(node(), erpc, multicall, [[Node], ?MODULE, answer, [Call], Timeout]).

result(Request, Deadline) ->
    try erpc:receive_response(Request, max(0, Deadline - now_ms())) of
        [Result] -> answer_of(Result)
    catch
        error:{erpc, timeout} -> {error, timeout}
    end.

answer_of({ok, Answer}) -> Answer;
answer_of({error, {erpc, timeout}}) -> {error, timeout};
answer_of({error, {erpc, noconnection}}) -> {error, nodedown};
%% Without erpc, or without this module.
answer_of({error, {erpc, notsup}}) -> not_running;
answer_of({error, {exception, undef, [{?MODULE, answer, _, _} | _]}}) -> not_running;
answer_of({error, {exception, Reason, _Stack}}) -> {error, {exception, Reason}};
answer_of({_Class, Reason}) -> {error, {exception, Reason}}.

now_ms() ->
    erlang:monotonic_time(millisecond).
