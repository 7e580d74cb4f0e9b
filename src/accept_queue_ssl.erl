%% @private
%% The transport inside an ssl socket. The only module that knows that there is one: `{sslsocket, nil, {Listen, Config}}'
%% on OTP 25 and 27, an eight-tuple on 29, and for a connection the transport beside its module.
-module(accept_queue_ssl).

-export([transport/1]).

%% The socket that the kernel knows; any other term as it is.
-spec transport(term()) -> term().
transport(Ssl) when is_tuple(Ssl), tuple_size(Ssl) > 1, element(1, Ssl) =:= sslsocket ->
    case inside(tl(tuple_to_list(Ssl))) of
        [Socket | _] -> Socket;
        [] -> Ssl
    end;
transport(Term) ->
    Term.

inside(Terms) ->
    lists:flatmap(fun candidates/1, Terms).

candidates(Term) ->
    case accept_queue_backend:is_socket(Term) of
        true -> [Term];
        false when is_tuple(Term) -> [Element || Element <- tuple_to_list(Term), accept_queue_backend:is_socket(Element)];
        false -> []
    end.
