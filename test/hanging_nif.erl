%% A NIF whose functions do not come back for so many ms, built as the real one is.
-module(hanging_nif).

-export([sleep/1, lock/1, spin/1, sleep_dirty/1]).

-on_load(load/0).

sleep(_Ms) ->
    erlang:nif_error(not_loaded).

lock(_Ms) ->
    erlang:nif_error(not_loaded).

spin(_Ms) ->
    erlang:nif_error(not_loaded).

sleep_dirty(_Ms) ->
    erlang:nif_error(not_loaded).

load() ->
    erlang:load_nif(filename:rootname(repository:target("release/libhanging_nif.so")), 0).
