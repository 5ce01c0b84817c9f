"""Steps 7 to 9: the population, the user and its password."""

from __future__ import annotations

from orchestrator import Look, Outcome, PermanentError, TransientError, done
from states.pingone.answers import ConstraintError
from states.pingone.management import Found
from states.token_fulfillment import names
from states.token_fulfillment.context import TokenContext
from states.token_fulfillment.creating import RemovableState
from states.token_fulfillment.steps import CONFIGURATION, DIRECTORY, PROPAGATION_RETRY, TokenState, TokenStep

PASSWORD_SET = "application/vnd.pingidentity.password.set+json"


class CreatePopulation(RemovableState):
    """Create a population for the user.

    Effect: one population; it can be deleted only when it is empty, and may count a deleted user for a while.
    Call: ``POST /environments/{env}/populations``. Source: "Create Population".
    """

    transitions = {"done": "create_user"}
    rate_group = CONFIGURATION
    kind = "population"
    learns = "population_id"

    def object_name(self, step: TokenStep) -> str:
        return names.population(step.instance_id)

    async def create(self, step: TokenStep) -> Found:
        body = {"name": names.population(step.instance_id), "description": f"Token fulfillment, run {step.run_id}"}
        return await step.services.management.create("population", "populations", body)

    async def find(self, step: TokenStep) -> Found | None:
        name = names.population(step.instance_id)
        return await step.services.management.find(
            "populations", "populations", "populations", lambda row: row.get("name") == name, scim=f'name eq "{name}"'
        )

    async def delete(self, step: TokenStep, object_id: str) -> None:
        try:
            await step.services.management.delete("population", f"populations/{object_id}")
        except ConstraintError as error:
            # Its user is gone, but it may not have noticed.
            raise TransientError(error.message, code=error.code) from error


class CreateUser(RemovableState):
    """Create the user that will sign on.

    Effect: one user, with its sessions.
    Call: ``POST /environments/{env}/users``. Source: "Create User".
    """

    transitions = {"done": "set_password"}
    rate_group = DIRECTORY
    kind = "user"
    learns = "user_id"

    def object_name(self, step: TokenStep) -> str:
        return names.username(step.instance_id)

    async def create(self, step: TokenStep) -> Found:
        body = {
            "email": names.email(step.instance_id),
            "name": {"given": "Token", "family": "User"},
            "population": {"id": step.context.population_id},
            "username": names.username(step.instance_id),
        }
        return await step.services.management.create("user", "users", body)

    async def find(self, step: TokenStep) -> Found | None:
        username = names.username(step.instance_id)
        return await step.services.management.find(
            "users", "users", "users", lambda row: row.get("username") == username, scim=f'username eq "{username}"'
        )

    async def delete(self, step: TokenStep, object_id: str) -> None:
        await step.services.management.delete("user", f"users/{object_id}")


class SetPassword(TokenState):
    """Set the user's password.

    Effect: none of its own; it goes away with the user. Sending the same password again after an unnoticed
    success may break the policy's history, so a lost answer is followed by a look at the password's status.
    Call: ``PUT /environments/{env}/users/{userID}/password``. Source: "Update Password (Set)".
    """

    transitions = {"done": "authorize"}
    rate_group = DIRECTORY
    retry = PROPAGATION_RETRY

    async def run(self, step: TokenStep) -> Outcome[TokenContext]:
        password = step.context.password
        body = {"value": password.reveal(), "forceChange": False}
        answer = await step.services.management.put("set the password", self._path(step), body, PASSWORD_SET, [password])
        return self._checked(step, answer)

    async def recover(self, step: TokenStep) -> Outcome[TokenContext] | Look:
        answer = await step.services.management.read("password", self._path(step), parent_is_new=True)
        return Look.ABSENT if answer.get("status") == "NO_PASSWORD" else self._checked(step, answer)

    def _checked(self, step: TokenStep, answer: Found) -> Outcome[TokenContext]:
        if answer.get("status") != "OK":
            raise PermanentError(f"set the password: its status is {answer.get('status')}, not OK", code="password_status")
        return done(step.context)

    def _path(self, step: TokenStep) -> str:
        return f"users/{step.context.user_id}/password"
