"""Tokens: the token endpoint, introspection and userinfo."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping

import attrs
import jwt

from states.sandbox import expressions
from states.sandbox.authorization import OIDC_SCOPES
from states.sandbox.bodies import issuer
from states.sandbox.calls import Answer, Call
from states.sandbox.clients import Client, authenticate, check_once
from states.sandbox.environment import ACCESS_TOKEN_LIFETIME_S, PINGONE_AUDIENCE, Environment
from states.sandbox.errors import OAuthError
from states.sandbox.json_types import JSONObject
from states.sandbox.objects import Application, Code, Resource, User
from states.sandbox.policies import policy_name
from states.sandbox.sign_on import session_id
from states.sandbox.signing import SigningKey
from states.sandbox.worker import WorkerTokens, worker_token

ID_TOKEN_LIFETIME_S = 3600


def token(environment: Environment, call: Call, key: SigningKey, workers: WorkerTokens) -> Answer:
    check_once(call)
    form = call.form
    grant_type = form.get("grant_type")
    if grant_type == "client_credentials":
        return worker_token(environment, call, workers, key)
    if grant_type != "authorization_code":
        raise OAuthError(400, "unsupported_grant_type" if grant_type else "invalid_request", "Unsupported grant type")
    client = authenticate(environment, call, "token")
    if client.application is None:
        raise OAuthError(400, "unauthorized_client", "A resource cannot use this grant type")
    code = _spend(environment, client.application, form)
    user = environment.users.rows.get(code.user_id)
    if user is None or not user.enabled:
        raise OAuthError(400, "invalid_grant", "The user of this code does not exist any more, or is disabled")
    return _issue(environment, call, key, client, client.application, code, user)


def introspect(environment: Environment, call: Call, key: SigningKey) -> Answer:
    check_once(call)
    client = authenticate(environment, call, "introspect")
    if "token" not in call.form:
        raise OAuthError(400, "invalid_request", "token is required")
    claims = _verified(environment, call, key, call.form["token"])
    if claims is None or not environment.has_arrived(claims["iat"], environment.settings.introspection_delay_s):
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
    bearer = call.bearer() or (call.form.get("access_token") if call.method == "POST" else None)
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


def _spend(environment: Environment, application: Application, form: Mapping[str, str]) -> Code:
    """Redeem the code, which works once. Raises ``OAuthError`` 400."""
    if "code" not in form:
        raise OAuthError(400, "invalid_request", "code is required")
    code = environment.codes.rows.get(form["code"])
    if code is None or code.application_id != application.id:
        raise OAuthError(400, "invalid_grant", "The authorization code is not known")
    if code.spent:
        raise OAuthError(400, "invalid_grant", "The authorization code was used before")
    if environment.now() >= code.created_at + environment.settings.code_lifetime_s:
        raise OAuthError(400, "invalid_grant", "The authorization code has expired")
    if "redirect_uri" in code.request and "redirect_uri" not in form:
        raise OAuthError(400, "invalid_request", "redirect_uri is required")
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
    environment: Environment, call: Call, key: SigningKey, client: Client, application: Application, code: Code, user: User
) -> Answer:
    now = int(environment.now())
    scopes = code.request["scope"].split()
    resource = _resource_of(environment, application, scopes)
    lifetime = resource.token_lifetime_s if resource else ACCESS_TOKEN_LIFETIME_S
    audience = resource.audience if resource else PINGONE_AUDIENCE
    common = {
        "iss": issuer(environment, call),
        "sub": user.id,
        "iat": now,
        "auth_time": int(code.signed_on_at),
        "acr": policy_name(environment, application.id),
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
    """The custom resource of these scopes, among those granted to the application."""
    wanted = set(scopes) - OIDC_SCOPES
    for grant in environment.grants.where(application_id=application.id):
        names = {environment.scopes.rows[id].name for id in grant.scope_ids if id in environment.scopes.rows}
        if names & wanted:
            return environment.resources.get(grant.resource_id)
    return None


def _fulfilled(environment: Environment, client: Client, application: Application, resource: Resource, user: User) -> JSONObject:
    """The claims of the resource's mappings, without those that have no value."""
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
        if not environment.has_arrived(attribute.created_at, environment.settings.mapping_delay_s):
            continue
        value = expressions.evaluate(attribute.value, user=profile, context=context)
        if value is not None:
            as_text = environment.settings.maps_as_text and isinstance(value, Mapping)
            claims[attribute.name] = json.dumps(value) if as_text else value
    return claims


def _verified(environment: Environment, call: Call, key: SigningKey, text: str) -> JSONObject | None:
    """The claims of an access token; ``None`` if this sandbox did not issue it, or it has expired."""
    try:
        claims: JSONObject = jwt.decode(
            text,
            key.public,
            algorithms=["RS256"],
            issuer=issuer(environment, call),
            options={"verify_aud": False, "verify_exp": False, "verify_iat": False},
        )
    except jwt.PyJWTError:
        return None
    return claims if claims["exp"] > environment.now() and "client_id" in claims else None


def _user_claims(user: User, scopes: list[str]) -> JSONObject:
    claims: JSONObject = {}
    if "email" in scopes:
        claims["email"] = user.email
    if "profile" in scopes:
        claims |= {"preferred_username": user.username}
        claims |= {name: value for name, value in (("given_name", user.given), ("family_name", user.family)) if value}
    return claims
