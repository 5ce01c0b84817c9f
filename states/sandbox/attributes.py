"""Attribute mappings of custom resources: the claims of their access tokens."""

from __future__ import annotations

from states.sandbox import expressions
from states.sandbox.bodies import collection, hal
from states.sandbox.calls import Answer, Call
from states.sandbox.environment import Environment
from states.sandbox.errors import invalid
from states.sandbox.fields import required_text
from states.sandbox.json_types import JSONObject
from states.sandbox.objects import Attribute

RESERVED = frozenset(
    ("acr", "amr", "aud", "auth_time", "client_id", "env", "exp", "iat", "iss", "jti", "org", "scope", "sid", "sub")
)


def create(environment: Environment, call: Call) -> Answer:
    resource = environment.resources.get(call.ids["resource"])
    data = call.json()
    name, value = required_text(data, "name"), required_text(data, "value", longest=2048)
    taken = "An attribute with the specified name already exists."
    environment.check_unique(environment.attributes, "name", name, taken, resource_id=resource.id)
    if name in RESERVED or name.startswith("p1."):
        raise invalid("INVALID_VALUE", "name", f"'{name}' is a reserved name")
    problem = expressions.check(value)
    if problem:
        raise invalid("INVALID_VALUE", "value", problem)
    attribute = environment.attributes.put(
        Attribute(
            id=environment.new_id(),
            created_at=environment.now(),
            resource_id=resource.id,
            name=name,
            value=value,
            type="CUSTOM",
        )
    )
    environment.created("attribute", f"{resource.name}/{name}")
    return Answer(status=201, body=_body(environment, call, attribute))


def read_all(environment: Environment, call: Call) -> Answer:
    resource = environment.resources.get(call.ids["resource"])
    rows = environment.attributes.where(resource_id=resource.id)
    path = f"resources/{resource.id}/attributes"
    return collection(call, environment, path, "attributes", rows, lambda row: _body(environment, call, row))


def read(environment: Environment, call: Call) -> Answer:
    return Answer(body=_body(environment, call, _find(environment, call)))


def delete(environment: Environment, call: Call) -> Answer:
    attribute = _find(environment, call)
    if attribute.type == "CORE":
        raise invalid("CONSTRAINT_VIOLATION", "type", "A core attribute cannot be deleted")
    environment.delete_attribute(attribute.id)
    return Answer(status=204)


def _find(environment: Environment, call: Call) -> Attribute:
    return environment.attributes.get(call.ids["attribute"], resource_id=call.ids["resource"])


def _body(environment: Environment, call: Call, row: Attribute) -> JSONObject:
    resource = f"resources/{row.resource_id}"
    return hal(call, environment, f"{resource}/attributes/{row.id}", resource=resource) | {
        "id": row.id,
        "name": row.name,
        "value": row.value,
        "type": row.type,
        "resource": {"id": row.resource_id},
    }
