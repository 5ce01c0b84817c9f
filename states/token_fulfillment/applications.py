"""Steps 1 and 2: the application and its secret."""

from __future__ import annotations

from orchestrator import Outcome, Repeat, Secret, TransientError, done
from states.pingone.answers import AccessError, MissingError
from states.pingone.assertion import ClientAuthentication, jwks
from states.pingone.management import Found, Listing
from states.token_fulfillment import names
from states.token_fulfillment.context import TokenContext, changed
from states.token_fulfillment.creating import RemovableState
from states.token_fulfillment.steps import CONFIGURATION, PROPAGATION_RETRY, Grace, TokenState, TokenStep, settings_of


class CreateApplication(RemovableState):
    """Create the application, which authenticates with a JWT.

    Effect: one OIDC web application. Its secret and its grants are deleted with it.
    Call: ``POST /environments/{env}/applications``. Source: PingOne Platform API, "Create Application".
    """

    transitions = {"done": "read_application_secret"}
    rate_group = CONFIGURATION
    kind = "application"
    learns = "application_id"
    name_is_unique = False

    def object_name(self, step: TokenStep) -> str:
        return names.application(step.context.origin)

    async def create(self, step: TokenStep) -> Found:
        settings = settings_of(step)
        body: dict[str, object] = {
            "enabled": True,
            "name": names.application(step.context.origin),
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
            body["jwks"] = jwks(step.context.private_key, names.key_id(step.context.origin))
        return await step.services.management.create("application", "applications", body)

    def listing(self, step: TokenStep) -> Listing:
        name = names.application(step.context.origin)
        return Listing("applications", "applications", lambda row: row.get("name") == name)

    async def delete(self, step: TokenStep, object_id: str) -> None:
        await step.services.management.delete("application", f"applications/{object_id}")


class ReadApplicationSecret(TokenState):
    """Read the secret that signs the assertions. PingOne creates it asynchronously, so it may be 404 at first.

    Effect: none. The secret is never rotated: a rotation would invalidate the secret that another attempt has read.
    Call: ``GET /environments/{env}/applications/{appID}/secret``. Source: "Read Application Secret".
    """

    transitions = {"done": "create_resource"}
    rate_group = CONFIGURATION
    repeat = Repeat.FREELY
    retry = PROPAGATION_RETRY

    async def run(self, step: TokenStep) -> Outcome[TokenContext]:
        path = f"applications/{step.context.application_id}/secret"
        try:
            with Grace(step, AccessError):
                answer = await step.services.management.read("application secret", path)
        except MissingError as error:
            raise TransientError(error.message, code=error.code) from error
        secret = answer.get("secret")
        if not isinstance(secret, str) or not secret:
            raise TransientError("read application secret: the response contains none yet", code="no_secret")
        return done(changed(step.context, application_secret=Secret(secret)))
