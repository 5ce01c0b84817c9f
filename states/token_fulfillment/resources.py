"""Steps 3 to 6: the custom resource, its scope and attribute mapping, and the grant."""

from __future__ import annotations

from states.pingone.answers import AlreadyExistsError, InvalidError
from states.pingone.management import Found, Listing
from states.pingone.policies import assignments
from states.token_fulfillment import names
from states.token_fulfillment.creating import CreatingState, RemovableState
from states.token_fulfillment.steps import CONFIGURATION, PROPAGATION_RETRY, TokenStep, settings_of


class CreateResource(RemovableState):
    """Create the custom resource, whose access tokens contain the claim.

    Effect: one resource. Its scopes and attributes are deleted with it.
    Call: ``POST /environments/{env}/resources``. Source: "Create Resource".
    """

    transitions = {"done": "create_scope"}
    rate_group = CONFIGURATION
    kind = "resource"
    learns = "resource_id"

    def object_name(self, step: TokenStep) -> str:
        return names.resource(step.context.origin)

    async def create(self, step: TokenStep) -> Found:
        body = {
            "name": names.resource(step.context.origin),
            "description": f"Token fulfillment, run {step.run_id}",
            "audience": names.audience(step.context.origin),
            "accessTokenValiditySeconds": 3600,
        }
        return await step.services.management.create("resource", "resources", body)

    def listing(self, step: TokenStep) -> Listing:
        name = names.resource(step.context.origin)
        return Listing("resources", "resources", lambda row: row.get("name") == name and row.get("type") == "CUSTOM")

    async def delete(self, step: TokenStep, object_id: str) -> None:
        await step.services.management.delete("resource", f"resources/{object_id}")


class CreateScope(CreatingState):
    """Create the scope that the sign-on requests.

    Effect: one scope, which is deleted with its resource.
    Call: ``POST /environments/{env}/resources/{resID}/scopes``. Source: "Create Scope".
    """

    transitions = {"done": "map_attribute"}
    rate_group = CONFIGURATION
    retry = PROPAGATION_RETRY
    kind = "scope"
    learns = "scope_id"

    def object_name(self, step: TokenStep) -> str:
        return names.scope(step.context.origin)

    async def create(self, step: TokenStep) -> Found:
        body = {"name": names.scope(step.context.origin), "description": "custom scope"}
        return await step.services.management.create("scope", self._path(step), body)

    def listing(self, step: TokenStep) -> Listing:
        name = names.scope(step.context.origin)
        return Listing(self._path(step), "scopes", lambda row: row.get("name") == name)

    def _path(self, step: TokenStep) -> str:
        return f"resources/{step.context.resource_id}/scopes"


class MapAttribute(CreatingState):
    """Map a claim of the access token to a value in the assertion.

    Effect: one attribute, which is deleted with its resource.
    Call: ``POST /environments/{env}/resources/{resID}/attributes`` (the workflow's prose says ``attribute``; its
    request line is right). Source: workflow page "Create a resource attribute mapping".
    """

    transitions = {"done": "grant_access"}
    rate_group = CONFIGURATION
    retry = PROPAGATION_RETRY
    kind = "attribute"
    learns = "attribute_id"

    def object_name(self, step: TokenStep) -> str:
        return f"mapping of {names.resource(step.context.origin)}"

    async def create(self, step: TokenStep) -> Found:
        settings = settings_of(step)
        body = {"name": settings.claim, "value": settings.expression.text}
        return await step.services.management.create("attribute", self._path(step), body)

    def listing(self, step: TokenStep) -> Listing:
        name = settings_of(step).claim
        return Listing(self._path(step), "attributes", lambda row: row.get("name") == name)

    def _path(self, step: TokenStep) -> str:
        return f"resources/{step.context.resource_id}/attributes"


class GrantAccess(RemovableState):
    """Grant the scope to the application, and assign it a sign-on policy if the settings name one.

    Effect: one grant. It is removed before the resource, because PingOne may refuse to delete a resource whose scopes are granted.
    The assignment of the policy is deleted with the application. It is created before the grant: if recovery finds a grant, both
    exist, and otherwise this state runs again and searches for the assignment first.
    Call: ``POST /environments/{env}/applications/{appID}/grants`` and ``…/signOnPolicyAssignments``. Source: "Application Resource
    Grants", "Application Sign-on Policy Assignments".
    """

    transitions = {"done": "create_population"}
    rate_group = CONFIGURATION
    retry = PROPAGATION_RETRY
    kind = "grant"
    learns = "grant_id"
    passing = (*CreatingState.passing, InvalidError)
    """The vendor does not document the refusal of an unknown resource or scope."""

    def object_name(self, step: TokenStep) -> str:
        return f"{names.scope(step.context.origin)} to {names.application(step.context.origin)}"

    async def create(self, step: TokenStep) -> Found:
        policy = settings_of(step).sign_on_policy
        if policy is not None:
            await self._assign(step, await step.services.policies.find(policy))
        body = {"resource": {"id": step.context.resource_id}, "scopes": [{"id": step.context.scope_id}]}
        return await step.services.management.create("grant", self._path(step), body)

    def listing(self, step: TokenStep) -> Listing:
        resource_id = step.context.resource_id
        return Listing(self._path(step), "grants", lambda row: _resource_of(row) == resource_id)

    async def _assign(self, step: TokenStep, policy_id: str) -> None:
        """Assign a sign-on policy to the application, unless an earlier attempt has done so."""
        listing = assignments(step.context.application_id, policy_id)
        thoroughly = step.may_have_run or step.attempt > 1
        find = self.look(step, thoroughly=True, listing=listing) if thoroughly else step.services.management.find(listing)
        if await find is not None:
            return
        try:
            await step.services.management.create(
                "sign-on policy assignment", listing.path, {"priority": 1, "signOnPolicy": {"id": policy_id}}
            )
        except AlreadyExistsError:
            pass  # an attempt whose response was lost has done it, and the list does not show it yet

    async def delete(self, step: TokenStep, object_id: str) -> None:
        await step.services.management.delete("grant", f"{self._path(step)}/{object_id}")

    def _path(self, step: TokenStep) -> str:
        return f"applications/{step.context.application_id}/grants"


def _resource_of(grant: Found) -> object:
    resource = grant.get("resource")
    return resource.get("id") if isinstance(resource, dict) else None
