%% What a user would write who has neither this library nor another: the queue and the states of one port, out of
%% /proc/net/tcp. No age, no limit and no reset connections: they are not in there.
-module(bench_proc).

-export([counts/1]).

-spec counts(inet:port_number()) -> #{State :: binary() => pos_integer()}.
counts(PortNumber) ->
    {ok, Text} = file:read_file("/proc/net/tcp"),
    [_Heading | Lines] = binary:split(Text, <<"\n">>, [global, trim]),
    Port = iolist_to_binary(io_lib:format("~4.16.0B", [PortNumber])),
    lists:foldl(fun(Line, Counts) -> count(Line, Port, Counts) end, #{}, Lines).

%% "   0: 0100007F:1F90 00000000:0000 0A ...": the number of the line grows in width.
count(Line, Port, Counts) ->
    case binary:split(Line, <<": ">>) of
        [_, <<_Local:8/binary, $:, Port:4/binary, $\s, _Remote:13/binary, $\s, State:2/binary, _/binary>>] ->
            maps:update_with(State, fun(N) -> N + 1 end, 1, Counts);
        [_, _] ->
            Counts
    end.
