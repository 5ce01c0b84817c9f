"""Sign-on policies: the two that every environment has, and their assignments to applications.

Source: "Sign-on Policies", "Application Sign-on Policy Assignments". An application without an assignment has the environment's default.
"""

from __future__ import annotations

import uuid

import attrs

from states.sandbox.applications import find
from states.sandbox.bodies import collection, hal, timestamp
from states.sandbox.calls import Answer, Call
from states.sandbox.environment import Environment
from states.sandbox.errors import invalid, not_found
from states.sandbox.fields import required_reference, whole
from states.sandbox.json_types import JSONObject
from states.sandbox.objects import PolicyAssignment, Row
from states.sandbox.settings import MULTI_FACTOR, SINGLE_FACTOR


@attrs.frozen(kw_only=True)
class Policy(Row):
    """A built-in sign-on policy."""

    name: str


def read_all(environment: Environment, call: Call) -> Answer:
    def body(row: Policy) -> JSONObject:
        return _policy_body(environment, call, row)

    return collection(call, environment, "signOnPolicies", "signOnPolicies", _policies(environment), body)


def read(environment: Environment, call: Call) -> Answer:
    return Answer(body=_policy_body(environment, call, _policy(environment, call.ids["policy"])))


def assign(environment: Environment, call: Call) -> Answer:
    application = find(environment, call)
    data = call.json()
    policy_id, priority = required_reference(data, "signOnPolicy"), whole(data, "priority", 1, 1, 1000)
    policy = next((policy for policy in _policies(environment) if policy.id == policy_id), None)
    if policy is None:
        raise invalid("INVALID_VALUE", "signOnPolicy.id", "The sign-on policy does not exist")
    for row in environment.assignments.where(application_id=application.id):
        if policy.id == row.policy_id or priority == row.priority:
            raise environment.taken("signOnPolicy", "The policy or the priority is assigned already.", row)
    assignment = environment.assignments.put(
        PolicyAssignment(
            id=environment.new_id(),
            created_at=environment.now(),
            application_id=application.id,
            policy_id=policy.id,
            priority=priority,
        )
    )
    environment.created("sign_on_policy_assignment", f"{application.name}/{policy.name}")
    return Answer(status=201, body=_body(environment, call, assignment))


def read_assignments(environment: Environment, call: Call) -> Answer:
    application = find(environment, call)
    rows = environment.assignments.where(application_id=application.id)
    path = f"applications/{application.id}/signOnPolicyAssignments"
    return collection(call, environment, path, "signOnPolicyAssignments", rows, lambda row: _body(environment, call, row))


def remove_assignment(environment: Environment, call: Call) -> Answer:
    application = find(environment, call)
    assignment = environment.assignments.get(call.ids["assignment"], application_id=application.id)
    environment.delete_assignment(assignment.id)
    return Answer(status=204)


def policy_name(environment: Environment, application_id: str) -> str:
    """The policy that applies to sign-ons to an application."""
    rows = environment.assignments.where(application_id=application_id)
    if not rows:
        return environment.settings.default_policy
    return _policy(environment, min(rows, key=lambda row: row.priority).policy_id).name


def _policies(environment: Environment) -> list[Policy]:
    return [
        Policy(id=str(uuid.uuid5(uuid.NAMESPACE_URL, f"{environment.id}/{name}")), created_at=0.0, name=name)
        for name in (SINGLE_FACTOR, MULTI_FACTOR)
    ]


def _policy(environment: Environment, id: str) -> Policy:
    for policy in _policies(environment):
        if policy.id == id:
            return policy
    raise not_found()


def _policy_body(environment: Environment, call: Call, row: Policy) -> JSONObject:
    path = f"signOnPolicies/{row.id}"
    default = row.name == environment.settings.default_policy
    return hal(call, environment, path, actions=f"{path}/actions") | {"id": row.id, "name": row.name, "default": default}


def _body(environment: Environment, call: Call, row: PolicyAssignment) -> JSONObject:
    application, policy = f"applications/{row.application_id}", f"signOnPolicies/{row.policy_id}"
    path = f"{application}/signOnPolicyAssignments/{row.id}"
    return hal(call, environment, path, application=application, signOnPolicy=policy) | {
        "id": row.id,
        "application": {"id": row.application_id},
        "signOnPolicy": {"id": row.policy_id},
        "priority": row.priority,
        "createdAt": timestamp(row.created_at),
    }
