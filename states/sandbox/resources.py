"""Custom resources, their scopes and attribute mappings."""

from __future__ import annotations

import re
import uuid
from typing import Any
from urllib.parse import urlsplit

from states.sandbox import expressions
from states.sandbox.bodies import collection, hal, timestamp
from states.sandbox.calls import Answer, Call, required_text, text_field
from states.sandbox.environment import PINGONE_AUDIENCE, Environment
from states.sandbox.errors import invalid, not_found
from states.sandbox.objects import Attribute, Resource, Scope

RESERVED = frozenset(
    ("acr", "amr", "aud", "auth_time", "client_id", "env", "exp", "iat", "iss", "jti", "org", "scope", "sid", "sub")
)
TAKEN = "A resource with the specified name already exists."
BUILT_IN = (("openid", "OPENID_CONNECT"), ("PingOne API", "PINGONE_API"))
"""Names and types of the resources that every environment has; they can be read, and that is all."""
INTROSPECT_AUTH_METHODS = ("CLIENT_SECRET_BASIC", "CLIENT_SECRET_POST")


def built_in(environment: Environment) -> list[Resource]:
    """The resources that nobody made."""
    return [
        Resource(
            id=str(uuid.uuid5(uuid.NAMESPACE_URL, f"{environment.id}/{name}")),
            created_at=0.0,
            name=name,
            description=None,
            audience=PINGONE_AUDIENCE,
            token_lifetime_s=3600,
            introspect_auth_method=INTROSPECT_AUTH_METHODS[0],
            secret="",
            type=type_,
        )
        for name, type_ in BUILT_IN
    ]


def create(environment: Environment, call: Call) -> Answer:
    data = call.json()
    name = required_text(data, "name")
    if name.lower() in (row.name.lower() for row in built_in(environment)):
        raise invalid("UNIQUENESS_VIOLATION", "name", TAKEN)
    environment.check_unique(environment.resources.rows.values(), "name", name, TAKEN)
    resource = environment.resources.put(
        Resource(
            id=environment.new_id(),
            created_at=environment.now(),
            name=name,
            description=text_field(data, "description", longest=1024),
            audience=_audience(data, name),
            token_lifetime_s=_lifetime(data),
            introspect_auth_method=_introspect_auth_method(data),
            secret=environment.new_secret(),
        )
    )
    # Side effect of the vendor's: every custom resource maps `sub` from the start.
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
    environment.created("resource", name)
    return Answer(status=201, body=_body(environment, call, resource))


def read_all(environment: Environment, call: Call) -> Answer:
    rows = [*built_in(environment), *environment.resources.rows.values()]
    return collection(call, environment, "resources", "resources", rows, lambda row: _body(environment, call, row))


def read(environment: Environment, call: Call) -> Answer:
    id = call.ids["resource"]
    found = next((row for row in built_in(environment) if row.id == id), None)
    return Answer(body=_body(environment, call, found or environment.resources.get(id)))


def delete(environment: Environment, call: Call) -> Answer:
    environment.delete_resource(call.ids["resource"])
    return Answer(status=204)


def read_secret(environment: Environment, call: Call) -> Answer:
    resource = environment.resources.get(call.ids["resource"])
    path = f"resources/{resource.id}"
    return Answer(body=hal(call, environment, f"{path}/secret", resource=path) | {"secret": resource.secret})


def create_scope(environment: Environment, call: Call) -> Answer:
    resource = environment.resources.get(call.ids["resource"])
    data = call.json()
    name = required_text(data, "name")
    if re.search(r"\s", name):
        raise invalid("INVALID_VALUE", "name", "A scope name may not contain white space")
    environment.check_unique(
        environment.scopes.where(resource_id=resource.id), "name", name, "A scope with the specified name already exists."
    )
    scope = environment.scopes.put(
        Scope(
            id=environment.new_id(),
            created_at=environment.now(),
            resource_id=resource.id,
            name=name,
            description=text_field(data, "description", longest=1024),
        )
    )
    environment.created("scope", f"{resource.name}/{name}")
    return Answer(status=201, body=_scope_body(environment, call, scope))


def read_scopes(environment: Environment, call: Call) -> Answer:
    resource = environment.resources.get(call.ids["resource"])
    rows = environment.scopes.where(resource_id=resource.id)
    return collection(
        call, environment, f"resources/{resource.id}/scopes", "scopes", rows, lambda row: _scope_body(environment, call, row)
    )


def create_attribute(environment: Environment, call: Call) -> Answer:
    resource = environment.resources.get(call.ids["resource"])
    data = call.json()
    name, value = required_text(data, "name"), required_text(data, "value", longest=2048)
    environment.check_unique(
        environment.attributes.where(resource_id=resource.id),
        "name",
        name,
        "An attribute with the specified name already exists.",
    )
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
    return Answer(status=201, body=_attribute_body(environment, call, attribute))


def read_attributes(environment: Environment, call: Call) -> Answer:
    resource = environment.resources.get(call.ids["resource"])
    rows = environment.attributes.where(resource_id=resource.id)
    path = f"resources/{resource.id}/attributes"
    return collection(call, environment, path, "attributes", rows, lambda row: _attribute_body(environment, call, row))


def delete_child(environment: Environment, call: Call) -> Answer:
    """A scope or an attribute, but not a core one."""
    resource = environment.resources.get(call.ids["resource"])
    if "scope" in call.ids:
        scope = environment.scopes.get(call.ids["scope"])
        if scope.resource_id != resource.id:
            raise not_found()
        environment.delete_scope(scope.id)
    else:
        attribute = environment.attributes.get(call.ids["attribute"])
        if attribute.resource_id != resource.id:
            raise not_found()
        if attribute.type == "CORE":
            raise invalid("CONSTRAINT_VIOLATION", "type", "A core attribute cannot be deleted")
        environment.delete_attribute(attribute.id)
    return Answer(status=204)


def _audience(data: dict[str, Any], name: str) -> str:
    audience = text_field(data, "audience", longest=1024) or name
    forbidden = any(word in audience.lower() for word in ("pingone", "pingidentity")) or audience.startswith("@")
    if forbidden or urlsplit(audience).fragment:
        raise invalid("INVALID_VALUE", "audience", "The audience is not allowed")
    return audience


def _introspect_auth_method(data: dict[str, Any]) -> str:
    """One of the two that the sandbox implements; the vendor knows three more."""
    method = data.get("introspectEndpointAuthMethod", INTROSPECT_AUTH_METHODS[0])
    if method not in INTROSPECT_AUTH_METHODS:
        allowed = list(INTROSPECT_AUTH_METHODS)
        raise invalid("INVALID_VALUE", "introspectEndpointAuthMethod", f"'{method}' is not allowed", allowedValues=allowed)
    return str(method)


def _lifetime(data: dict[str, Any]) -> int:
    value = data.get("accessTokenValiditySeconds", 3600)
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise invalid("INVALID_VALUE", "accessTokenValiditySeconds", "must be a number")
    seconds = int(value)  # the vendor truncates floats silently
    if not 300 <= seconds <= 2592000:
        raise invalid(
            "OUT_OF_RANGE", "accessTokenValiditySeconds", "out of range", rangeMinimumValue=300, rangeMaximumValue=2592000
        )
    return seconds


def _body(environment: Environment, call: Call, row: Resource) -> dict[str, Any]:
    path = f"resources/{row.id}"
    body = hal(call, environment, path, scopes=f"{path}/scopes", attributes=f"{path}/attributes", secret=f"{path}/secret")
    return body | {
        "id": row.id,
        "name": row.name,
        "description": row.description,
        "type": row.type,
        "audience": row.audience,
        "accessTokenValiditySeconds": row.token_lifetime_s,
        "introspectEndpointAuthMethod": row.introspect_auth_method,
        "applicationPermissionsSettings": {"claimEnabled": False},
        "createdAt": timestamp(row.created_at),
        "updatedAt": timestamp(row.created_at),
    }


def _scope_body(environment: Environment, call: Call, row: Scope) -> dict[str, Any]:
    resource = f"resources/{row.resource_id}"
    return hal(call, environment, f"{resource}/scopes/{row.id}", resource=resource) | {
        "id": row.id,
        "name": row.name,
        "description": row.description,
        "resource": {"id": row.resource_id},
        "createdAt": timestamp(row.created_at),
        "updatedAt": timestamp(row.created_at),
    }


def _attribute_body(environment: Environment, call: Call, row: Attribute) -> dict[str, Any]:
    resource = f"resources/{row.resource_id}"
    return hal(call, environment, f"{resource}/attributes/{row.id}", resource=resource) | {
        "id": row.id,
        "name": row.name,
        "value": row.value,
        "type": row.type,
        "resource": {"id": row.resource_id},
    }
