%% The library's threads in this VM, by what the kernel says.
-module(threads).

-export([of_monitor/0]).

%% Thread ids.
-spec of_monitor() -> [string()].
of_monitor() ->
    Tasks = filelib:wildcard("/proc/self/task/*"),
    [filename:basename(Task) || Task <- Tasks, {ok, <<"accept_queue\n">>} =:= file:read_file(filename:join(Task, "comm"))].
