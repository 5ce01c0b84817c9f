"""Applications and their secrets."""

from __future__ import annotations

import re
import uuid
from urllib.parse import urlsplit

import attrs
import jwt

from states.sandbox.bodies import collection, hal, issuer, timestamp
from states.sandbox.calls import Answer, Call
from states.sandbox.environment import Environment
from states.sandbox.errors import ApiError, invalid, not_found
from states.sandbox.fields import choice, flag, mapping, reference, required_flag, required_text, text, texts, whole
from states.sandbox.json_types import JSONObject
from states.sandbox.objects import Application

TYPES = ("WEB_APP", "NATIVE_APP", "SINGLE_PAGE_APP", "WORKER", "CUSTOM_APP", "SERVICE")
AUTH_METHODS = ("NONE", "CLIENT_SECRET_BASIC", "CLIENT_SECRET_POST", "CLIENT_SECRET_JWT", "PRIVATE_KEY_JWT")
GRANT_TYPES = ("AUTHORIZATION_CODE", "IMPLICIT", "REFRESH_TOKEN", "CLIENT_CREDENTIALS", "DEVICE_CODE", "TOKEN_EXCHANGE", "CIBA")
RESPONSE_TYPES = ("CODE", "TOKEN", "ID_TOKEN")
PKCE = ("OPTIONAL", "REQUIRED", "S256_REQUIRED")

FLAGS = {
    "hiddenFromAppPortal": False,
    "assignActorRoles": False,
    "idpSignoff": False,
    "additionalRefreshTokenReplayProtectionEnabled": True,
}
OPTIONAL_FLAGS = (
    "allowWildcardInRedirectUris",
    "includeX5t",
    "requestScopesForMultipleResourcesEnabled",
    "requireSignedRequestObject",
    "supportUnsignedRequestObject",
)
NUMBERS = {"parTimeout": (60, 1, 600), "devicePollingInterval": (5, 1, 60), "deviceTimeout": (600, 1, 3600)}
"""Name → default, minimum, maximum."""
OPTIONAL_NUMBERS = {
    "refreshTokenDuration": (60, 2147483647),
    "refreshTokenRollingDuration": (60, 2147483647),
    "refreshTokenRollingGracePeriodDuration": (0, 86400),
}
TEXTS = ("homePageUrl", "initiateLoginUri", "jwksUrl", "loginPageUrl", "targetLinkUri")
OBJECTS = ("accessControl", "corsSettings", "icon", "kerberos", "mobile")
_READ_ONLY = frozenset(("_links", "environment", "id", "name", "clientId", "clientSecret", "createdAt", "updatedAt"))


def create(environment: Environment, call: Call) -> Answer:
    data = call.json()
    name = required_text(data, "name")
    fields = _checked_fields(environment, data)
    _check_unique(environment, name)
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
    return Answer(body=_body(environment, call, find(environment, call)))


def update(environment: Environment, call: Call) -> Answer:
    """PUT: fields that the body omits are reset. ``type`` and ``protocol`` are immutable, ``assignActorRoles`` is ignored."""
    application = find(environment, call)
    data = call.json()
    name = required_text(data, "name")
    fields = _checked_fields(environment, data | {"assignActorRoles": application.body["assignActorRoles"]})
    for immutable in ("type", "protocol"):
        if fields[immutable] != application.body[immutable]:
            raise invalid("INVALID_VALUE", immutable, f"{immutable} cannot be changed")
    _check_unique(environment, name, but=application.id)
    changed = attrs.evolve(application, name=name, body=fields, updated_at=environment.now())
    return Answer(body=_body(environment, call, environment.applications.put(changed)))


def delete(environment: Environment, call: Call) -> Answer:
    environment.delete_application(find(environment, call).id)
    return Answer(status=204)


def read_secret(environment: Environment, call: Call) -> Answer:
    application = find(environment, call)
    if environment.now() < application.created_at + environment.settings.secret_delay_s:
        raise not_found()
    path = f"applications/{application.id}"
    body = hal(call, environment, f"{path}/secret", application=path)
    return Answer(body=body | {"secret": application.secret})


def find(environment: Environment, call: Call) -> Application:
    """The application of the path. Raises ``ApiError`` 404."""
    id = call.ids["application"]
    if id not in environment.applications.rows:
        raise not_found(f"Unable to find Application with ID {id}")
    return environment.applications.get(id)


def _check_unique(environment: Environment, name: str, but: str | None = None) -> None:
    if environment.settings.unique_application_names:
        taken = "An application with the specified name already exists."
        environment.check_unique(environment.applications, "name", name, taken, but=but)


def _checked_fields(environment: Environment, data: JSONObject) -> JSONObject:
    """The fields to store: those of the body, after a check, and defaults for the others."""
    fields: JSONObject = {
        "enabled": required_flag(data, "enabled"),
        "type": choice(data, "type", TYPES),
        "protocol": choice(data, "protocol", ("OPENID_CONNECT",)),
        "tokenEndpointAuthMethod": choice(data, "tokenEndpointAuthMethod", AUTH_METHODS),
        "grantTypes": texts(data, "grantTypes", GRANT_TYPES),
        "responseTypes": texts(data, "responseTypes", RESPONSE_TYPES),
        "redirectUris": texts(data, "redirectUris"),
        "pkceEnforcement": choice(data, "pkceEnforcement", PKCE, default="OPTIONAL"),
        "parRequirement": choice(data, "parRequirement", ("OPTIONAL", "REQUIRED"), default="OPTIONAL"),
    }
    fields |= {name: flag(data, name, default) for name, default in FLAGS.items()}
    fields |= {name: whole(data, name, *bounds) for name, bounds in NUMBERS.items()}
    present = {name: value for name, value in data.items() if value is not None and name not in _READ_ONLY}
    fields |= {name: flag(data, name, False) for name in OPTIONAL_FLAGS if name in present}
    fields |= {name: whole(data, name, 0, *bounds) for name, bounds in OPTIONAL_NUMBERS.items() if name in present}
    fields |= {name: text(data, name, longest=2048) for name in TEXTS if name in present}
    fields |= {name: mapping(data, name) for name in OBJECTS if name in present}
    fields |= {name: texts(data, name) for name in ("postLogoutRedirectUris", "tags") if name in present}
    if "description" in present:
        fields["description"] = text(data, "description", longest=1024)
    for uri in fields["redirectUris"]:
        _check_redirect_uri(uri)
    if fields["tokenEndpointAuthMethod"] == "PRIVATE_KEY_JWT" and not (present.get("jwks") or fields.get("jwksUrl")):
        raise invalid("REQUIRED_VALUE", "jwks", "jwks or jwksUrl is required for PRIVATE_KEY_JWT")
    if "jwks" in present:
        _check_jwks(present["jwks"])
    policy = reference(mapping(data, "signing") or {}, "keyRotationPolicy")
    fields["signing"] = {"keyRotationPolicy": {"id": policy or _default_key_rotation_policy(environment)}}
    return present | fields


def _default_key_rotation_policy(environment: Environment) -> str:
    """Every environment has one from the start. Source: "Key Rotation Policies"."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{environment.id}/keyRotationPolicy"))


def _check_jwks(value: object) -> None:
    """Source: "Create a private_key_jwt JWKS string"."""
    try:
        if not isinstance(value, str):
            raise TypeError
        jwt.PyJWKSet.from_json(value)
    except (jwt.PyJWTError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise invalid("INVALID_VALUE", "jwks", "jwks must be a JSON Web Key Set as one JSON string") from error


def _check_redirect_uri(uri: str) -> None:
    if not re.fullmatch(r"[a-zA-Z][a-zA-Z0-9+.-]*://?.+", uri):
        raise invalid("INVALID_VALUE", "redirectUris", "A redirect URI is not valid")
    if "*" in uri:
        raise invalid("INVALID_VALUE", "redirectUris", "Wildcards are not allowed in redirect URIs.")
    try:
        parts = urlsplit(uri)
    except ValueError as error:
        raise invalid("INVALID_VALUE", "redirectUris", "A redirect URI is not valid") from error
    if parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1"):
        raise invalid("INVALID_VALUE", "redirectUris", "http is allowed for localhost only")


def _body(environment: Environment, call: Call, row: Application) -> JSONObject:
    path = f"applications/{row.id}"
    body = hal(call, environment, path, attributes=f"{path}/attributes", secret=f"{path}/secret", grants=f"{path}/grants")
    body["_links"]["metadata"] = {"href": f"{issuer(environment, call)}/.well-known/openid-configuration"}
    body |= {"id": row.id, "clientId": row.id, "name": row.name}
    body |= {"createdAt": timestamp(row.created_at), "updatedAt": timestamp(row.updated_at or row.created_at)}
    return body | row.body
