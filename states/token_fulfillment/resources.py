"""Steps 3 to 6: the custom resource, its scope and attribute mapping, and the grant."""

from __future__ import annotations

from attrs import evolve

from orchestrator import Effect, Look, Outcome, done
from states.pingone.management import Found
from states.token_fulfillment import names
from states.token_fulfillment.context import TokenContext
from states.token_fulfillment.recovery import adopted_id, created_id, find_twice
from states.token_fulfillment.steps import CONFIGURATION, PROPAGATION_RETRY, TokenState, TokenStep, settings_of


class CreateResource(TokenState):
    """Create the custom resource whose access tokens will carry the claim.

    Effect: one resource; its scopes and attributes go away with it.
    Call: ``POST /environments/{env}/resources``. Source: "Create Resource".
    """

    transitions = {"done": "create_scope"}
    rate_group = CONFIGURATION

    async def run(self, step: TokenStep) -> Outcome[TokenContext]:
        body = {
            "name": names.resource(step.instance_id),
            "description": f"Token fulfillment, run {step.run_id}",
            "audience": names.audience(step.instance_id),
            "accessTokenValiditySeconds": 3600,
        }
        management = step.services.management
        id = await created_id(step, lambda: management.create("resource", "resources", body), lambda: self._find(step))
        return done(evolve(step.context, resource_id=id))

    async def recover(self, step: TokenStep) -> Outcome[TokenContext] | Look:
        id = await adopted_id(step, lambda: self._find(step))
        return id if isinstance(id, Look) else done(evolve(step.context, resource_id=id))

    async def rollback(self, step: TokenStep) -> None:
        id = step.context.resource_id
        if not id:
            found = await find_twice(step, lambda: self._find(step))
            id = found["id"] if found else ""
        if id:
            await step.services.management.delete("resource", f"resources/{id}")

    def effect(self, step: TokenStep) -> Effect:
        return Effect(kind="resource", name=names.resource(step.instance_id), id=step.context.resource_id or None)

    async def _find(self, step: TokenStep) -> Found | None:
        name = names.resource(step.instance_id)
        return await step.services.management.find(
            "resources", "resources", "resources", lambda row: row.get("name") == name and row.get("type") == "CUSTOM"
        )


class CreateScope(TokenState):
    """Create the scope that the sign-on will ask for.

    Effect: one scope, which goes away with its resource.
    Call: ``POST /environments/{env}/resources/{resID}/scopes``. Source: "Create Scope".
    """

    transitions = {"done": "map_attribute"}
    rate_group = CONFIGURATION
    retry = PROPAGATION_RETRY

    async def run(self, step: TokenStep) -> Outcome[TokenContext]:
        body = {"name": names.scope(step.instance_id), "description": "custom scope"}
        management = step.services.management
        id = await created_id(
            step, lambda: management.create("scope", _path(step), body, parent_is_new=True), lambda: self._find(step)
        )
        return done(evolve(step.context, scope_id=id))

    async def recover(self, step: TokenStep) -> Outcome[TokenContext] | Look:
        id = await adopted_id(step, lambda: self._find(step))
        return id if isinstance(id, Look) else done(evolve(step.context, scope_id=id))

    def effect(self, step: TokenStep) -> Effect:
        return Effect(kind="scope", name=names.scope(step.instance_id), id=step.context.scope_id or None)

    async def _find(self, step: TokenStep) -> Found | None:
        name = names.scope(step.instance_id)
        return await step.services.management.find("scopes", _path(step), "scopes", lambda row: row.get("name") == name)


class MapAttribute(TokenState):
    """Map a claim of the access token to a part of the assertion.

    Effect: one attribute, which goes away with its resource.
    Call: ``POST /environments/{env}/resources/{resID}/attributes`` (the workflow's prose says ``attribute``; its
    request line is right). Source: workflow page "Create a resource attribute mapping".
    """

    transitions = {"done": "grant_access"}
    rate_group = CONFIGURATION
    retry = PROPAGATION_RETRY

    async def run(self, step: TokenStep) -> Outcome[TokenContext]:
        settings = settings_of(step)
        body = {"name": settings.claim, "value": settings.expression.text}
        management = step.services.management
        id = await created_id(
            step, lambda: management.create("attribute", self._path(step), body, parent_is_new=True), lambda: self._find(step)
        )
        return done(evolve(step.context, attribute_id=id))

    async def recover(self, step: TokenStep) -> Outcome[TokenContext] | Look:
        id = await adopted_id(step, lambda: self._find(step))
        return id if isinstance(id, Look) else done(evolve(step.context, attribute_id=id))

    def effect(self, step: TokenStep) -> Effect:
        name = f"mapping of {names.resource(step.instance_id)}"
        return Effect(kind="attribute", name=name, id=step.context.attribute_id or None)

    def _path(self, step: TokenStep) -> str:
        return f"resources/{step.context.resource_id}/attributes"

    async def _find(self, step: TokenStep) -> Found | None:
        name = settings_of(step).claim
        return await step.services.management.find(
            "attributes", self._path(step), "attributes", lambda row: row.get("name") == name
        )


class GrantAccess(TokenState):
    """Grant the scope to the application, which may not have arrived everywhere yet.

    Effect: one grant. It is removed before the resource, for a resource whose scopes are granted deletes badly.
    Call: ``POST /environments/{env}/applications/{appID}/grants``. Source: "Application Resource Grants".
    """

    transitions = {"done": "create_population"}
    rate_group = CONFIGURATION
    retry = PROPAGATION_RETRY

    async def run(self, step: TokenStep) -> Outcome[TokenContext]:
        body = {"resource": {"id": step.context.resource_id}, "scopes": [{"id": step.context.scope_id}]}
        management = step.services.management
        id = await created_id(
            step, lambda: management.create("grant", self._path(step), body, parent_is_new=True), lambda: self._find(step)
        )
        return done(evolve(step.context, grant_id=id))

    async def recover(self, step: TokenStep) -> Outcome[TokenContext] | Look:
        id = await adopted_id(step, lambda: self._find(step))
        return id if isinstance(id, Look) else done(evolve(step.context, grant_id=id))

    async def rollback(self, step: TokenStep) -> None:
        id = step.context.grant_id
        if not id:
            found = await find_twice(step, lambda: self._find(step))
            id = found["id"] if found else ""
        if id:
            await step.services.management.delete("grant", f"{self._path(step)}/{id}")

    def effect(self, step: TokenStep) -> Effect:
        name = f"{names.scope(step.instance_id)} to {names.application(step.instance_id)}"
        return Effect(kind="grant", name=name, id=step.context.grant_id or None)

    def _path(self, step: TokenStep) -> str:
        return f"applications/{step.context.application_id}/grants"

    async def _find(self, step: TokenStep) -> Found | None:
        resource_id = step.context.resource_id
        return await step.services.management.find(
            "grants", self._path(step), "grants", lambda row: (row.get("resource") or {}).get("id") == resource_id
        )


def _path(step: TokenStep) -> str:
    return f"resources/{step.context.resource_id}/scopes"
