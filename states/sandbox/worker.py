"""The worker: its tokens, which the management API wants."""

from __future__ import annotations

import secrets
from collections.abc import Mapping

import attrs

from states.sandbox.calls import Answer, Call
from states.sandbox.clients import authenticate, denied
from states.sandbox.environment import Environment
from states.sandbox.errors import OAuthError, access_failed


@attrs.define
class WorkerTokens:
    """Tokens of the worker: value → when it expires."""

    live: dict[str, float] = attrs.field(factory=dict)

    def issue(self, environment: Environment) -> str:
        """A fresh one; dead ones are forgotten."""
        now = environment.now()
        self.live = {token: until for token, until in self.live.items() if until > now}
        token = secrets.token_urlsafe(48)
        self.live[token] = now + environment.settings.worker_token_lifetime_s
        return token

    def check(self, environment: Environment, call: Call) -> None:
        """Let only the worker pass. Raises ``ApiError`` 401."""
        token = call.bearer()
        if token is None or self.live.get(token, 0.0) <= environment.now():
            raise access_failed(401, "INVALID_TOKEN")


def worker_token(environment: Environment, call: Call, form: Mapping[str, str], workers: WorkerTokens) -> Answer:
    client_id, secret = call.basic() or (form.get("client_id", ""), form.get("client_secret", ""))
    if client_id != environment.worker_id:
        authenticate(environment, call, form)
        raise OAuthError(400, "unauthorized_client", "Only the worker can use this grant type")
    if not secrets.compare_digest(secret.encode(), environment.worker_secret.encode()):
        raise denied("Invalid client credentials")
    lifetime = int(environment.settings.worker_token_lifetime_s)
    return Answer(body={"access_token": workers.issue(environment), "token_type": "Bearer", "expires_in": lifetime})
