"""Authorize, flows and resume: steps 10 to 13.

Sources: PingOne Platform API, "Authorize (authorization_code)", "Flows", "Check username/password", "Resume";
redirectless: "Browserless authentication flow options" (``response_mode=pi.flow``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlencode

import attrs
import orjson

from orchestrator import AmbiguousError, PermanentError, Secret
from states.http.bodies import json_body
from states.http.reply import Reply
from states.pingone.answers import UnauthorizedError, is_id, refusal
from states.pingone.settings import PingOneSettings
from states.pingone.worker_token import WorkerToken

if TYPE_CHECKING:
    from states.http.session import Session

CHECK = "application/vnd.pingidentity.usernamePassword.check+json"
READY = ("USERNAME_PASSWORD_REQUIRED", "PASSWORD_REQUIRED")
"""Statuses of a flow that waits for the credentials."""
COMPLETED = "COMPLETED"
PI_FLOW = "pi.flow"


@attrs.frozen(kw_only=True)
class Flow:
    """A flow as a response shows it, with the authorization code if the response has one, and the cookies for the next request."""

    id: str
    status: str | None
    cookies: Mapping[str, Secret]
    code: Secret | None = None


class SignOn:
    """Calls below ``{auth}/{environment}``, with the cookies of one instance.

    The vendor's API pages send only the cookies to ``/flows/{id}``, but the guide of its sample applications says that the worker's
    token is needed too. So the token is sent as soon as one request without it got a 401, and then always.
    """

    def __init__(self, session: Session, settings: PingOneSettings, token: WorkerToken) -> None:
        self._session = session
        self._token = token
        self._needs_token = False
        """Whether a flow has refused a request without the worker's token."""
        self._root = settings.auth_root(settings.managed)

    async def authorize(self, parameters: Mapping[str, str]) -> Flow:
        """Start a flow. The redirect is read and not followed.

        Raises:
            RefusedError: PingOne refuses the request (see ``_authorize_error`` for the three forms).
        """
        url = f"{self._root}/as/authorize?{urlencode(parameters)}"
        reply = await self._session.send("authorize", "GET", url, ok=(200, 302, 303, 400, 401, 403))
        if reply.status >= 400:
            raise _authorize_error(reply, reply.body)
        if reply.status == 200:
            flow = reply.json()
            return Flow(id=_id(flow), status=flow.get("status"), cookies=reply.cookies, code=_code(flow))
        query = _query(reply)
        if "error" in query:
            raise _authorize_error(reply, query["error"].encode(), query.get("error_description"))
        if not is_id(query.get("flowId")):
            raise PermanentError("authorize: the redirect names no flow (is there a session already?)", code="no_flow")
        return Flow(id=query["flowId"], status=None, cookies=reply.cookies)

    async def read(self, flow_id: str, cookies: Mapping[str, Secret]) -> Flow:
        """The current state of the flow. Raises ``MissingError`` if it has expired."""
        return _flow(await self._send_to_flow("read the flow", "GET", flow_id, cookies), cookies)

    async def check(self, flow_id: str, cookies: Mapping[str, Secret], username: str, password: Secret) -> Flow:
        """Send the credentials.

        Raises:
            PermanentError: They are wrong, or the account is locked or has no password.
            MissingError: The flow has expired.
        """
        body = json_body({"username": username, "password": password.reveal()})
        return _flow(await self._send_to_flow("check the credentials", "POST", flow_id, cookies, body, [password]), cookies)

    async def resume(self, flow_id: str, cookies: Mapping[str, Secret]) -> Secret | None:
        """The authorization code; ``None`` if the session is unknown, so that the user must sign on again."""
        url = f"{self._root}/as/resume?flowId={flow_id}"
        reply = await self._session.send("resume the flow", "GET", url, ok=(200, 302, 303), cookies=cookies)
        if reply.status == 200:
            return _code(reply.json())
        query = _query(reply)
        if "error" in query:
            quote = reply.asked.quote
            code = quote(query["error"])
            raise PermanentError(f"resume the flow: {code}: {quote(query.get('error_description', ''))}", code=code)
        return Secret(query["code"]) if "code" in query else None

    async def _send_to_flow(
        self,
        what: str,
        method: str,
        flow_id: str,
        cookies: Mapping[str, Secret],
        body: bytes | None = None,
        secrets: Iterable[Secret] = (),
    ) -> Reply:
        """Send a request with the cookies, and with the worker's token if flows need it."""

        async def send(token: Secret | None) -> Reply:
            return await self._session.send(
                what,
                method,
                f"{self._root}/flows/{flow_id}",
                headers={"Authorization": f"Bearer {token.reveal()}"} if token else None,
                cookies=cookies,
                body=body,
                media_type=CHECK,
                secrets=[*secrets, *([token] if token else [])],
            )

        if self._needs_token:
            return await self._token.authorize(send)
        try:
            return await send(None)
        except UnauthorizedError:
            reply = await self._token.authorize(send)
        self._needs_token = True
        return reply


def _flow(reply: Reply, cookies: Mapping[str, Secret]) -> Flow:
    flow = reply.json()
    return Flow(id=_id(flow), status=_text(flow, "status"), cookies={**cookies, **reply.cookies}, code=_code(flow))


def _id(flow: Mapping[str, object]) -> str:
    if not is_id(flow.get("id")):
        raise AmbiguousError("the response contains no id", code="not_a_flow")
    return str(flow["id"])


def _text(data: Mapping[str, object], name: str) -> str:
    if not isinstance(data.get(name), str):
        raise AmbiguousError(f"the response contains no {name}", code="not_a_flow")
    return str(data[name])


def _code(flow: Mapping[str, object]) -> Secret | None:
    answer = flow.get("authorizeResponse")
    return Secret(str(answer["code"])) if isinstance(answer, dict) and answer.get("code") else None


def _query(reply: Reply) -> dict[str, str]:
    query = parse_qs(reply.headers.get("Location", "").partition("?")[2].partition("#")[0])
    return {name: values[0] for name, values in query.items()}


def _authorize_error(reply: Reply, error: bytes, description: str | None = None) -> Exception:
    """The error in one of its three forms: an OAuth error in the redirect, a JSON object in the redirect, or an error body."""
    try:
        body = orjson.loads(error)
    except orjson.JSONDecodeError:
        body = {"error": error.decode(errors="replace"), "error_description": description or ""}
    return refusal("authorize", attrs.evolve(reply, status=max(reply.status, 400), body=orjson.dumps(body)))
