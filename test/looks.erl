%% What accept_queue_pools has found out about a listener by itself, without a caller of accept_queue:acceptors/1: tests of the pool begin
%% cold.
-module(looks).

-export([cookie/1, remembered/1, named/1, look/0, have_found/2, find_by_themselves/2]).

%% Of a listener of this VM.
cookie(L) ->
    Socket = accept_queue_ssl:transport(L),
    Cookies = fun() -> [Cookie || #{socket := Other, cookie := Cookie} <- element(2, accept_queue:list()), Other =:= Socket] end,
    eventually:is(1, fun() -> length(Cookies()) end),
    hd(Cookies()).

%% No process, also where none was ever found.
remembered(Cookie) ->
    case accept_queue_pool_cache:pool(Cookie) of
        undefined -> [];
        Pids -> lists:sort(Pids)
    end.

named(Cookie) ->
    accept_queue_pool_cache:named(Cookie).

%% Another look, now; done when it is over.
look() ->
    accept_queue_pools ! look_again,
    _ = sys:get_state(accept_queue_pools, infinity),
    ok.

%% Waits until so many, or these, have been found in accept. The looks are hurried.
have_found(L, Expected) ->
    find(L, Expected, fun look/0).

%% The same without hurry: a look comes within half a minute.
find_by_themselves(L, Expected) ->
    find_patiently(L, Expected, 6).

find_patiently(L, Expected, Tries) ->
    try
        find(L, Expected, fun() -> ok end)
    catch
        error:{not_within_ms, _, _} when Tries > 1 -> find_patiently(L, Expected, Tries - 1)
    end.

find(L, Expected, Look) ->
    Cookie = cookie(L),
    Is =
        case is_integer(Expected) of
            true -> fun(Pids) -> length(Pids) =:= Expected end;
            false -> fun(Pids) -> Pids =:= lists:sort(Expected) end
        end,
    eventually:is(true, fun() -> ok = Look(), Is(remembered(Cookie)) end),
    ok.
