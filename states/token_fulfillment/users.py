"""Steps 7 to 9: the population, the user and its password."""

from __future__ import annotations

from orchestrator import Outcome, PermanentError, Recovery, done
from states.pingone.answers import AccessError, InvalidError, MissingError, RefusedError
from states.pingone.management import Found, Listing
from states.token_fulfillment import names
from states.token_fulfillment.context import TokenContext, changed
from states.token_fulfillment.creating import RemovableState
from states.token_fulfillment.steps import CONFIGURATION, DIRECTORY, PROPAGATION_RETRY, Grace, TokenState, TokenStep

PASSWORD_SET = "application/vnd.pingidentity.password.set+json"


class CreatePopulation(RemovableState):
    """Create a population for the user.

    Effect: one population. It can be deleted only if it is empty, and it may count a deleted user for some time.
    Call: ``POST /environments/{env}/populations``. Source: "Create Population".
    """

    transitions = {"done": "create_user"}
    rate_group = CONFIGURATION
    kind = "population"
    learns = "population_id"

    def object_name(self, step: TokenStep) -> str:
        return names.population(step.context.origin)

    async def create(self, step: TokenStep) -> Found:
        body = {"name": names.population(step.context.origin), "description": f"Token fulfillment, run {step.run_id}"}
        return await step.services.management.create("population", "populations", body)

    def listing(self, step: TokenStep) -> Listing:
        name = names.population(step.context.origin)
        return Listing("populations", "populations", lambda row: row.get("name") == name, scim=f'name eq "{name}"')

    async def delete(self, step: TokenStep, object_id: str) -> None:
        # PingOne refuses while the population still counts its deleted user. The vendor does not document the response, and its
        # Terraform provider accepts any, so every refusal is retried.
        await step.services.management.delete("population", f"populations/{object_id}", passing=(RefusedError,))


class CreateUser(RemovableState):
    """Create the user that signs on.

    Effect: one user, with its sessions.
    Call: ``POST /environments/{env}/users``. Source: "Create User".
    """

    transitions = {"done": "set_password"}
    rate_group = DIRECTORY
    retry = PROPAGATION_RETRY
    kind = "user"
    learns = "user_id"
    passing = (*RemovableState.passing, InvalidError)
    """The vendor does not document the refusal of an unknown population."""

    def object_name(self, step: TokenStep) -> str:
        return step.context.username

    def is_ours(self, step: TokenStep) -> bool:
        # A username that a row names may be that of a user who was there before.
        return step.context.username == names.username(step.context.origin)

    async def create(self, step: TokenStep) -> Found:
        here = step.context
        body = {
            "email": here.email,
            "name": {"given": here.given_name, "family": here.family_name},
            "population": {"id": here.population_id},
            "username": here.username,
        }
        return await step.services.management.create("user", "users", body)

    def listing(self, step: TokenStep) -> Listing:
        here = step.context

        def is_ours(row: Found) -> bool:
            population = row.get("population")
            # The population was made for this user: one of the same name elsewhere is neither adopted nor deleted.
            return (
                row.get("username") == here.username
                and isinstance(population, dict)
                and population.get("id") == here.population_id
            )

        quoted = here.username.replace("\\", "\\\\").replace('"', '\\"')
        return Listing("users", "users", is_ours, scim=f'username eq "{quoted}"')

    async def delete(self, step: TokenStep, object_id: str) -> None:
        await step.services.management.delete("user", f"users/{object_id}")


class SetPassword(TokenState):
    """Set the user's password.

    Effect: the password, which is deleted with the user. Setting the same password twice may violate the password history, so
    after a lost response the status of the password is read first.
    Call: ``PUT /environments/{env}/users/{userID}/password``. Source: "Update Password (Set)".
    """

    transitions = {"done": "authorize"}
    rate_group = DIRECTORY
    retry = PROPAGATION_RETRY

    async def run(self, step: TokenStep) -> Outcome[TokenContext]:
        password = step.context.password
        body = {"value": password.reveal(), "forceChange": False}
        try:
            with Grace(step, AccessError, MissingError):
                answer = await step.services.management.put("set the password", self._path(step), body, PASSWORD_SET, [password])
        except PermanentError:
            # The history may have refused it: then an earlier attempt has set it, although its status did not show it.
            answer = await self._read(step) if step.may_have_run else {}
            if answer.get("status") != "OK":
                raise
        return self._checked(step, answer)

    async def recover(self, step: TokenStep) -> Outcome[TokenContext] | Recovery:
        answer = await self._read(step)
        return Recovery.NOT_FOUND if answer.get("status") == "NO_PASSWORD" else self._checked(step, answer)

    async def _read(self, step: TokenStep) -> Found:
        with Grace(step, AccessError, MissingError):
            return await step.services.management.read("password", self._path(step))

    def _checked(self, step: TokenStep, answer: Found) -> Outcome[TokenContext]:
        if answer.get("status") != "OK":
            raise PermanentError(f"set the password: its status is {answer.get('status')}, not OK", code="password_status")
        return done(changed(step.context, made_at=step.clock.now()))

    def _path(self, step: TokenStep) -> str:
        return f"users/{step.context.user_id}/password"
