"""The sandbox as a server: its routes, and the order in which a call passes through it."""

from __future__ import annotations

import logging
import math
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from email.utils import formatdate
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import attrs
import orjson
from aiohttp import web

from states.sandbox import applications, journal, resources, sign_on, tokens, users
from states.sandbox.audit import Seen
from states.sandbox.calls import Answer, Call
from states.sandbox.environment import Environment
from states.sandbox.errors import ACCESS_FAILED, INVALID_DATA, ApiError, OAuthError, access_failed, not_found
from states.sandbox.faults import Fault, FaultKind, Faults
from states.sandbox.limits import ConfigurationLimit
from states.sandbox.settings import SandboxSettings

Handler = Callable[[Environment, Call], Answer]

MANAGEMENT: tuple[tuple[str, str, str, Handler], ...] = (
    ("POST", "applications", "create_application", applications.create),
    ("GET", "applications", "read_applications", applications.read_all),
    ("GET", "applications/{application}", "read_application", applications.read),
    ("DELETE", "applications/{application}", "delete_application", applications.delete),
    ("GET", "applications/{application}/secret", "read_application_secret", applications.read_secret),
    ("POST", "applications/{application}/grants", "create_grant", applications.create_grant),
    ("GET", "applications/{application}/grants", "read_grants", applications.read_grants),
    ("DELETE", "applications/{application}/grants/{grant}", "delete_grant", applications.delete_grant),
    ("POST", "resources", "create_resource", resources.create),
    ("GET", "resources", "read_resources", resources.read_all),
    ("GET", "resources/{resource}", "read_resource", resources.read),
    ("DELETE", "resources/{resource}", "delete_resource", resources.delete),
    ("GET", "resources/{resource}/secret", "read_resource_secret", resources.read_secret),
    ("POST", "resources/{resource}/scopes", "create_scope", resources.create_scope),
    ("GET", "resources/{resource}/scopes", "read_scopes", resources.read_scopes),
    ("DELETE", "resources/{resource}/scopes/{scope}", "delete_scope", resources.delete_child),
    ("POST", "resources/{resource}/attributes", "create_attribute", resources.create_attribute),
    ("GET", "resources/{resource}/attributes", "read_attributes", resources.read_attributes),
    ("DELETE", "resources/{resource}/attributes/{attribute}", "delete_attribute", resources.delete_child),
    ("POST", "populations", "create_population", users.create_population),
    ("GET", "populations", "read_populations", users.read_populations),
    ("GET", "populations/{population}", "read_population", users.read_population),
    ("DELETE", "populations/{population}", "delete_population", users.delete_population),
    ("POST", "users", "create_user", users.create_user),
    ("GET", "users", "read_users", users.read_users),
    ("GET", "users/{user}", "read_user", users.read_user),
    ("DELETE", "users/{user}", "delete_user", users.delete_user),
    ("PUT", "users/{user}/password", "set_password", users.set_password),
    ("GET", "users/{user}/password", "read_password", users.read_password),
)
"""Below ``/v1/environments/{environment}``; all want the worker's token."""

SIGN_ON: tuple[tuple[str, str, str, Handler], ...] = (
    ("GET", "as/authorize", "authorize", sign_on.authorize),
    ("POST", "as/authorize", "authorize", sign_on.authorize),
    ("GET", "flows/{flow}", "read_flow", sign_on.read_flow),
    ("POST", "flows/{flow}", "check_credentials", sign_on.act_on_flow),
    ("GET", "as/resume", "resume", sign_on.resume),
    ("GET", "signon/", "sign_on_page", sign_on.sign_on_page),
    ("POST", "signon/", "sign_on_page", sign_on.sign_on_page),
    ("GET", "as/.well-known/openid-configuration", "discovery", tokens.discovery),
)
"""Below ``/{environment}``."""

TOKEN_OPERATIONS = ("token", "introspect", "userinfo", "jwks")

OAUTH_OPERATIONS = ("worker_token", *TOKEN_OPERATIONS)
"""Those that answer errors in the form of RFC 6749."""

OPERATIONS: frozenset[str] = frozenset(
    [row[2] for row in (*MANAGEMENT, *SIGN_ON)] + ["worker_token", "read_environment", *TOKEN_OPERATIONS]
)
"""Names that faults and the audit use."""

_STANDARD_HEADERS = {
    "Cache-Control": "no-cache, no-store",
    "Expires": "0",
    "Pragma": "no-cache",
    "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Vary": "Origin",
}
_HANG_S = 3600.0


class Sandbox:
    """An emulated PingOne with one environment. ``url`` is where it listens once :func:`serve` has started it."""

    def __init__(
        self,
        settings: SandboxSettings | None = None,
        *,
        faults: Iterable[Fault] = (),
        key: tokens.SigningKey | None = None,
        now: Callable[[], float] = time.time,
        keep: journal.Journal | None = None,
    ) -> None:
        settings = settings or SandboxSettings()
        entries = keep.read() if keep else []
        self._journal = keep
        self.port: int | None = None
        if keep and entries:
            first = entries[0]
            self.port = first["port"]
            settings = attrs.evolve(settings, **{name: first[name] for name in ("environment_id", "worker_id", "worker_secret")})
            key = journal.restored_key(first)
        self.environment = Environment(settings, now, keep.restored(entries[1:]) if keep else ())
        self.faults = Faults(faults, settings.seed)
        self.key = key or tokens.SigningKey()
        self.url = ""
        self._is_new = not entries
        self._workers = tokens.WorkerTokens()
        self._limit = ConfigurationLimit(settings.configuration_per_minute)

    def audit(self) -> dict[str, Any]:
        """What exists, what was created twice, how often each operation was called."""
        return self.environment.report()

    def worker_tokens(self) -> list[str]:
        """The worker's live tokens."""
        return list(self._workers.live)

    def application(self) -> web.Application:
        """The aiohttp application."""
        app = web.Application(client_max_size=1 << 20)
        environment = "/v1/environments/{environment}"
        for method, path, operation, handler in MANAGEMENT:
            self._route(app, method, f"{environment}/{path}", operation, self._for_worker(handler))
        self._route(app, "GET", environment, "read_environment", self._for_worker(_read_environment))
        for method, path, operation, handler in SIGN_ON:
            self._route(app, method, f"/{{environment}}/{path}", operation, handler)
        token = partial(tokens.token, key=self.key, workers=self._workers)
        self._route(app, "POST", "/{environment}/as/token", "token", token)
        self._route(app, "POST", "/{environment}/as/introspect", "introspect", partial(tokens.introspect, key=self.key))
        for method in ("GET", "POST"):
            self._route(app, method, "/{environment}/as/userinfo", "userinfo", partial(tokens.userinfo, key=self.key))
        self._route(app, "GET", "/{environment}/as/jwks", "jwks", partial(tokens.jwks, key=self.key))
        app.router.add_get("/sandbox/audit", self._send_audit)
        app.middlewares.append(_unrouted)
        return app

    def close(self) -> None:
        """Let go of the file that keeps the state, if there is one."""
        if self._journal:
            self._journal.close()

    def started(self, port: int) -> None:
        """Note where it listens, for the next time."""
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        if self._journal and self._is_new:
            self._journal.append(journal.identity(self.environment, self.key, port))
        self._keep_changes()

    def _route(self, app: web.Application, method: str, path: str, operation: str, handler: Handler) -> None:
        async def serve(request: web.Request) -> web.StreamResponse:
            return await self._serve(request, operation, handler)

        app.router.add_route(method, path, serve)

    def _for_worker(self, handler: Handler) -> Handler:
        def guarded(environment: Environment, call: Call) -> Answer:
            self._workers.check(environment, call)
            return handler(environment, call)

        return guarded

    async def _serve(self, request: web.Request, operation: str, handler: Handler) -> web.StreamResponse:
        """One call: parse, fault before, handle, keep, fault after, answer."""
        call = await _parse(request)
        if operation == "token" and call.form().get("grant_type") == "client_credentials":
            operation = "worker_token"
        latency, fault = self.faults.draw(operation)
        if latency:
            await anyio.sleep(latency)
        answer: Answer | None
        if fault is not None and fault.kind in (FaultKind.RESET_BEFORE, FaultKind.HANG_BEFORE, FaultKind.STATUS):
            self._saw(operation, request, call, None, fault)
            answer = await self._play(operation, call, fault)
        else:
            answer = self._answer(operation, handler, call)
            self._keep_changes()
            self._saw(operation, request, call, answer, fault)
            if fault is not None:
                answer = await self._play(operation, call, fault)
        if answer is None:
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=500)  # goes nowhere: the connection is gone
        return _response(answer, call, self.environment)

    def _answer(self, operation: str, handler: Handler, call: Call) -> Answer:
        try:
            self._limit.check(operation, self.environment.now())
            if call.ids["environment"] != self.environment.id:
                # The vendor does not say 404 for an environment that does not exist.
                raise access_failed(self.environment.settings.unknown_environment_status, "INSUFFICIENT_PERMISSIONS")
            return handler(self.environment, call)
        except (ApiError, OAuthError) as error:
            return _refusal(error, call)
        except (TypeError, ValueError, AttributeError, KeyError) as error:
            # A body that this emulator does not understand; the vendor would refuse it, or fail, in its own form.
            return _refusal(ApiError(500, "UNEXPECTED_ERROR", f"The sandbox failed: {type(error).__name__}"), call)

    def _saw(self, operation: str, request: web.Request, call: Call, answer: Answer | None, fault: Fault | None) -> None:
        """Tell the audit as soon as a call is handled: a fault may keep its answer back."""
        status = answer.status if answer is not None else fault.status if fault is not None else 0
        played = str(fault) if fault is not None else None
        self.environment.audit.saw(Seen(self.environment.now(), operation, request.path, status, call.correlation_id, played))

    async def _play(self, operation: str, call: Call, fault: Fault) -> Answer | None:
        """The answer that a fault gives; ``None``: the connection breaks."""
        if fault.kind in (FaultKind.HANG_BEFORE, FaultKind.HANG_AFTER):
            await anyio.sleep(_HANG_S if fault.value is None else fault.value)
            return None
        if not fault.status:
            return None
        if operation in OAUTH_OPERATIONS and fault.status != 429:
            usual = "invalid_client" if fault.status == 401 else "invalid_request" if fault.status < 500 else "server_error"
            return _refusal(OAuthError(fault.status, fault.code or usual, "Request denied", fault.value), call)
        return _refusal(_status_error(fault), call)

    def _keep_changes(self) -> None:
        if self._journal:
            self._journal.changes(self.environment.changes)
            if self._journal.is_long and self.port is not None:
                identity = journal.identity(self.environment, self.key, self.port)
                self._journal.rewrite(identity, self.environment.everything())
        self.environment.changes.clear()

    async def _send_audit(self, request: web.Request) -> web.Response:
        return web.Response(body=orjson.dumps(self.audit()), content_type="application/json")


@asynccontextmanager
async def serve(sandbox: Sandbox, *, port: int = 0) -> AsyncIterator[Sandbox]:
    """Serve on loopback until the block ends; ``port`` 0: any that is free, or the one it had before.

    Raises:
        OSError: The port is taken.
    """
    runner = web.AppRunner(
        sandbox.application(), access_log=None, handle_signals=False, shutdown_timeout=0.5, logger=_quiet_logger()
    )
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", port or sandbox.port or 0, backlog=1024)
        await site.start()
        sandbox.started(runner.addresses[0][1])
        yield sandbox
    finally:
        with anyio.CancelScope(shield=True):
            await runner.cleanup()


def restore(path: Path, seal: journal.Cipher, unseal: journal.Cipher, settings: SandboxSettings | None = None) -> Sandbox:
    """A sandbox that keeps its state in a file, and goes on from it if it is there."""
    return Sandbox(settings, keep=journal.Journal(path, seal, unseal))


def _quiet_logger() -> logging.Logger:
    logger = logging.getLogger("states.sandbox")
    logger.addHandler(logging.NullHandler())
    return logger


def _read_environment(environment: Environment, call: Call) -> Answer:
    url = f"{call.base}/v1/environments/{environment.id}"
    return Answer(
        body={"_links": {"self": {"href": url}}, "id": environment.id, "name": "Sandbox", "type": "SANDBOX", "region": "NA"}
    )


async def _parse(request: web.Request) -> Call:
    return Call(
        method=request.method,
        base=f"{request.scheme}://{request.host}",
        ids=dict(request.match_info),
        query=dict(request.query),
        headers={name.lower(): value for name, value in request.headers.items()},
        cookies=dict(request.cookies),
        body=await request.read(),
        correlation_id=str(uuid.uuid4()),
    )


def _retry_after(status: int, seconds: float) -> str:
    """Source: "Retries: Best practice for managing transient API errors": seconds on 429, an HTTP date on 503."""
    if status != 503:
        return f"{seconds:g}"
    # A date has whole seconds: rounded up, or a client might come too early.
    return formatdate(math.ceil(time.time() + seconds), usegmt=True)


def _refusal(error: ApiError | OAuthError, call: Call) -> Answer:
    headers: dict[str, str] = {}
    if error.status == 401:
        # As RFC 6749 section 5.2 (for a client) and RFC 6750 section 3 (for a token) want it.
        of_client = isinstance(error, OAuthError) and error.error == "invalid_client"
        headers["WWW-Authenticate"] = f'{"Basic" if of_client else "Bearer"} realm="sandbox"'
    if isinstance(error, OAuthError) and error.error in {"invalid_token", "insufficient_scope"}:
        headers["WWW-Authenticate"] = f'Bearer realm="sandbox", error="{error.error}"'
    if error.retry_after is not None:
        headers["Retry-After"] = _retry_after(error.status, error.retry_after)
    return Answer(status=error.status, body=error.body(call.correlation_id), headers=headers)


_CODES = {415: "INVALID_REQUEST", 429: "REQUEST_LIMITED", 500: "UNEXPECTED_ERROR"}
_DETAILS = {
    401: ("INVALID_TOKEN", ACCESS_FAILED),
    403: ("INSUFFICIENT_PERMISSIONS", ACCESS_FAILED),
    409: ("UNIQUENESS_VIOLATION", "taken"),
    429: ("LIMIT_EXCEEDED", "Too many requests"),
}


def _status_error(fault: Fault) -> ApiError:
    """A status as the vendor words it, with the code that the rule wants in its details."""
    status = fault.status
    usual, said = _DETAILS.get(status, (None, "There was an issue processing the request."))
    detail = fault.code or usual
    if status in (401, 403):
        return access_failed(status, str(detail))
    if status == 404 and detail is None:
        return not_found()
    retry_after = fault.value if fault.value is not None or status != 429 else 1.0
    code, message = _CODES.get(status), "The request could not be completed. There was an issue processing the request."
    if status in (400, 409) and detail is not None:
        code, message = "INVALID_DATA", INVALID_DATA
    code = code or ("NOT_FOUND" if status == 404 else "SERVICE_UNAVAILABLE" if status > 500 else "REQUEST_FAILED")
    return ApiError(status, code, message, [{"code": detail, "message": said}] if detail else None, retry_after)


def _response(answer: Answer, call: Call, environment: Environment) -> web.Response:
    headers = _STANDARD_HEADERS | {"Correlation-Id": call.correlation_id} | dict(answer.headers)
    if answer.location is not None:
        headers["Location"] = answer.location
    if answer.status == 201 and isinstance(answer.body, Mapping):
        headers["Location"] = answer.body["_links"]["self"]["href"]
    body, content_type = b"", "application/json"
    if isinstance(answer.body, str):
        body, content_type = answer.body.encode(), "text/html"
    elif answer.body is not None:
        body = orjson.dumps(answer.body)
    response = web.Response(status=answer.status, body=body or None, headers=headers, content_type=content_type if body else None)
    if answer.cookie is not None:
        # Secure only over TLS: a standard cookie jar would not send it back over plain HTTP.
        response.set_cookie(
            "ST", answer.cookie, path=f"/{environment.id}", max_age=2592000, httponly=True, secure=call.base.startswith("https")
        )
    return response


@web.middleware
async def _unrouted(request: web.Request, handler: Any) -> web.StreamResponse:
    """404 and 405 in the vendor's form."""
    headers = _STANDARD_HEADERS | {"Correlation-Id": str(uuid.uuid4())}
    try:
        response: web.StreamResponse = await handler(request)
        return response
    except web.HTTPMethodNotAllowed as refused:
        headers["Allow"] = ", ".join(sorted(refused.allowed_methods))
        error = ApiError(405, "METHOD_NOT_ALLOWED", f"The method {request.method} is not allowed here.")
    except web.HTTPNotFound:
        error = not_found()
    body = orjson.dumps(error.body(headers["Correlation-Id"]))
    return web.Response(status=error.status, body=body, content_type="application/json", headers=headers)
