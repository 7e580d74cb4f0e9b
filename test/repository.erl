%% Where the files of this repository are, for tests that run in another folder: rebar3 and ct_run have one of their own for each run.
-module(repository).

-export([path/1, target/1, application/1]).

%% A file or folder of the repository.
path(Path) ->
    filename:join(root(filename:dirname(code:which(?MODULE))), Path).

%% A folder of the application, as this VM runs it.
application(Folder) ->
    filename:join(filename:dirname(filename:dirname(code:which(accept_queue))), Folder).

%% A file that cargo has built for the tests.
target(File) ->
    Path = filename:join(path(os:getenv("CARGO_TARGET_DIR", "target")), File),
    filelib:is_regular(Path) orelse erlang:error({not_built, Path, "`make test' builds it"}),
    Path.

%% The first folder above the beam that has what no other folder has. `code:lib_dir' would find any folder called accept_queue.
root(Folder) ->
    case {filelib:is_regular(filename:join(Folder, "native/build")), filename:dirname(Folder)} of
        {true, _} -> Folder;
        {false, Folder} -> erlang:error({not_below_the_repository, code:which(?MODULE)});
        {false, Above} -> root(Above)
    end.
