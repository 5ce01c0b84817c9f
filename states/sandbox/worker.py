"""The worker and its tokens, which the management API requires."""

from __future__ import annotations

import secrets

import attrs

from states.sandbox.bodies import issuer
from states.sandbox.calls import Answer, Call
from states.sandbox.clients import authenticate, check_one_way, denied
from states.sandbox.environment import PINGONE_AUDIENCE, Environment
from states.sandbox.errors import OAuthError, access_failed
from states.sandbox.signing import SigningKey


@attrs.define
class WorkerTokens:
    """Tokens of the worker: value → time of expiry."""

    live: dict[str, float] = attrs.field(factory=dict)

    def issue(self, environment: Environment, call: Call, key: SigningKey) -> str:
        """Issue a new token, a JWT, and forget the expired ones."""
        now = environment.now()
        self.live = {token: until for token, until in self.live.items() if until > now}
        lifetime = environment.settings.worker_token_lifetime_s
        claims = {
            "iss": issuer(environment, call),
            "aud": [PINGONE_AUDIENCE],
            "client_id": environment.worker_id,
            "env": environment.id,
            "iat": int(now),
            "exp": int(now + lifetime),
            "jti": environment.new_id(),
        }
        token = key.sign(claims, environment.settings.token_typ)
        self.live[token] = now + lifetime
        return token

    def check(self, environment: Environment, call: Call) -> None:
        """Check that the worker calls. Raises ``ApiError`` 401."""
        token = call.bearer()
        if token is None or self.live.get(token, 0.0) <= environment.now():
            raise access_failed(401, "INVALID_TOKEN")


def worker_token(environment: Environment, call: Call, workers: WorkerTokens, key: SigningKey) -> Answer:
    """The grant type ``client_credentials``, for the worker only."""
    check_one_way(call)
    client_id, secret = call.basic() or (call.form.get("client_id", ""), call.form.get("client_secret", ""))
    method = "CLIENT_SECRET_BASIC" if call.basic() else "CLIENT_SECRET_POST"
    if client_id != environment.worker_id:
        authenticate(environment, call, "token")
        raise OAuthError(400, "unauthorized_client", "Only the worker can use this grant type")
    if method != environment.settings.worker_auth_method:
        raise denied("Unsupported authentication method")
    if not secrets.compare_digest(secret.encode(), environment.worker_secret.encode()):
        raise denied("Invalid client credentials")
    lifetime = int(environment.settings.worker_token_lifetime_s)
    return Answer(body={"access_token": workers.issue(environment, call, key), "token_type": "Bearer", "expires_in": lifetime})
