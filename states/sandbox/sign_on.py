"""Sign-on: flows, credentials, the sign-on page, and resume."""

from __future__ import annotations

import html
import uuid
from urllib.parse import urlencode

import attrs

from states.sandbox.bodies import auth_url, timestamp
from states.sandbox.calls import Answer, Call
from states.sandbox.environment import Environment
from states.sandbox.errors import INVALID_DATA, ApiError, invalid, no_session, not_found, wrong_media_type
from states.sandbox.json_types import JSONObject
from states.sandbox.objects import Code, Flow, User
from states.sandbox.policies import policy_name
from states.sandbox.settings import MULTI_FACTOR
from states.sandbox.users import LOCKOUT_FAILURES, LOCKOUT_S, names_of, password_status

CHECK = "application/vnd.pingidentity.usernamePassword.check+json"
PI_FLOW = "pi.flow"


def read_flow(environment: Environment, call: Call) -> Answer:
    flow = _touch(environment, _opened(environment, call))
    return Answer(body=flow_body(environment, call, flow))


def act_on_flow(environment: Environment, call: Call) -> Answer:
    if environment.settings.strict_accept and call.headers.get("accept", "*/*").strip() == "application/json":
        raise ApiError(406, "INVALID_REQUEST", "The requested media type cannot be produced.")
    flow = _opened(environment, call)
    if call.media_type != CHECK.lower():
        raise wrong_media_type(call.media_type)
    data = call.json(CHECK)
    flow = _check_credentials(environment, flow, str(data.get("username", "")), str(data.get("password", "")))
    body = flow_body(environment, call, flow)
    if flow.completed_at is not None and flow.request.get("response_mode") == PI_FLOW and environment.settings.code_in_flow:
        body["authorizeResponse"] = {"code": _new_code(environment, flow).id}
    return Answer(body=body, cookie=flow.cookie if flow.completed_at is not None else None)


def resume(environment: Environment, call: Call) -> Answer:
    flow = _flow(environment, call.query.get("flowId", ""))
    redirectless = flow.request.get("response_mode") == PI_FLOW
    known = call.cookies.get("ST") == flow.cookie
    if flow.completed_at is None or not known or (flow.resumed and not environment.settings.resume_twice):
        if redirectless:
            return Answer(body=flow_body(environment, call, attrs.evolve(flow, completed_at=None)))
        return Answer(status=302, location=f"{auth_url(environment, call)}/signon/?flowId={flow.id}")
    environment.flows.put(attrs.evolve(flow, resumed=True))
    return give_code(environment, call, flow)


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


def respond(request: dict[str, str], answer: dict[str, str]) -> Answer:
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


def give_code(environment: Environment, call: Call, flow: Flow) -> Answer:
    """The end of a sign-on: a redirect with the code, or a flow with the code."""
    response = _with_state(flow, code=_new_code(environment, flow).id)
    if flow.request.get("response_mode") == PI_FLOW:
        return Answer(body=flow_body(environment, call, flow) | {"authorizeResponse": response})
    return respond(flow.request, response)


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


def flow_body(environment: Environment, call: Call, flow: Flow) -> JSONObject:
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
