"""Authorize, flows, the sign-on page, and resume."""

from __future__ import annotations

import html
import math
import uuid
from urllib.parse import urlencode

import attrs
import orjson

from states.sandbox.bodies import auth_url, timestamp
from states.sandbox.calls import Answer, Call
from states.sandbox.environment import Environment
from states.sandbox.errors import INVALID_DATA, ApiError, invalid, no_session, not_found, wrong_media_type
from states.sandbox.grants import counts_already
from states.sandbox.json_types import JSONObject
from states.sandbox.objects import Application, Code, Flow, User
from states.sandbox.policies import policy_name
from states.sandbox.settings import MULTI_FACTOR, AuthorizeError
from states.sandbox.users import LOCKOUT_FAILURES, LOCKOUT_S, names_of, password_status

CHECK = "application/vnd.pingidentity.usernamePassword.check+json"
PI_FLOW = "pi.flow"
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
        return _give_code(environment, call, attrs.evolve(session, application_id=application.id, request=request))
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
        return Answer(body=_flow_body(environment, call, flow), cookie=flow.first_cookie)
    return Answer(status=302, location=f"{auth_url(environment, call)}/signon/?flowId={flow.id}", cookie=flow.first_cookie)


def read_flow(environment: Environment, call: Call) -> Answer:
    flow = _touch(environment, _opened(environment, call))
    return Answer(body=_flow_body(environment, call, flow))


def act_on_flow(environment: Environment, call: Call) -> Answer:
    if environment.settings.strict_accept and call.headers.get("accept", "*/*").strip() == "application/json":
        raise ApiError(406, "INVALID_REQUEST", "The requested media type cannot be produced.")
    flow = _opened(environment, call)
    if call.media_type != CHECK.lower():
        raise wrong_media_type(call.media_type)
    data = call.json(CHECK)
    flow = _check_credentials(environment, flow, str(data.get("username", "")), str(data.get("password", "")))
    body = _flow_body(environment, call, flow)
    if flow.completed_at is not None and flow.request.get("response_mode") == PI_FLOW and environment.settings.code_in_flow:
        body["authorizeResponse"] = {"code": _new_code(environment, flow).id}
    return Answer(body=body, cookie=flow.cookie if flow.completed_at is not None else None)


def resume(environment: Environment, call: Call) -> Answer:
    flow = _flow(environment, call.query.get("flowId", ""))
    redirectless = flow.request.get("response_mode") == PI_FLOW
    known = call.cookies.get("ST") == flow.cookie
    if flow.completed_at is None or not known or (flow.resumed and not environment.settings.resume_twice):
        if redirectless:
            return Answer(body=_flow_body(environment, call, attrs.evolve(flow, completed_at=None)))
        return Answer(status=302, location=f"{auth_url(environment, call)}/signon/?flowId={flow.id}")
    environment.flows.put(attrs.evolve(flow, resumed=True))
    return _give_code(environment, call, flow)


def sign_on_page(environment: Environment, call: Call) -> Answer:
    """The hosted sign-on page for browsers: a form that posts to itself."""
    if "error" in call.query:
        return Answer(status=400, body=_page(f"<p>{html.escape(call.query['error'])}</p>"))
    flow = _flow(environment, call.query.get("flowId", ""))
    if call.method == "GET":
        return Answer(body=_page(_FORM))
    form = call.form
    try:
        flow = _check_credentials(environment, flow, form.get("username", ""), form.get("password", ""))
    except ApiError as error:
        message = error.details[0]["message"] if error.details else error.message
        return Answer(status=400, body=_page(f"<p>{html.escape(message)}</p>{_FORM}"))
    if flow.completed_at is None:
        return Answer(status=400, body=_page("<p>The sign-on asks for more than a password.</p>"))
    return Answer(status=302, location=f"{auth_url(environment, call)}/as/resume?flowId={flow.id}", cookie=flow.cookie)


_FORM = (
    '<form method="post"><p><label>Username <input name="username" autocomplete="username" autofocus></label></p>'
    '<p><label>Password <input name="password" type="password" autocomplete="current-password"></label></p>'
    "<p><button>Sign on</button></p></form>"
)


def session_id(flow_id: str) -> str:
    """The session of a completed flow."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, flow_id))


def _page(inside: str) -> str:
    return f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Sign on (sandbox)</title><h1>Sign on</h1>{inside}</html>'


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
    return _respond(request, error)


def _respond(request: dict[str, str], answer: dict[str, str]) -> Answer:
    """Redirect to the client's redirect URI, in the response mode of the request. The URI keeps its query (RFC 6749 section 3.1.2)."""
    uri, mode = request["redirect_uri"], request.get("response_mode")
    if mode == "form_post":
        fields = "".join(
            f'<input type="hidden" name="{html.escape(name)}" value="{html.escape(value)}">' for name, value in answer.items()
        )
        form = f'<form method="post" action="{html.escape(uri)}">{fields}<noscript><button>Continue</button></noscript></form>'
        return Answer(body=_page(f"{form}<script>document.forms[0].submit()</script>"))
    separator = "#" if mode == "fragment" else "&" if "?" in uri else "?"
    return Answer(status=302, location=f"{uri}{separator}{urlencode(answer)}")


def _flow(environment: Environment, id: str) -> Flow:
    flow = environment.flows.get(id)
    if environment.now() >= flow.expires_at:
        raise not_found()
    return flow


def _opened(environment: Environment, call: Call) -> Flow:
    """The flow of the path, if the caller has its cookie. Raises ``ApiError`` 404 or 401."""
    flow = _flow(environment, call.ids["flow"])
    if flow.first_cookie is not None and call.cookies.get("ST") not in (flow.first_cookie, flow.cookie):
        raise no_session()
    return flow


def _touch(environment: Environment, flow: Flow) -> Flow:
    """The flow with a new expiry: every action extends it."""
    expires_at = environment.now() + environment.settings.flow_lifetime_s
    return environment.flows.put(attrs.evolve(flow, expires_at=expires_at))


def _check_credentials(environment: Environment, flow: Flow, username: str, password: str) -> Flow:
    code = environment.settings.credential_error_code
    user = next(iter(environment.users.where(username=username)), None)
    if flow.completed_at is not None or (flow.user_id is not None and (user is None or user.id != flow.user_id)):
        raise invalid("INVALID_VALUE", "username", "Another user is bound to this flow, or it is finished")
    delay_s = environment.settings.sign_on_delay_s
    if user is None or not environment.has_arrived(max(user.created_at, user.password_set_at), delay_s):
        raise _credentials(code, "INVALID_CREDENTIALS", "Invalid username or password")
    if not user.enabled:
        raise _credentials(code, "ACCOUNT_NOT_USABLE", "The account is disabled")
    status = password_status(environment, user)
    if status == "NO_PASSWORD":
        raise _credentials(code, "NO_PASSWORD", "The user has no password")
    if status == "PASSWORD_LOCKED_OUT":
        left = int(user.locked_until - environment.now()) + 1
        raise _credentials(code, "PASSWORD_LOCKED_OUT", "The account is locked", secondsUntilUnlock=left)
    if password != user.passwords[-1]:
        _count_failure(environment, user)
        raise _credentials(code, "INVALID_CREDENTIALS", "Invalid username or password")
    environment.users.put(attrs.evolve(user, failed_sign_ons=0))
    now = environment.now()
    asks_for_more = status == "MUST_CHANGE_PASSWORD" or policy_name(environment, flow.application_id) == MULTI_FACTOR
    completed = None if asks_for_more else now
    # The completed sign-on gets a new cookie, so a client that lost this response cannot resume.
    cookie = flow.cookie if completed is None else environment.new_secret()
    return _touch(environment, attrs.evolve(flow, user_id=user.id, completed_at=completed, cookie=cookie))


def _count_failure(environment: Environment, user: User) -> None:
    failures = user.failed_sign_ons + 1
    locked = environment.now() + LOCKOUT_S if failures >= LOCKOUT_FAILURES else 0.0
    environment.users.put(attrs.evolve(user, failed_sign_ons=0 if locked else failures, locked_until=locked))


def _credentials(code: str, detail: str, message: str, **inner: object) -> ApiError:
    entry: JSONObject = {"code": detail, "message": message}
    if inner:
        entry["innerError"] = inner
    return ApiError(400, code, INVALID_DATA, [entry])


def _new_code(environment: Environment, flow: Flow) -> Code:
    if flow.user_id is None:
        raise not_found()
    return environment.codes.put(
        Code(
            id=environment.new_id(),
            created_at=environment.now(),
            flow_id=flow.id,
            application_id=flow.application_id,
            user_id=flow.user_id,
            signed_on_at=environment.now() if flow.completed_at is None else flow.completed_at,
            request=flow.request,
        )
    )


def _give_code(environment: Environment, call: Call, flow: Flow) -> Answer:
    """The end of a sign-on: a redirect with the code, or a flow with the code."""
    response = _with_state(flow, code=_new_code(environment, flow).id)
    if flow.request.get("response_mode") == PI_FLOW:
        return Answer(body=_flow_body(environment, call, flow) | {"authorizeResponse": response})
    return _respond(flow.request, response)


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


def _with_state(flow: Flow, **values: str) -> dict[str, str]:
    return values | ({"state": flow.request["state"]} if "state" in flow.request else {})


def _status(environment: Environment, flow: Flow) -> str:
    if flow.completed_at is not None:
        return "COMPLETED"
    user = environment.users.rows.get(flow.user_id or "")
    if user is None:
        return "USERNAME_PASSWORD_REQUIRED"
    if user.must_change:
        return "MUST_CHANGE_PASSWORD"
    return "OTP_REQUIRED" if policy_name(environment, flow.application_id) == MULTI_FACTOR else "USERNAME_PASSWORD_REQUIRED"


def _flow_body(environment: Environment, call: Call, flow: Flow) -> JSONObject:
    url = f"{auth_url(environment, call)}/flows/{flow.id}"
    status = _status(environment, flow)
    actions = {
        "USERNAME_PASSWORD_REQUIRED": ("usernamePassword.check", "password.forgot"),
        "MUST_CHANGE_PASSWORD": ("password.reset",),
        "OTP_REQUIRED": ("otp.check",),
    }
    embedded: JSONObject = {}
    application = environment.applications.rows.get(flow.application_id)
    if application is not None:
        embedded["application"] = {"name": application.name}
    user = environment.users.rows.get(flow.user_id or "")
    if user is not None:
        embedded["user"] = {"id": user.id, "username": user.username, "name": names_of(user)}
    body: JSONObject = {
        "_links": {name: {"href": url} for name in ("self", *actions.get(status, ()))}
        | {"signOnPage": {"href": f"{auth_url(environment, call)}/signon/?flowId={flow.id}"}},
        "_embedded": embedded,
        "id": flow.id,
        "environment": {"id": environment.id},
        "resumeUrl": f"{auth_url(environment, call)}/as/resume?flowId={flow.id}",
        "status": status,
        "createdAt": timestamp(flow.created_at),
        "expiresAt": timestamp(flow.expires_at),
    }
    if flow.completed_at is not None:
        body["session"] = {"id": session_id(flow.id)}
    return body
