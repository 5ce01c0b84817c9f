"""Steps 1 and 2: the application and its secret."""

from __future__ import annotations

from attrs import evolve

from orchestrator import Effect, Look, Outcome, Repeat, Secret, done
from orchestrator import TransientError
from states.pingone.assertion import ClientAuthentication, jwks
from states.pingone.management import Found
from states.token_fulfillment import names
from states.token_fulfillment.context import TokenContext
from states.token_fulfillment.recovery import adopted_id, created_id, find_twice
from states.token_fulfillment.steps import CONFIGURATION, PROPAGATION_RETRY, TokenState, TokenStep, settings_of


class CreateApplication(TokenState):
    """Create the application that will authenticate with a JWT.

    Effect: one OIDC web application; its secret, and whatever is granted to it, go away with it.
    Call: ``POST /environments/{env}/applications``. Source: PingOne Platform API, "Create Application".
    """

    transitions = {"done": "read_application_secret"}
    rate_group = CONFIGURATION

    async def run(self, step: TokenStep) -> Outcome[TokenContext]:
        management = step.services.management
        id = await created_id(
            step, lambda: management.create("application", "applications", _body(step)), lambda: self._find(step)
        )
        return done(evolve(step.context, application_id=id))

    async def recover(self, step: TokenStep) -> Outcome[TokenContext] | Look:
        id = await adopted_id(step, lambda: self._find(step))
        return id if isinstance(id, Look) else done(evolve(step.context, application_id=id))

    async def rollback(self, step: TokenStep) -> None:
        id = step.context.application_id or _id_of(await find_twice(step, lambda: self._find(step)))
        if id:
            await step.services.management.delete("application", f"applications/{id}")

    def effect(self, step: TokenStep) -> Effect:
        return Effect(kind="application", name=names.application(step.instance_id), id=step.context.application_id or None)

    async def _find(self, step: TokenStep) -> Found | None:
        name = names.application(step.instance_id)
        return await step.services.management.find(
            "applications", "applications", "applications", lambda row: row.get("name") == name
        )


class ReadApplicationSecret(TokenState):
    """Read the secret that signs the assertions; it is made asynchronously and may be 404 for a while.

    Effect: none. It is never rotated, for that would break what other attempts have read.
    Call: ``GET /environments/{env}/applications/{appID}/secret``. Source: "Read Application Secret".
    """

    transitions = {"done": "create_resource"}
    rate_group = CONFIGURATION
    repeat = Repeat.FREELY
    retry = PROPAGATION_RETRY

    async def run(self, step: TokenStep) -> Outcome[TokenContext]:
        path = f"applications/{step.context.application_id}/secret"
        answer = await step.services.management.read("application secret", path, parent_is_new=True)
        secret = answer.get("secret")
        if not isinstance(secret, str) or not secret:
            raise TransientError("read application secret: the answer holds none yet", code="no_secret")
        return done(evolve(step.context, application_secret=Secret(secret)))


def _body(step: TokenStep) -> dict[str, object]:
    settings = settings_of(step)
    body: dict[str, object] = {
        "enabled": True,
        "name": names.application(step.instance_id),
        "description": f"Token fulfillment, run {step.run_id}",
        "type": "WEB_APP",
        "protocol": "OPENID_CONNECT",
        "grantTypes": ["AUTHORIZATION_CODE"],
        "responseTypes": ["CODE"],
        "redirectUris": [settings.redirect_uri],
        "tokenEndpointAuthMethod": settings.auth_method.value,
        "pkceEnforcement": settings.pkce.value,
    }
    if settings.auth_method is ClientAuthentication.PRIVATE_KEY_JWT:
        assert step.context.private_key is not None
        body["jwks"] = jwks(step.context.private_key, names.key_id(step.instance_id))
    return body


def _id_of(found: Found | None) -> str:
    return str(found["id"]) if found else ""
