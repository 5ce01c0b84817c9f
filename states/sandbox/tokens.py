"""Tokens: client authentication, the token endpoint, introspection, userinfo, discovery and the JWKS."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from collections.abc import Mapping
from typing import Any

import attrs
import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from states.sandbox import expressions
from states.sandbox.calls import Answer, Call
from states.sandbox.environment import PINGONE_AUDIENCE, Application, Code, Environment, Resource, User
from states.sandbox.errors import OAuthError, access_failed
from states.sandbox.sign_on import OIDC_SCOPES, RESPONSE_MODES, session_id

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
HMAC_ALGORITHMS = ("HS256", "HS384", "HS512")
KEY_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512")
MAX_ASSERTION_LIFETIME_S = 3600
ID_TOKEN_LIFETIME_S = 3600


class SigningKey:
    """The key of the environment: RS256."""

    def __init__(self, private_key: rsa.RSAPrivateKey | None = None) -> None:
        self.private = private_key or rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.public = self.private.public_key()
        self.jwk: dict[str, Any] = RSAAlgorithm.to_jwk(self.public, as_dict=True)
        material = f"{self.jwk['e']}{self.jwk['n']}".encode()
        self.kid = hashlib.sha256(material).hexdigest()[:16]
        self.jwk |= {"kid": self.kid, "use": "sig", "alg": "RS256"}
        self.jwk.pop("key_ops", None)

    def sign(self, claims: Mapping[str, Any], typ: str) -> str:
        """A signed JWT."""
        return jwt.encode(dict(claims), self.private, algorithm="RS256", headers={"kid": self.kid, "typ": typ})


@attrs.frozen
class _Client:
    """Who called, how it authenticated, and with which assertion."""

    application: Application | None
    resource: Resource | None
    method: str
    header: dict[str, Any] | None = None
    assertion: dict[str, Any] | None = None


@attrs.define
class WorkerTokens:
    """Tokens of the worker: value → when it expires."""

    live: dict[str, float] = attrs.field(factory=dict)

    def issue(self, environment: Environment) -> str:
        """A fresh one; dead ones are forgotten."""
        now = environment.now()
        self.live = {token: until for token, until in self.live.items() if until > now}
        token = secrets.token_urlsafe(48)
        self.live[token] = now + environment.settings.worker_token_lifetime_s
        return token

    def check(self, environment: Environment, call: Call) -> None:
        """Let only the worker pass. Raises ``ApiError`` 401."""
        token = call.bearer()
        if token is None or self.live.get(token, 0.0) <= environment.now():
            raise access_failed(401, "INVALID_TOKEN")


def issuer(environment: Environment, call: Call) -> str:
    """The ``iss`` of everything that is issued, and the base of the OAuth endpoints."""
    return f"{call.base}/{environment.id}/as"


def token(environment: Environment, call: Call, key: SigningKey, workers: WorkerTokens) -> Answer:
    form = call.form()
    grant_type = form.get("grant_type")
    if grant_type == "client_credentials":
        return _worker_token(environment, call, form, workers)
    if grant_type != "authorization_code":
        raise OAuthError(400, "unsupported_grant_type" if grant_type else "invalid_request", "Unsupported grant type")
    client = _authenticate(environment, call, form)
    if client.application is None:
        raise OAuthError(400, "unauthorized_client", "A resource cannot use this grant type")
    code = _spend(environment, client.application, form)
    user = environment.users.rows.get(code.user_id)
    if user is None:
        raise OAuthError(400, "invalid_grant", "The user of this code does not exist any more")
    return _issue(environment, call, key, client, client.application, code, user)


def introspect(environment: Environment, call: Call, key: SigningKey) -> Answer:
    form = call.form()
    client = _authenticate(environment, call, form)
    claims = _verified(environment, call, key, form.get("token", ""))
    if claims is None:
        return Answer(body={"active": False})
    if client.application is not None and claims.get("client_id") != client.application.id:
        return Answer(body={"active": False})
    audience = claims["aud"] if isinstance(claims["aud"], list) else [claims["aud"]]
    if client.resource is not None and client.resource.audience not in audience:
        return Answer(body={"active": False})
    shown = {"active": True, "token_type": "Bearer"}
    core = {"scope", "client_id", "exp", "iat", "sub", "aud", "iss", "jti"}
    with_custom = environment.settings.claims_in_introspection
    return Answer(body=shown | {name: value for name, value in claims.items() if with_custom or name in core})


def userinfo(environment: Environment, call: Call, key: SigningKey) -> Answer:
    bearer = call.bearer() or (call.form().get("access_token") if call.method == "POST" else None)
    claims = _verified(environment, call, key, bearer or "")
    if claims is None:
        raise OAuthError(401, "invalid_token", "The access token is missing, expired or not one of this environment")
    scopes = str(claims.get("scope", "")).split()
    if "openid" not in scopes:
        raise OAuthError(403, "insufficient_scope", "The access token has no openid scope")
    user = environment.users.rows.get(str(claims["sub"]))
    if user is None:
        raise OAuthError(401, "invalid_token", "The user does not exist any more")
    return Answer(body={"sub": user.id} | _user_claims(user, scopes))


def discovery(environment: Environment, call: Call) -> Answer:
    base = issuer(environment, call)
    return Answer(
        body={
            "issuer": base,
            "authorization_endpoint": f"{base}/authorize",
            "token_endpoint": f"{base}/token",
            "userinfo_endpoint": f"{base}/userinfo",
            "jwks_uri": f"{base}/jwks",
            "introspection_endpoint": f"{base}/introspect",
            "response_types_supported": ["code"],
            "response_modes_supported": list(RESPONSE_MODES),
            "grant_types_supported": ["authorization_code", "client_credentials"],
            "request_parameter_supported": False,
            "request_uri_parameter_supported": False,
            "claims_parameter_supported": False,
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "scopes_supported": sorted(OIDC_SCOPES),
            "token_endpoint_auth_methods_supported": [
                "client_secret_basic",
                "client_secret_post",
                "client_secret_jwt",
                "private_key_jwt",
                "none",
            ],
            "token_endpoint_auth_signing_alg_values_supported": [*HMAC_ALGORITHMS, *KEY_ALGORITHMS],
            "code_challenge_methods_supported": ["plain", "S256"],
            "claims_supported": [
                *("sub", "iss", "aud", "exp", "iat", "auth_time", "acr", "amr", "nonce", "sid"),
                *("email", "preferred_username", "given_name", "family_name"),
            ],
        }
    )


def jwks(environment: Environment, call: Call, key: SigningKey) -> Answer:
    return Answer(body={"keys": [key.jwk]})


def _worker_token(environment: Environment, call: Call, form: Mapping[str, str], workers: WorkerTokens) -> Answer:
    client_id, secret = call.basic() or (form.get("client_id", ""), form.get("client_secret", ""))
    if client_id != environment.worker_id:
        _authenticate(environment, call, form)
        raise OAuthError(400, "unauthorized_client", "Only the worker can use this grant type")
    if not secrets.compare_digest(secret.encode(), environment.worker_secret.encode()):
        raise _denied("Invalid client credentials")
    lifetime = int(environment.settings.worker_token_lifetime_s)
    return Answer(body={"access_token": workers.issue(environment), "token_type": "Bearer", "expires_in": lifetime})


def _denied(reason: str) -> OAuthError:
    return OAuthError(401, "invalid_client", f"Request denied: {reason}")


def _authenticate(environment: Environment, call: Call, form: Mapping[str, str]) -> _Client:
    """Who calls; an application by its own method, or a resource by its. Raises ``OAuthError`` 401."""
    if "client_assertion" in form:
        try:
            return _by_assertion(environment, call, form)
        except OAuthError as error:
            error.status = environment.settings.assertion_error_status
            raise
    basic = call.basic()
    client_id, secret = basic or (form.get("client_id", ""), form.get("client_secret", ""))
    method = "CLIENT_SECRET_BASIC" if basic else "CLIENT_SECRET_POST" if secret else "NONE"
    application = environment.applications.rows.get(client_id)
    if application is not None:
        _check_method(application.body["tokenEndpointAuthMethod"], method)
        if method != "NONE" and not secrets.compare_digest(secret.encode(), application.secret.encode()):
            raise _denied("Invalid client credentials")
        return _Client(application, None, method)
    resource = environment.resources.rows.get(client_id)
    if resource is None:
        raise _denied("Invalid client credentials")
    _check_method(resource.introspect_auth_method, method)
    if not secrets.compare_digest(secret.encode(), resource.secret.encode()):
        raise _denied("Invalid client credentials")
    return _Client(None, resource, method)


def _check_method(wanted: str, used: str) -> None:
    if wanted != used:
        raise _denied("Unsupported authentication method")


def _by_assertion(environment: Environment, call: Call, form: Mapping[str, str]) -> _Client:
    if form.get("client_assertion_type") != ASSERTION_TYPE:
        raise _denied("client_assertion_type is not supported")
    text = form["client_assertion"]
    try:
        header = jwt.get_unverified_header(text)
        issued_by = jwt.decode(text, options={"verify_signature": False}).get("iss")
    except jwt.PyJWTError as error:
        raise _denied("The client assertion is not a JWT") from error
    application = environment.applications.rows.get(str(issued_by))
    if application is None:
        raise _denied("The client assertion was not issued by a known client")
    method = "CLIENT_SECRET_JWT" if header.get("alg") in HMAC_ALGORITHMS else "PRIVATE_KEY_JWT"
    _check_method(application.body["tokenEndpointAuthMethod"], method)
    base = issuer(environment, call)
    algorithms = HMAC_ALGORITHMS if method == "CLIENT_SECRET_JWT" else KEY_ALGORITHMS
    try:
        claims = jwt.decode(
            text,
            application.secret if method == "CLIENT_SECRET_JWT" else _jwk(application, header),
            algorithms=list(algorithms),
            audience=[base, f"{base}/token", *({f"{base}/introspect"} if "token" in form else ())],
            options={"require": ["iss", "sub", "aud", "exp"], "verify_iat": False, "verify_jti": False},
        )
        late = claims["exp"] > environment.now() + MAX_ASSERTION_LIFETIME_S + 1
    except (jwt.PyJWTError, TypeError, ValueError) as error:  # a key of another kind, a claim of another type
        raise _denied(f"The client assertion is not valid: {error}") from error
    if claims["sub"] != application.id or form.get("client_id", application.id) != application.id:
        raise _denied("The client assertion's iss and sub must both be the client id")
    if late:
        raise _denied("The client assertion expires more than one hour ahead")
    return _Client(application, None, method, header, claims)


def _jwk(application: Application, header: Mapping[str, Any]) -> Any:
    """The key that the header names. (The sandbox does not fetch a ``jwksUrl``.)"""
    keys = application.body.get("jwks")
    for jwk in jwt.PyJWKSet.from_json(keys).keys if keys else []:
        if "kid" not in header or jwk.key_id == header["kid"]:
            return jwk.key
    raise _denied("No key of the client's JWKS fits the assertion")


def _spend(environment: Environment, application: Application, form: Mapping[str, str]) -> Code:
    """The code, which works once. Raises ``OAuthError`` 400 ``invalid_grant`` or ``invalid_scope``."""
    code = environment.codes.rows.get(form.get("code", ""))
    if code is None or code.application_id != application.id:
        raise OAuthError(400, "invalid_grant", "The authorization code is not known")
    if code.spent:
        raise OAuthError(400, "invalid_grant", "The authorization code was used before")
    if environment.now() >= code.created_at + environment.settings.code_lifetime_s:
        raise OAuthError(400, "invalid_grant", "The authorization code has expired")
    if form.get("redirect_uri") != code.request.get("redirect_uri"):
        raise OAuthError(400, "invalid_grant", "The redirect URI is not that of the authorize request")
    challenge = code.request.get("code_challenge")
    if challenge and _challenge(form.get("code_verifier", ""), code.request.get("code_challenge_method", "plain")) != challenge:
        raise OAuthError(400, "invalid_grant", "The code verifier does not match")
    if not set(form.get("scope", "").split()) <= set(code.request["scope"].split()):
        raise OAuthError(400, "invalid_scope", "The scope exceeds that of the authorize request")
    return environment.codes.put(attrs.evolve(code, spent=True))


def _challenge(verifier: str, method: str) -> str:
    if method == "plain":
        return verifier
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")


def _issue(
    environment: Environment, call: Call, key: SigningKey, client: _Client, application: Application, code: Code, user: User
) -> Answer:
    now = int(environment.now())
    scopes = code.request["scope"].split()
    resource = _resource_of(environment, application, scopes)
    lifetime = resource.token_lifetime_s if resource else 3600
    audience = resource.audience if resource else PINGONE_AUDIENCE
    common = {
        "iss": issuer(environment, call),
        "sub": user.id,
        "iat": now,
        "auth_time": int(code.signed_on_at),
        "acr": "Single_Factor",
        "sid": session_id(code.flow_id),
    }
    access = common | {
        "aud": [audience] if environment.settings.audience_as_array else audience,
        "client_id": application.id,
        "scope": " ".join(scopes),
        "exp": now + lifetime,
        "jti": environment.new_id(),
    }
    if resource is None:
        access |= {"env": environment.id}
    else:
        access |= _fulfilled(environment, client, application, resource, user)
    body = {
        "access_token": key.sign(access, environment.settings.token_typ),
        "token_type": "Bearer",
        "expires_in": lifetime,
        "scope": " ".join(scopes),
    }
    if "openid" in scopes:
        identity = common | {"aud": application.id, "exp": now + ID_TOKEN_LIFETIME_S, "env": environment.id, "amr": ["pwd"]}
        if "nonce" in code.request:
            identity["nonce"] = code.request["nonce"]
        body["id_token"] = key.sign(identity | _user_claims(user, scopes), "JWT")
    return Answer(body=body, headers={"Cache-Control": "no-store", "Pragma": "no-cache"})


def _resource_of(environment: Environment, application: Application, scopes: list[str]) -> Resource | None:
    """The custom resource that the scopes belong to, among those that are granted to the application."""
    wanted = set(scopes) - OIDC_SCOPES
    for grant in environment.grants.where(application_id=application.id):
        names = {environment.scopes.rows[id].name for id in grant.scope_ids if id in environment.scopes.rows}
        if names & wanted:
            return environment.resources.get(grant.resource_id)
    return None


def _fulfilled(
    environment: Environment, client: _Client, application: Application, resource: Resource, user: User
) -> dict[str, Any]:
    """The claims of the resource's mappings; one that cannot be resolved is left out."""
    method = application.body["tokenEndpointAuthMethod"]
    context = {
        "requestData": {"clientAssertion": client.assertion, "clientAssertionHeader": client.header},
        "appConfig": {"tokenEndpointAuthMethod": method if method.endswith("_JWT") else None},
    }
    profile = {
        "id": user.id,
        "username": user.username,
        "email": user.email,
        "name": {"given": user.given, "family": user.family},
        "population": {"id": user.population_id},
    }
    claims = {}
    for attribute in environment.attributes.where(resource_id=resource.id):
        value = expressions.evaluate(attribute.value, user=profile, context=context)
        if value is not None:
            as_text = environment.settings.maps_as_text and isinstance(value, Mapping)
            claims[attribute.name] = json.dumps(value) if as_text else value
    return claims


def _verified(environment: Environment, call: Call, key: SigningKey, text: str) -> dict[str, Any] | None:
    """The claims of an access token of ours; ``None`` if it is not one, or not live."""
    try:
        claims: dict[str, Any] = jwt.decode(
            text,
            key.public,
            algorithms=["RS256"],
            issuer=issuer(environment, call),
            options={"verify_aud": False, "verify_exp": False},
        )
    except jwt.PyJWTError:
        return None
    return claims if claims["exp"] > environment.now() and "client_id" in claims else None


def _user_claims(user: User, scopes: list[str]) -> dict[str, Any]:
    claims: dict[str, Any] = {}
    if "email" in scopes:
        claims["email"] = user.email
    if "profile" in scopes:
        claims |= {"preferred_username": user.username}
        claims |= {name: value for name, value in (("given_name", user.given), ("family_name", user.family)) if value}
    return claims
