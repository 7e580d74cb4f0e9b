%% A Common Test hook: with ACCEPT_QUEUE_SOURCE=port in the environment the suites run over the port program instead of the
%% NIF, and what cannot hold there is skipped with its reason.
-module(over_port).

-define(NAMESPACE, "list/0 has the listeners of the VM's own network namespace; others are read where a socket or a handle is in hand").

-export([init/2, pre_init_per_suite/3, pre_init_per_testcase/4, vm_arguments/0]).

init(_Id, _Options) ->
    case is_wanted() of
        true ->
            _ = application:load(accept_queue),
            ok = application:set_env(accept_queue, source, port, [{persistent, true}]);
        false ->
            ok
    end,
    {ok, is_wanted()}.

%% Where the application does not run, the program is not started.
pre_init_per_suite(_Suite, Config, true) ->
    {ok, _} = application:ensure_all_started(accept_queue),
    port = accept_queue_source:source(),
    {Config, true};
pre_init_per_suite(_Suite, Config, false) ->
    {Config, false}.

pre_init_per_testcase(_Suite, Case, Config, true) ->
    case cannot(Case) of
        false ->
            {Config, true};
        Reason ->
            io:format(user, "~nskip ~s over the port program: ~s~n", [Case, Reason]),
            {{skip, Reason}, true}
    end;
pre_init_per_testcase(_Suite, _Case, Config, false) ->
    {Config, false}.

%% For a VM that a test starts.
vm_arguments() ->
    case is_wanted() of
        true -> ["-accept_queue", "source", "port"];
        false -> []
    end.

is_wanted() ->
    os:getenv("ACCEPT_QUEUE_SOURCE") =:= "port".

cannot(a_listener_in_another_network_namespace_is_read_there) -> ?NAMESPACE;
cannot(a_namespace_that_may_not_be_entered_is_eperm) -> ?NAMESPACE;
cannot(two_namespaces_are_two_queues) -> ?NAMESPACE;
cannot(a_handle_sent_as_bytes_works_while_it_lives_and_is_badarg_afterwards) ->
    "a handle of the program's is a term that holds all that is known, and works as long as the listener is open";
cannot(without_sock_diag_counts_are_unsupported_and_the_depth_is_read) ->
    "all that the program reads of a socket comes from sock_diag";
cannot(_) ->
    false.
