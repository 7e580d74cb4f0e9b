%% What this VM holds: for tests of leaks.
-module(vm_usage).

-export([resident_bytes/0, allocated_bytes/0, descriptors/0]).

%% What the operating system has given, with all that native code holds of it.
resident_bytes() ->
    {ok, Status} = file:read_file("/proc/self/status"),
    {match, [KiB]} = re:run(Status, "^VmRSS:\\s+(\\d+) kB$", [multiline, {capture, all_but_first, binary}]),
    binary_to_integer(KiB) * 1024.

%% What Erlang has allocated and still needs.
allocated_bytes() ->
    [erlang:garbage_collect(Pid) || Pid <- erlang:processes()],
    erlang:memory(total).

%% Open descriptors and what each is. The one that reads the folder is closed by the time it is read.
descriptors() ->
    {ok, Fds} = file:list_dir("/proc/self/fd"),
    [{Fd, Target} || Fd <- lists:map(fun list_to_integer/1, Fds), {ok, Target} <- [file:read_link("/proc/self/fd/" ++ integer_to_list(Fd))]].
