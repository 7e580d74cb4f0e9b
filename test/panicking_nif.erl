%% A NIF whose functions do nothing but panic, built as the real one is.
-module(panicking_nif).

-export([normal/0, dirty/0]).

-on_load(load/0).

normal() ->
    erlang:nif_error(not_loaded).

dirty() ->
    erlang:nif_error(not_loaded).

load() ->
    erlang:load_nif(filename:rootname(repository:target("release/libpanicking_nif.so")), 0).
