"""The metadata of the authorization server and its keys. Source: OpenID Connect Discovery 1.0."""

from __future__ import annotations

from states.sandbox.authorization import OIDC_SCOPES, RESPONSE_MODES
from states.sandbox.bodies import issuer
from states.sandbox.calls import Answer, Call
from states.sandbox.clients import HMAC_ALGORITHMS, KEY_ALGORITHMS
from states.sandbox.environment import Environment
from states.sandbox.signing import SigningKey


def discovery(environment: Environment, call: Call) -> Answer:
    base = issuer(environment, call)
    return Answer(
        body={
            "issuer": base,
            "authorization_endpoint": f"{base}/authorize",
            "token_endpoint": f"{base}/token",
            "userinfo_endpoint": f"{base}/userinfo",
            "jwks_uri": f"{base}/jwks",
            "introspection_endpoint": f"{base}/introspect",
            "response_types_supported": ["code"],
            "response_modes_supported": list(RESPONSE_MODES),
            "grant_types_supported": ["authorization_code", "client_credentials"],
            "request_parameter_supported": False,
            "request_uri_parameter_supported": False,
            "claims_parameter_supported": False,
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "scopes_supported": sorted(OIDC_SCOPES),
            "token_endpoint_auth_methods_supported": [
                "client_secret_basic",
                "client_secret_post",
                "client_secret_jwt",
                "private_key_jwt",
                "none",
            ],
            "token_endpoint_auth_signing_alg_values_supported": [*HMAC_ALGORITHMS, *KEY_ALGORITHMS],
            "code_challenge_methods_supported": ["plain", "S256"],
            "claims_supported": [
                *("sub", "iss", "aud", "exp", "iat", "auth_time", "acr", "amr", "nonce", "sid"),
                *("email", "preferred_username", "given_name", "family_name"),
            ],
        }
    )


def jwks(environment: Environment, call: Call, key: SigningKey) -> Answer:
    return Answer(body={"keys": [key.jwk]})
