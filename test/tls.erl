%% TLS with a certificate that was made for this run.
-module(tls).

-export([options/0]).

%% What the server of a listener needs, and what its client does.
options() ->
    {ok, _} = application:ensure_all_started(ssl),
    %% TLS 1.3 refuses the SHA-1 and the curve that are this function's defaults.
    Kind = [{digest, sha256}, {key, {namedCurve, secp256r1}}],
    Chain = #{root => Kind, intermediates => [], peer => Kind},
    #{server_config := Server, client_config := Client} =
        public_key:pkix_test_data(#{server_chain => Chain, client_chain => Chain}),
    #{server => Server, client => [{verify, verify_none} | Client]}.
