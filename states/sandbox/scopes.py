"""Scopes of custom resources."""

from __future__ import annotations

import re

from states.sandbox.bodies import collection, described, hal, timestamp
from states.sandbox.calls import Answer, Call
from states.sandbox.environment import Environment
from states.sandbox.errors import invalid
from states.sandbox.fields import required_text, text
from states.sandbox.json_types import JSONObject
from states.sandbox.objects import Scope


def create(environment: Environment, call: Call) -> Answer:
    resource = environment.resources.get(call.ids["resource"])
    data = call.json()
    name = required_text(data, "name")
    if re.search(r"\s", name):
        raise invalid("INVALID_VALUE", "name", "A scope name may not contain white space")
    taken = "A scope with the specified name already exists."
    environment.check_unique(environment.scopes, "name", name, taken, resource_id=resource.id)
    scope = environment.scopes.put(
        Scope(
            id=environment.new_id(),
            created_at=environment.now(),
            resource_id=resource.id,
            name=name,
            description=text(data, "description", longest=1024),
        )
    )
    environment.created("scope", f"{resource.name}/{name}")
    return Answer(status=201, body=_body(environment, call, scope))


def read_all(environment: Environment, call: Call) -> Answer:
    resource = environment.resources.get(call.ids["resource"])
    rows = environment.scopes.where(resource_id=resource.id)
    path = f"resources/{resource.id}/scopes"
    return collection(call, environment, path, "scopes", rows, lambda row: _body(environment, call, row))


def read(environment: Environment, call: Call) -> Answer:
    return Answer(body=_body(environment, call, _find(environment, call)))


def delete(environment: Environment, call: Call) -> Answer:
    environment.delete_scope(_find(environment, call).id)
    return Answer(status=204)


def _find(environment: Environment, call: Call) -> Scope:
    return environment.scopes.get(call.ids["scope"], resource_id=call.ids["resource"])


def _body(environment: Environment, call: Call, row: Scope) -> JSONObject:
    resource = f"resources/{row.resource_id}"
    return hal(call, environment, f"{resource}/scopes/{row.id}", resource=resource) | {
        "id": row.id,
        "name": row.name,
        **described(row.description),
        "resource": {"id": row.resource_id},
        "createdAt": timestamp(row.created_at),
        "updatedAt": timestamp(row.created_at),
    }
