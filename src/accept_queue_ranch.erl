%% @private
%% Listeners of ranch, 1.x and 2.x. The only module that knows where ranch keeps them.
-module(accept_queue_ranch).

-export([sockets/1]).

-spec sockets(term()) -> {sockets, [accept_queue_backend:socket()]} | {error, not_found}.
sockets(_Ref) ->
    {error, not_found}.
