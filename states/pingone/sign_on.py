"""Authorize, flows and resume: steps 10 to 13.

Sources: PingOne Platform API, "Authorize (authorization_code)", "Flows", "Check username/password", "Resume";
redirectless: "Browserless authentication flow options" (``response_mode=pi.flow``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any
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
"""Flow statuses in which the credentials may be sent."""
COMPLETED = "COMPLETED"
PI_FLOW = "pi.flow"


@attrs.frozen(kw_only=True)
class Flow:
    """What a call told about a flow; ``code`` when it came with it, ``cookies`` to be sent from now on."""

    id: str
    status: str | None
    cookies: Mapping[str, Secret]
    code: Secret | None = None


class SignOn:
    """Calls below ``{auth}/{environment}``, with the cookies of one instance.

    The vendor's pages send the cookies alone to ``/flows/{id}``, while the guide of its sample applications says that the worker's
    token is needed, too. So the token is added once a request without it was refused with 401, and from then on always.
    """

    def __init__(self, session: Session, settings: PingOneSettings, token: WorkerToken) -> None:
        self._session = session
        self._token = token
        self._needs_token = False
        """Whether flows are known to want the worker's token."""
        self._root = settings.auth_root(settings.managed)

    async def authorize(self, parameters: Mapping[str, str]) -> Flow:
        """Begin. The redirect is read, never followed.

        Raises:
            RefusedError: In any of the three ways in which PingOne says so.
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
            raise PermanentError("authorize: the redirect names no flow (was there a session already?)", code="no_flow")
        return Flow(id=query["flowId"], status=None, cookies=reply.cookies)

    async def read(self, flow_id: str, cookies: Mapping[str, Secret]) -> Flow:
        """The flow as it stands. Raises ``MissingError`` when it has expired."""
        return _flow(await self._send_to_flow("read the flow", "GET", flow_id, cookies), cookies)

    async def check(self, flow_id: str, cookies: Mapping[str, Secret], username: str, password: Secret) -> Flow:
        """Send the credentials.

        Raises:
            PermanentError: They are wrong, the account is locked, has no password …
            MissingError: The flow has expired.
        """
        body = json_body({"username": username, "password": password.reveal()})
        return _flow(await self._send_to_flow("check the credentials", "POST", flow_id, cookies, body, [password]), cookies)

    async def resume(self, flow_id: str, cookies: Mapping[str, Secret]) -> Secret | None:
        """The authorization code; ``None`` when the flow asks to sign on again (its session is not known)."""
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
        """With the cookies, and with the worker's token if it is needed."""

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


def _id(flow: Mapping[str, Any]) -> str:
    if not is_id(flow.get("id")):
        raise AmbiguousError("the flow's answer holds no id", code="not_a_flow")
    return str(flow["id"])


def _text(data: Mapping[str, Any], name: str) -> str:
    if not isinstance(data.get(name), str):
        raise AmbiguousError(f"the flow's answer holds no {name}", code="not_a_flow")
    return str(data[name])


def _code(flow: Mapping[str, Any]) -> Secret | None:
    answer = flow.get("authorizeResponse")
    return Secret(str(answer["code"])) if isinstance(answer, dict) and answer.get("code") else None


def _query(reply: Reply) -> dict[str, str]:
    query = parse_qs(reply.headers.get("Location", "").partition("?")[2].partition("#")[0])
    return {name: values[0] for name, values in query.items()}


def _authorize_error(reply: Reply, error: bytes, description: str | None = None) -> Exception:
    """Three forms: an OAuth error in the redirect, a JSON object in the redirect, an error body."""
    try:
        body = orjson.loads(error)
    except orjson.JSONDecodeError:
        body = {"error": error.decode(errors="replace"), "error_description": description or ""}
    return refusal("authorize", attrs.evolve(reply, status=max(reply.status, 400), body=orjson.dumps(body)))
