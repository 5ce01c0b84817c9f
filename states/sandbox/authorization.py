"""Authorization requests: checks them, and starts a flow, uses a live session, or refuses."""

from __future__ import annotations

import math
from urllib.parse import urlencode

import attrs
import orjson

from states.sandbox.bodies import auth_url
from states.sandbox.calls import Answer, Call
from states.sandbox.environment import Environment
from states.sandbox.errors import INVALID_DATA, invalid
from states.sandbox.grants import counts_already
from states.sandbox.objects import Application, Flow
from states.sandbox.settings import AuthorizeError
from states.sandbox.sign_on import PI_FLOW, flow_body, give_code, respond

RESPONSE_MODES = ("query", "fragment", "form_post", PI_FLOW)
OIDC_SCOPES = frozenset(("openid", "profile", "email", "address", "phone"))


@attrs.define
class _Refused(Exception):
    """A refusal of authorize after client and redirect URI have been checked."""

    error: str
    description: str


def authorize(environment: Environment, call: Call) -> Answer:
    request = {name: value for name, value in call.query.items() if value} | dict(call.form)
    application = environment.applications.rows.get(request.get("client_id", ""))
    delay_s = environment.settings.sign_on_delay_s
    if application is None or not environment.has_arrived(application.created_at, delay_s):
        raise invalid("INVALID_VALUE", "client_id", "Unknown client")
    registered = application.body.get("redirectUris", [])
    redirectless = request.get("response_mode") == PI_FLOW
    if "client_id" in call.repeated or "redirect_uri" in call.repeated:
        raise invalid("INVALID_VALUE", "client_id", "client_id and redirect_uri may be sent once only")
    if request.get("redirect_uri") not in registered and not (redirectless and "redirect_uri" not in request):
        raise invalid("INVALID_VALUE", "redirect_uri", "Redirect URI mismatch")
    try:
        if call.repeated:
            raise _Refused("invalid_request", "A parameter was sent more than once")
        request["scope"] = " ".join(_granted_scopes(environment, application, request))
        _check_parameters(request)
        _check_request(application, request)
    except _Refused as refused:
        return _refuse(environment, call, request, refused)
    environment.forget()
    now, cookie = environment.now(), environment.new_secret()
    session = _live_session(environment, call, request)
    if session is not None:
        return give_code(environment, call, attrs.evolve(session, application_id=application.id, request=request))
    if request.get("prompt") == "none":
        return _refuse(environment, call, request, _Refused("login_required", "The user has to sign on"))
    flow = environment.flows.put(
        Flow(
            id=environment.new_id(),
            created_at=now,
            expires_at=now + environment.settings.flow_lifetime_s,
            application_id=application.id,
            request=request,
            cookie=cookie,
            first_cookie=cookie if environment.settings.cookies_at_authorize else None,
        )
    )
    if redirectless:
        return Answer(body=flow_body(environment, call, flow), cookie=flow.first_cookie)
    return Answer(status=302, location=f"{auth_url(environment, call)}/signon/?flowId={flow.id}", cookie=flow.first_cookie)


def _granted_scopes(environment: Environment, application: Application, request: dict[str, str]) -> list[str]:
    """The requested scopes; by default all granted scopes, if they belong to one resource. Raises ``_Refused``."""
    granted: dict[str, str] = {}
    for grant in environment.grants.where(application_id=application.id):
        if counts_already(environment, grant):
            scopes = (environment.scopes.rows.get(id) for id in grant.scope_ids)
            granted |= {scope.name: grant.resource_id for scope in scopes if scope is not None}
    wanted = request.get("scope", "").split()
    if not wanted:
        if len(set(granted.values())) != 1:
            raise _Refused("invalid_scope", "The scope parameter is required")
        return list(granted)
    for scope in wanted:
        if scope not in granted and scope not in OIDC_SCOPES:
            raise _Refused("invalid_scope", f"{INVALID_DATA}: May not request scope '{scope}'")
    resources = {granted[scope] for scope in wanted if scope in granted}
    if len(resources) > 1 and not application.body.get("requestScopesForMultipleResourcesEnabled"):
        raise _Refused("invalid_scope", f"{INVALID_DATA}: May not request scopes for multiple resources")
    return wanted


def _check_parameters(request: dict[str, str]) -> None:
    """Source: OpenID Connect Core 1.0, sections 3.1.2.1 and 6."""
    for name in ("request", "request_uri"):
        if name in request:
            raise _Refused(f"{name}_not_supported", f"The parameter {name} is not supported")
    if request.get("response_mode", "query") not in RESPONSE_MODES:
        raise _Refused("invalid_request", f"response_mode must be one of {', '.join(RESPONSE_MODES)}")
    if "none" in (prompt := request.get("prompt", "").split()) and len(prompt) > 1:
        raise _Refused("invalid_request", "prompt=none may not have another value beside it")


def _check_request(application: Application, request: dict[str, str]) -> None:
    if "response_type" not in request:
        raise _Refused("invalid_request", "response_type is required")
    if request["response_type"] != "code":
        raise _Refused("unsupported_response_type", "Only response_type=code is supported")
    if "CODE" not in application.body.get("responseTypes", []) or "AUTHORIZATION_CODE" not in application.body.get(
        "grantTypes", []
    ):
        raise _Refused("unauthorized_client", "The application does not support this response type")
    if not application.body.get("enabled"):
        raise _Refused("unauthorized_client", "The application is disabled")
    enforcement = application.body.get("pkceEnforcement")
    challenge, method = request.get("code_challenge"), request.get("code_challenge_method", "plain")
    if enforcement != "OPTIONAL" and not challenge:
        raise _Refused("invalid_request", "code_challenge is required")
    if challenge and (method not in ("plain", "S256") or (enforcement == "S256_REQUIRED" and method != "S256")):
        raise _Refused("invalid_request", "code_challenge_method must be S256")
    if challenge and not 43 <= len(challenge) <= 128:
        raise _Refused("invalid_request", "code_challenge must have 43 to 128 characters")


def _refuse(environment: Environment, call: Call, request: dict[str, str], refused: _Refused) -> Answer:
    style = environment.settings.authorize_errors
    error = {"error": refused.error, "error_description": f"{refused.description} (Correlation ID: {call.correlation_id})"}
    if style is AuthorizeError.BODY or "redirect_uri" not in request:
        return Answer(status=400, body=error)
    if style is AuthorizeError.SIGN_ON_PAGE:
        body = {"id": call.correlation_id, "code": refused.error, "message": error["error_description"]}
        return Answer(status=302, location=f"{auth_url(environment, call)}/signon/?{urlencode({'error': orjson.dumps(body)})}")
    if "state" in request:
        error["state"] = request["state"]
    return respond(request, error)


def _live_session(environment: Environment, call: Call, request: dict[str, str]) -> Flow | None:
    """The completed sign-on of this cookie, if the request accepts it.

    Source: OpenID Connect Core 1.0, section 3.1.2.1 (``prompt``, ``max_age``).
    """
    cookie = call.cookies.get("ST")
    if cookie is None or "login" in request.get("prompt", "").split():
        return None
    for flow in environment.flows.where(cookie=cookie):
        user = environment.users.rows.get(flow.user_id or "")
        if user is None or not user.enabled:
            continue
        if flow.completed_at is not None and environment.now() - flow.completed_at < _max_age(request):
            return flow
    return None


def _max_age(request: dict[str, str]) -> float:
    wanted = request.get("max_age", "")
    return int(wanted) if wanted.isdecimal() else math.inf
