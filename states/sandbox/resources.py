"""Custom resources and their secrets."""

from __future__ import annotations

import uuid

import attrs

from states.sandbox.bodies import collection, described, hal, timestamp
from states.sandbox.calls import Answer, Call
from states.sandbox.environment import ACCESS_TOKEN_LIFETIME_S, PINGONE_AUDIENCE, Environment
from states.sandbox.errors import invalid
from states.sandbox.fields import choice, flag, mapping, required_text, text, whole
from states.sandbox.json_types import JSONObject
from states.sandbox.objects import Attribute, Resource

TAKEN = "A resource with the specified name already exists."
BUILT_IN = (("openid", "OPENID_CONNECT"), ("PingOne API", "PINGONE_API"))
"""Names and types of the built-in resources, which are read-only."""
INTROSPECT_AUTH_METHODS = ("CLIENT_SECRET_BASIC", "CLIENT_SECRET_POST")
"""The types that the sandbox implements. The vendor has three more."""


def built_in(environment: Environment) -> list[Resource]:
    """The built-in resources."""
    return [
        Resource(
            id=str(uuid.uuid5(uuid.NAMESPACE_URL, f"{environment.id}/{name}")),
            created_at=0.0,
            name=name,
            description=None,
            audience=PINGONE_AUDIENCE,
            token_lifetime_s=ACCESS_TOKEN_LIFETIME_S,
            introspect_auth_method=INTROSPECT_AUTH_METHODS[0],
            secret="",
            type=type_,
        )
        for name, type_ in BUILT_IN
    ]


def create(environment: Environment, call: Call) -> Answer:
    fields = _checked_fields(environment, call.json())
    resource = environment.resources.put(
        Resource(id=environment.new_id(), created_at=environment.now(), secret=environment.new_secret(), **fields)
    )
    # A side effect of the vendor: every custom resource maps `sub` from the start.
    environment.attributes.put(
        Attribute(
            id=environment.new_id(),
            created_at=environment.now(),
            resource_id=resource.id,
            name="sub",
            value="${user.id}",
            type="CORE",
        )
    )
    environment.created("resource", resource.name)
    return Answer(status=201, body=_body(environment, call, resource))


def read_all(environment: Environment, call: Call) -> Answer:
    rows = [*built_in(environment), *environment.resources.rows.values()]
    return collection(call, environment, "resources", "resources", rows, lambda row: _body(environment, call, row))


def read(environment: Environment, call: Call) -> Answer:
    id = call.ids["resource"]
    found = next((row for row in built_in(environment) if row.id == id), None)
    return Answer(body=_body(environment, call, found or environment.resources.get(id)))


def update(environment: Environment, call: Call) -> Answer:
    """PUT: fields that the body omits are reset."""
    resource = environment.resources.get(call.ids["resource"])
    fields = _checked_fields(environment, call.json(), but=resource.id)
    changed = attrs.evolve(resource, updated_at=environment.now(), **fields)
    return Answer(body=_body(environment, call, environment.resources.put(changed)))


def delete(environment: Environment, call: Call) -> Answer:
    environment.delete_resource(call.ids["resource"])
    return Answer(status=204)


def read_secret(environment: Environment, call: Call) -> Answer:
    resource = environment.resources.get(call.ids["resource"])
    path = f"resources/{resource.id}"
    return Answer(body=hal(call, environment, f"{path}/secret", resource=path) | {"secret": resource.secret})


def _checked_fields(environment: Environment, data: JSONObject, but: str | None = None) -> JSONObject:
    """The fields of a resource. ``but`` is the id of the resource that may have the name already."""
    name = required_text(data, "name")
    if name.lower() in (taken.lower() for taken, _ in BUILT_IN):
        raise invalid("UNIQUENESS_VIOLATION", "name", TAKEN)
    environment.check_unique(environment.resources, "name", name, TAKEN, but=but)
    return {
        "name": name,
        "description": text(data, "description", longest=1024),
        "audience": _audience(data, name),
        "token_lifetime_s": whole(data, "accessTokenValiditySeconds", ACCESS_TOKEN_LIFETIME_S, 300, 2592000),
        "introspect_auth_method": choice(
            data, "introspectEndpointAuthMethod", INTROSPECT_AUTH_METHODS, default=INTROSPECT_AUTH_METHODS[0]
        ),
        "permissions_claim": flag(mapping(data, "applicationPermissionsSettings") or {}, "claimEnabled", False),
    }


def _audience(data: JSONObject, name: str) -> str:
    audience = text(data, "audience", longest=1024) or name
    forbidden = any(word in audience.lower() for word in ("pingone", "pingidentity")) or audience.startswith("@")
    if forbidden or "#" in audience:
        raise invalid("INVALID_VALUE", "audience", "The audience is not allowed")
    return audience


def _body(environment: Environment, call: Call, row: Resource) -> JSONObject:
    path = f"resources/{row.id}"
    body = hal(call, environment, path, scopes=f"{path}/scopes", attributes=f"{path}/attributes", secret=f"{path}/secret")
    return body | {
        "id": row.id,
        "name": row.name,
        **described(row.description),
        "type": row.type,
        "audience": row.audience,
        "accessTokenValiditySeconds": row.token_lifetime_s,
        "introspectEndpointAuthMethod": row.introspect_auth_method,
        "applicationPermissionsSettings": {"claimEnabled": row.permissions_claim},
        "createdAt": timestamp(row.created_at),
        "updatedAt": timestamp(row.updated_at or row.created_at),
    }
