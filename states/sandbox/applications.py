"""Applications, their secrets and grants."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

import jwt

from states.sandbox.bodies import collection, hal, timestamp
from states.sandbox.calls import Answer, Call, required_text, text_field
from states.sandbox.environment import Environment
from states.sandbox.errors import ApiError, invalid, not_found
from states.sandbox.objects import Application, Grant

TYPES = ("WEB_APP", "NATIVE_APP", "SINGLE_PAGE_APP", "WORKER", "CUSTOM_APP", "SERVICE")
AUTH_METHODS = ("NONE", "CLIENT_SECRET_BASIC", "CLIENT_SECRET_POST", "CLIENT_SECRET_JWT", "PRIVATE_KEY_JWT")
GRANT_TYPES = ("AUTHORIZATION_CODE", "IMPLICIT", "REFRESH_TOKEN", "CLIENT_CREDENTIALS", "DEVICE_CODE", "TOKEN_EXCHANGE", "CIBA")
RESPONSE_TYPES = ("CODE", "TOKEN", "ID_TOKEN")
PKCE = ("OPTIONAL", "REQUIRED", "S256_REQUIRED")


def create(environment: Environment, call: Call) -> Answer:
    data = call.json()
    name = required_text(data, "name")
    fields = _checked_fields(data)
    if environment.settings.unique_application_names:
        environment.check_unique(
            environment.applications.rows.values(), "name", name, "An application with the specified name already exists."
        )
    if len(environment.applications.rows) >= environment.settings.max_applications:
        limit = environment.settings.max_applications
        raise ApiError(
            403,
            "ACCESS_FAILED",
            "The request could not be completed.",
            [{"code": "LICENSE_EXCEEDED", "message": f"The limit is {limit}."}],
        )
    application = environment.applications.put(
        Application(
            id=environment.new_id(), created_at=environment.now(), name=name, body=fields, secret=environment.new_secret()
        )
    )
    environment.created("application", name)
    return Answer(status=201, body=_body(environment, call, application))


def read_all(environment: Environment, call: Call) -> Answer:
    rows = [*environment.deleted_and_listed(), *environment.applications.rows.values()]
    return collection(call, environment, "applications", "applications", rows, lambda row: _body(environment, call, row))


def read(environment: Environment, call: Call) -> Answer:
    return Answer(body=_body(environment, call, _application(environment, call)))


def delete(environment: Environment, call: Call) -> Answer:
    environment.delete_application(_application(environment, call).id)
    return Answer(status=204)


def read_secret(environment: Environment, call: Call) -> Answer:
    application = _application(environment, call)
    if environment.now() < application.created_at + environment.settings.secret_delay_s:
        raise not_found()
    path = f"applications/{application.id}"
    body = hal(call, environment, f"{path}/secret", application=path)
    return Answer(body=body | {"secret": application.secret})


def create_grant(environment: Environment, call: Call) -> Answer:
    application = _application(environment, call)
    if environment.now() < application.created_at + environment.settings.grant_delay_s:
        raise not_found()
    data = call.json()
    resource_id, scope_ids = _id_of(data, "resource"), _scope_ids(data)
    if resource_id not in environment.resources.rows:
        raise invalid("INVALID_VALUE", "resource.id", "The resource does not exist")
    own = {scope.id for scope in environment.scopes.where(resource_id=resource_id)}
    if not set(scope_ids) <= own:
        raise invalid("INVALID_VALUE", "scopes", "A scope does not belong to the resource")
    for grant in environment.grants.where(application_id=application.id, resource_id=resource_id):
        inner = {"existingId": grant.id} if environment.settings.existing_id else {}
        error = invalid("UNIQUENESS_VIOLATION", "resource", "A grant for this resource already exists.", **inner)
        raise ApiError(environment.settings.duplicate_status, error.code, error.message, error.details)
    grant = environment.grants.put(
        Grant(
            id=environment.new_id(),
            created_at=environment.now(),
            application_id=application.id,
            resource_id=resource_id,
            scope_ids=scope_ids,
        )
    )
    environment.created("grant", f"{application.name}/{environment.resources.get(resource_id).name}")
    return Answer(status=201, body=_grant_body(environment, call, grant))


def read_grants(environment: Environment, call: Call) -> Answer:
    application = _application(environment, call)
    rows = environment.grants.where(application_id=application.id)
    path = f"applications/{application.id}/grants"
    return collection(call, environment, path, "grants", rows, lambda row: _grant_body(environment, call, row))


def delete_grant(environment: Environment, call: Call) -> Answer:
    application = _application(environment, call)
    grant = environment.grants.get(call.ids["grant"])
    if grant.application_id != application.id:
        raise not_found()
    environment.delete_grant(grant.id)
    return Answer(status=204)


def _application(environment: Environment, call: Call) -> Application:
    id = call.ids["application"]
    if id not in environment.applications.rows:
        raise not_found(f"Unable to find Application with ID {id}")
    return environment.applications.get(id)


def _checked_fields(data: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(data.get("enabled"), bool):
        raise invalid(
            "REQUIRED_VALUE" if data.get("enabled") is None else "INVALID_VALUE", "enabled", "enabled must be true or false"
        )
    _choice(data, "type", TYPES)
    _choice(data, "protocol", ("OPENID_CONNECT",))
    _choice(data, "tokenEndpointAuthMethod", AUTH_METHODS)
    _choice(data, "pkceEnforcement", PKCE, default="OPTIONAL")
    for name, allowed in (("grantTypes", GRANT_TYPES), ("responseTypes", RESPONSE_TYPES)):
        for value in _list(data, name):
            if value not in allowed:
                raise invalid("INVALID_VALUE", name, f"'{value}' is not allowed", allowedValues=list(allowed))
    for uri in _list(data, "redirectUris"):
        _check_redirect_uri(uri)
    if data["tokenEndpointAuthMethod"] == "PRIVATE_KEY_JWT" and not (data.get("jwks") or data.get("jwksUrl")):
        raise invalid("REQUIRED_VALUE", "jwks", "jwks or jwksUrl is required for PRIVATE_KEY_JWT")
    if data.get("jwks") is not None:
        _check_jwks(data["jwks"])
    text_field(data, "description", longest=1024)
    defaults = {
        "hiddenFromAppPortal": False,
        "assignActorRoles": False,
        "idpSignoff": False,
        "additionalRefreshTokenReplayProtectionEnabled": True,
        "pkceEnforcement": "OPTIONAL",
        "parRequirement": "OPTIONAL",
        "parTimeout": 60,
        "devicePollingInterval": 5,
        "deviceTimeout": 600,
    }
    return defaults | {key: value for key, value in data.items() if key not in _NOT_FOR_CLIENTS}


_NOT_FOR_CLIENTS = frozenset(("_links", "environment", "id", "name", "clientId", "clientSecret", "createdAt", "updatedAt"))


def _list(data: dict[str, Any], name: str) -> list[Any]:
    value = data.get(name, [])
    if not isinstance(value, list):
        raise invalid("INVALID_VALUE", name, f"{name} must be a list")
    return value


def _choice(data: dict[str, Any], name: str, allowed: tuple[str, ...], default: str | None = None) -> None:
    value = data.get(name, default)
    if value is None:
        raise invalid("REQUIRED_VALUE", name, f"{name} is required")
    if value not in allowed:
        raise invalid("INVALID_VALUE", name, f"'{value}' is not allowed", allowedValues=list(allowed))


def _check_jwks(value: object) -> None:
    """Source: "Create a private_key_jwt JWKS string"."""
    try:
        if not isinstance(value, str):
            raise TypeError
        jwt.PyJWKSet.from_json(value)
    except (jwt.PyJWTError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise invalid("INVALID_VALUE", "jwks", "jwks must be a JSON Web Key Set as one JSON string") from error


def _check_redirect_uri(uri: object) -> None:
    if not isinstance(uri, str) or not re.fullmatch(r"[a-zA-Z][a-zA-Z0-9+.-]*://?.+", uri):
        raise invalid("INVALID_VALUE", "redirectUris", "A redirect URI is not valid")
    if "*" in uri:
        raise invalid("INVALID_VALUE", "redirectUris", "Wildcards are not allowed in redirect URIs.")
    parts = urlsplit(uri)
    if parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1"):
        raise invalid("INVALID_VALUE", "redirectUris", "http is allowed for localhost only")


def _id_of(data: dict[str, Any], name: str) -> str:
    value = data.get(name)
    if not isinstance(value, dict) or not isinstance(value.get("id"), str):
        raise invalid("REQUIRED_VALUE", f"{name}.id", f"{name}.id is required")
    return str(value["id"])


def _scope_ids(data: dict[str, Any]) -> tuple[str, ...]:
    scopes = data.get("scopes")
    if (
        not isinstance(scopes, list)
        or not scopes
        or not all(isinstance(s, dict) and isinstance(s.get("id"), str) for s in scopes)
    ):
        raise invalid("REQUIRED_VALUE", "scopes", "scopes is required")
    return tuple(scope["id"] for scope in scopes)


def _body(environment: Environment, call: Call, row: Application) -> dict[str, Any]:
    path = f"applications/{row.id}"
    body = hal(call, environment, path, attributes=f"{path}/attributes", secret=f"{path}/secret", grants=f"{path}/grants")
    body |= {"id": row.id, "name": row.name, "createdAt": timestamp(row.created_at), "updatedAt": timestamp(row.created_at)}
    return body | row.body


def _grant_body(environment: Environment, call: Call, row: Grant) -> dict[str, Any]:
    application, resource = f"applications/{row.application_id}", f"resources/{row.resource_id}"
    body = hal(call, environment, f"{application}/grants/{row.id}", application=application, resource=resource)
    return body | {
        "id": row.id,
        "application": {"id": row.application_id},
        "resource": {"id": row.resource_id},
        "scopes": [{"id": id} for id in row.scope_ids],
        "createdAt": timestamp(row.created_at),
        "updatedAt": timestamp(row.created_at),
    }


def counts_already(environment: Environment, grant: Grant) -> bool:
    """Whether a grant has reached the authorization server."""
    return environment.now() >= grant.created_at + environment.settings.grant_delay_s
