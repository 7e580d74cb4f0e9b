%% @private
%% The frameworks whose listeners are known by name, with their pools: a module for each, which alone knows the private terms of its
%% framework. None of them need be there.
%%
%% Two ways to know: by what the processes of a framework show of themselves (their dictionaries and links), which asks no process and
%% never waits for one that is stuck; and by a question with a time-out, in {@link accept_queue_pools} and in a caller of
%% {@link accept_queue:acceptors/1}.
-module(accept_queue_framework).

-export([server/2, named/1, whole_name/2, elsewhere/1, pool/2, text/1]).
%% For the modules of the frameworks.
-export([within/1, name_within/2, acceptors_or_starter/2, text/2]).

%% How the listeners of a framework are called.
-callback named(accept_queue_process:kin()) -> accept_queue:server() | undefined.
%% The whole name, where `named/1' knows a part of it only.
-callback whole_name(accept_queue:server(), accept_queue_process:kin()) -> {ok, accept_queue:server()} | {error, timeout}.
%% Listeners that another process opened, beside these that are known by their owner.
-callback elsewhere(Known :: [accept_queue:server()]) -> #{accept_queue_backend:socket() => accept_queue:server()}.
%% The processes that should be in accept, of the listener with this name; or what is to start them, where there is none.
-callback pool(accept_queue:server(), Owner :: pid() | undefined, accept_queue_backend:socket()) ->
    {ok, [pid()]} | {error, not_found | not_listening | timeout}.
-callback text(accept_queue:server()) -> iodata() | undefined.

-optional_callbacks([whole_name/2, elsewhere/1]).

-define(FRAMEWORKS, [accept_queue_ranch, accept_queue_thousand_island, accept_queue_mochiweb, accept_queue_elli, accept_queue_esockd]).
-define(ANSWER_MS, 1000).

%% The name of a listener's server as of now, without a question: the last whole name, while the owner is the same.
-spec server(accept_queue_backend:socket() | undefined, accept_queue:cookie()) -> accept_queue:server().
server(undefined, _Cookie) ->
    undefined;
server(Socket, Cookie) ->
    Owner = accept_queue_backend:owner(Socket),
    case accept_queue_pool_cache:named(Cookie) of
        {Owner, Server} ->
            case text(Server) of
                undefined -> server(Owner);
                _ -> Server
            end;
        _ ->
            server(Owner)
    end.

server(Owner) ->
    case named(Owner) of
        undefined -> accept_queue_process:server(Owner);
        Server -> Server
    end.

%% The listener of a framework by the process that owns its socket, as far as that can be known without a question.
-spec named(pid() | undefined) -> accept_queue:server() | undefined.
named(undefined) ->
    undefined;
named(Owner) ->
    case accept_queue_process:kin(Owner) of
        undefined -> undefined;
        Kin -> first([fun() -> Module:named(Kin) end || Module <- ?FRAMEWORKS])
    end.

%% Asks.
-spec whole_name(accept_queue:server(), pid()) -> {ok, accept_queue:server()} | {error, timeout}.
whole_name(Named, Owner) ->
    case accept_queue_process:kin(Owner) of
        undefined ->
            {ok, Named};
        Kin ->
            Module = hd([Module || Module <- ?FRAMEWORKS, Module:named(Kin) =/= undefined] ++ [undefined]),
            case has(Module, whole_name, 2) of
                true -> Module:whole_name(Named, Kin);
                false -> {ok, Named}
            end
    end.

%% Asks.
-spec elsewhere(Known :: [accept_queue:server()]) -> #{accept_queue_backend:socket() => accept_queue:server()}.
elsewhere(Known) ->
    lists:foldl(fun(Module, Found) -> maps:merge(Module:elsewhere(Known), Found) end, #{}, [M || M <- ?FRAMEWORKS, has(M, elsewhere, 1)]).

%% The processes that should be in accept, as the framework of the listener knows them. May ask.
-spec pool(accept_queue_backend:socket(), accept_queue:cookie()) -> {ok, [pid()]} | {error, not_found | not_listening | timeout}.
pool(Socket, Cookie) ->
    Owner = accept_queue_backend:owner(Socket),
    Server = server(Socket, Cookie),
    hd([Pool || Module <- ?FRAMEWORKS, {ok, _} = Pool <- [Module:pool(Server, Owner, Socket)]] ++ [{error, not_found}]).

%% As a person writes it.
-spec text(accept_queue:server()) -> iodata() | undefined.
text(Server) ->
    first([fun() -> Module:text(Server) end || Module <- ?FRAMEWORKS]).

%% The answer of a framework's processes, which may be stuck.
-spec within(fun(() -> Answer)) -> Answer | {error, not_found | timeout}.
within(Ask) ->
    accept_queue_call:within(?ANSWER_MS, Ask).

%% A name that is asked for; where one of the processes ends before, what is known without it.
-spec name_within(accept_queue:server(), fun(() -> accept_queue:server())) -> {ok, accept_queue:server()} | {error, timeout}.
name_within(Named, Ask) ->
    case within(fun() -> {ok, Ask()} end) of
        {error, not_found} -> {ok, Named};
        Answer -> Answer
    end.

%% Of a framework whose acceptors become the connections: where none is left, the server that starts them stands for the pool.
-spec acceptors_or_starter([pid()], Server :: pid() | undefined) -> {ok, [pid() | undefined]}.
acceptors_or_starter([], Server) -> {ok, [Server]};
acceptors_or_starter(Acceptors, _Server) -> {ok, Acceptors}.

%% Such as `ranch http'.
-spec text(string(), term()) -> iodata().
text(Framework, undefined) -> Framework;
text(Framework, Name) -> [Framework, " ", accept_queue_process:module_name(Name)].

first([]) ->
    undefined;
first([Ask | Others]) ->
    case Ask() of
        undefined -> first(Others);
        Answer -> Answer
    end.

%% Of a module of this application, which is loaded with its first call.
has(undefined, _Function, _Arity) ->
    false;
has(Module, Function, Arity) ->
    {module, Module} = code:ensure_loaded(Module),
    erlang:function_exported(Module, Function, Arity).
