"""Authentication of clients at the OAuth endpoints: by a secret, by an assertion, or none."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

import attrs
import jwt

from states.sandbox.bodies import issuer
from states.sandbox.calls import Call
from states.sandbox.environment import Environment
from states.sandbox.errors import OAuthError
from states.sandbox.json_types import JSONObject
from states.sandbox.objects import Application, Resource

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
HMAC_ALGORITHMS = ("HS256", "HS384", "HS512")
KEY_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512")
MAX_ASSERTION_LIFETIME_S = 3600


@attrs.frozen
class Client:
    """The client, its authentication method, and its assertion."""

    application: Application | None
    resource: Resource | None
    method: str
    header: JSONObject | None = None
    assertion: JSONObject | None = None


def denied(reason: str) -> OAuthError:
    return OAuthError(401, "invalid_client", f"Request denied: {reason}")


def check_once(call: Call) -> None:
    """Refuse parameters that were sent more than once (RFC 6749 section 3.2).

    Raises:
        OAuthError: 400 ``invalid_request``.
    """
    if call.repeated:
        raise OAuthError(400, "invalid_request", "A parameter was sent more than once")


def check_one_way(call: Call) -> None:
    """Refuse a client that authenticates in several ways (RFC 6749 section 2.3).

    Raises:
        OAuthError: 400 ``invalid_request``.
    """
    ways = (call.basic() is not None, "client_secret" in call.form, "client_assertion" in call.form)
    if sum(ways) > 1:
        raise OAuthError(400, "invalid_request", "The client authenticates in more than one way")


def authenticate(environment: Environment, call: Call, endpoint: str) -> Client:
    """The client that calls, an application or a resource, which must use its own method. Raises ``OAuthError`` 401."""
    check_one_way(call)
    form = call.form
    if "client_assertion" in form:
        try:
            return _by_assertion(environment, call, endpoint)
        except OAuthError as error:
            error.status = environment.settings.assertion_error_status
            raise
    basic = call.basic()
    client_id, secret = basic or (form.get("client_id", ""), form.get("client_secret", ""))
    method = "CLIENT_SECRET_BASIC" if basic else "CLIENT_SECRET_POST" if secret else "NONE"
    application = _application(environment, client_id)
    if application is not None:
        _check_method(application.body["tokenEndpointAuthMethod"], method)
        if method != "NONE" and not secrets.compare_digest(secret.encode(), application.secret.encode()):
            raise denied("Invalid client credentials")
        return Client(application, None, method)
    resource = environment.resources.rows.get(client_id)
    if resource is None:
        raise denied("Invalid client credentials")
    _check_method(resource.introspect_auth_method, method)
    if not secrets.compare_digest(secret.encode(), resource.secret.encode()):
        raise denied("Invalid client credentials")
    return Client(None, resource, method)


def _application(environment: Environment, client_id: str) -> Application | None:
    """The application with this id; ``None`` if the OAuth endpoints do not know it yet."""
    application = environment.applications.rows.get(client_id)
    if application is None or not environment.has_arrived(application.created_at, environment.settings.client_delay_s):
        return None
    return application


def _check_method(wanted: str, used: str) -> None:
    if wanted != used:
        raise denied("Unsupported authentication method")


def _by_assertion(environment: Environment, call: Call, endpoint: str) -> Client:
    form = call.form
    if form.get("client_assertion_type") != ASSERTION_TYPE:
        raise denied("client_assertion_type is not supported")
    text = form["client_assertion"]
    try:
        header = jwt.get_unverified_header(text)
        issued_by = jwt.decode(text, options={"verify_signature": False}).get("iss")
    except jwt.PyJWTError as error:
        raise denied("The client assertion is not a JWT") from error
    application = _application(environment, str(issued_by))
    if application is None:
        raise denied("The client assertion was not issued by a known client")
    method = "CLIENT_SECRET_JWT" if header.get("alg") in HMAC_ALGORITHMS else "PRIVATE_KEY_JWT"
    _check_method(application.body["tokenEndpointAuthMethod"], method)
    base = issuer(environment, call)
    algorithms = HMAC_ALGORITHMS if method == "CLIENT_SECRET_JWT" else KEY_ALGORITHMS
    try:
        claims = jwt.decode(
            text,
            application.secret if method == "CLIENT_SECRET_JWT" else _jwk(application, header),
            algorithms=list(algorithms),
            audience=[base, f"{base}/token", f"{base}/{endpoint}"],
            options={"require": ["iss", "sub", "aud", "exp"], "verify_iat": False, "verify_jti": False},
        )
        late = claims["exp"] > environment.now() + MAX_ASSERTION_LIFETIME_S + 1
    except (jwt.PyJWTError, TypeError, ValueError) as error:  # a key or a claim of the wrong type
        raise denied(f"The client assertion is not valid: {error}") from error
    if claims["sub"] != application.id or form.get("client_id", application.id) != application.id:
        raise denied("The client assertion's iss and sub must both be the client id")
    if late:
        raise denied("The client assertion expires more than one hour ahead")
    return Client(application, None, method, header, claims)


def _jwk(application: Application, header: Mapping[str, object]) -> Any:
    """The key that the header of the assertion names. (The sandbox does not fetch a ``jwksUrl``.)"""
    keys = application.body.get("jwks")
    for jwk in jwt.PyJWKSet.from_json(keys).keys if keys else []:
        if "kid" not in header or jwk.key_id == header["kid"]:
            return jwk.key
    raise denied("No key of the client's JWKS fits the assertion")
