%% @private
%% The transport inside an ssl socket. The only module that knows that there is one: `{sslsocket, nil, {Listen, Config}}'
%% on OTP 25 and 27, an eight-tuple on 29, and for a connection the transport beside its module.
-module(accept_queue_ssl).

-export([transport/1, is_ssl/1]).

%% The socket that the kernel knows; any other term as it is.
-spec transport(term()) -> term().
transport(Term) ->
    case is_ssl(Term) andalso inside(tl(tuple_to_list(Term))) of
        [Socket | _] -> Socket;
        _ -> Term
    end.

-spec is_ssl(term()) -> boolean().
is_ssl(Term) ->
    is_tuple(Term) andalso tuple_size(Term) > 1 andalso element(1, Term) =:= sslsocket.

inside(Terms) ->
    lists:flatmap(fun candidates/1, Terms).

candidates(Term) ->
    case accept_queue_backend:is_socket(Term) of
        true -> [Term];
        false when is_tuple(Term) -> [Element || Element <- tuple_to_list(Term), accept_queue_backend:is_socket(Element)];
        false -> []
    end.
