"""The sandbox as a server: its routes and the steps of each call."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from weakref import WeakKeyDictionary

import anyio
import attrs
import orjson
from aiohttp import web

from states.sandbox import discovery, tokens
from states.sandbox.audit import Seen
from states.sandbox.calls import Answer, Call, media_type_of, parse_form, repeated_names
from states.sandbox.environment import Environment
from states.sandbox.errors import ApiError, OAuthError, access_failed
from states.sandbox.faults import HANG_S, Fault, FaultKind, Faults
from states.sandbox.json_types import JSONObject
from states.sandbox.limits import ConfigurationLimit
from states.sandbox.responses import refusal, response, status_error, unrouted
from states.sandbox.routes import MANAGEMENT, OAUTH_OPERATIONS, SIGN_ON, Handler
from states.sandbox.settings import SandboxSettings
from states.sandbox.signing import SigningKey
from states.sandbox.state_file import Cipher, StateFile, identity_of, signing_key_of
from states.sandbox.worker import WorkerTokens

_IDENTITY = ("environment_id", "worker_id", "worker_secret")
"""Settings that a restored sandbox takes from its state file."""


class Sandbox:
    """An emulated PingOne with one environment. ``url`` is its address after :func:`serve` has started it."""

    def __init__(
        self,
        settings: SandboxSettings | None = None,
        *,
        faults: Iterable[Fault] = (),
        key: SigningKey | None = None,
        now: Callable[[], float] = time.time,
        state_file: StateFile | None = None,
    ) -> None:
        settings = settings or SandboxSettings()
        self._state_file = state_file
        identity = state_file.identity() if state_file else None
        self.port: int | None = None
        if identity:
            self.port, key = identity["port"], signing_key_of(identity)
            settings = attrs.evolve(settings, **{name: identity[name] for name in _IDENTITY})
        self.environment = Environment(settings, now, state_file.objects() if state_file else ())
        self.faults = Faults(faults, settings.seed)
        self.key = key or SigningKey()
        self.url = ""
        self._is_new = identity is None
        self._workers = WorkerTokens()
        self._served: WeakKeyDictionary[asyncio.Transport, int] = WeakKeyDictionary()
        """Connection → number of requests that were handled on it."""
        self._limit = ConfigurationLimit(settings.configuration_per_minute)

    def audit(self) -> JSONObject:
        """Existing objects, objects that were created twice, and calls of each operation."""
        return self.environment.report()

    def application(self) -> web.Application:
        """The aiohttp application."""
        app = web.Application(client_max_size=1 << 20)
        environment = "/v1/environments/{environment}"
        for method, path, operation, handler in MANAGEMENT:
            self._route(app, method, f"{environment}/{path}".rstrip("/"), operation, self._for_worker(handler))
        for prefix in ("/{environment}", "") if self.environment.settings.custom_domain else ("/{environment}",):
            self._route_sign_on(app, prefix)
        app.router.add_get("/sandbox/audit", self._send_audit)
        app.middlewares.append(unrouted)
        return app

    def close(self) -> None:
        """Close the state file, if there is one, and delete it if no object is left."""
        if self._state_file is None:
            return
        self._state_file.close()
        if not any(self.audit()["existing"].values()):
            self._state_file.delete()

    def started(self, port: int) -> None:
        """Save the port, so that a restored sandbox listens on it again."""
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        if self._state_file and self._is_new:
            self._state_file.save_identity(identity_of(self.environment, self.key, port))
        self._keep_changes()

    def _route_sign_on(self, app: web.Application, prefix: str) -> None:
        for method, path, operation, handler in SIGN_ON:
            is_flow = path.startswith("flows/") and self.environment.settings.flows_need_worker
            self._route(app, method, f"{prefix}/{path}", operation, self._for_worker(handler) if is_flow else handler)
        token = partial(tokens.token, key=self.key, workers=self._workers)
        self._route(app, "POST", f"{prefix}/as/token", "token", token)
        self._route(app, "POST", f"{prefix}/as/introspect", "introspect", partial(tokens.introspect, key=self.key))
        for method in ("GET", "POST"):
            self._route(app, method, f"{prefix}/as/userinfo", "userinfo", partial(tokens.userinfo, key=self.key))
        self._route(app, "GET", f"{prefix}/as/jwks", "jwks", partial(discovery.jwks, key=self.key))

    def _route(self, app: web.Application, method: str, path: str, operation: str, handler: Handler) -> None:
        async def serve(request: web.Request) -> web.StreamResponse:
            return await self._serve(request, operation, handler)

        app.router.add_route(method, path, serve)

    def _for_worker(self, handler: Handler) -> Handler:
        def guarded(environment: Environment, call: Call) -> Answer:
            self._workers.check(environment, call)
            if call.method != "GET" and not environment.has_arrived(environment.started_at, environment.settings.roles_delay_s):
                raise access_failed(403, "INSUFFICIENT_PERMISSIONS")
            return handler(environment, call)

        return guarded

    async def _serve(self, request: web.Request, operation: str, handler: Handler) -> web.StreamResponse:
        """One call: parse, play a fault before handling, handle, save, play a fault after handling, respond."""
        if self._is_worn(request.transport):
            return _hang_up(request)
        call = await _parse(request)
        if operation == "token" and call.form.get("grant_type") == "client_credentials":
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
            return _hang_up(request)
        return response(answer, call, self.environment)

    def _is_worn(self, transport: asyncio.Transport | None) -> bool:
        """Whether a kept connection has reached its limit of requests. If not, the request is counted."""
        most = self.environment.settings.requests_per_connection
        if not most or transport is None:
            return False
        served = self._served.get(transport, 0)
        self._served[transport] = served + 1
        return served >= most

    def _answer(self, operation: str, handler: Handler, call: Call) -> Answer:
        try:
            self._limit.check(operation, self.environment.now())
            if call.ids.get("environment", self.environment.id) != self.environment.id:
                # For an unknown environment, the vendor does not respond with 404.
                raise access_failed(self.environment.settings.unknown_environment_status, "INSUFFICIENT_PERMISSIONS")
            return handler(self.environment, call)
        except (ApiError, OAuthError) as error:
            return refusal(error, call)
        except (TypeError, ValueError, AttributeError, KeyError) as error:
            # A body that this emulator cannot handle. The vendor would refuse it, or fail, in another form.
            return refusal(ApiError(500, "UNEXPECTED_ERROR", f"The sandbox failed: {type(error).__name__}"), call)

    def _saw(self, operation: str, request: web.Request, call: Call, answer: Answer | None, fault: Fault | None) -> None:
        """Record a call in the audit as soon as it is handled, because a fault may delay its response."""
        status = answer.status if answer is not None else fault.status if fault is not None else 0
        played = str(fault) if fault is not None else None
        self.environment.audit.saw(Seen(self.environment.now(), operation, request.path, status, call.correlation_id, played))

    async def _play(self, operation: str, call: Call, fault: Fault) -> Answer | None:
        """The response of a fault; ``None`` to break the connection."""
        if fault.kind in (FaultKind.HANG_BEFORE, FaultKind.HANG_AFTER):
            await anyio.sleep(HANG_S if fault.value is None else fault.value)
            return None
        if not fault.status:
            return None
        if operation in OAUTH_OPERATIONS and fault.status != 429:
            usual = "invalid_client" if fault.status == 401 else "invalid_request" if fault.status < 500 else "server_error"
            return refusal(OAuthError(fault.status, fault.code or usual, "Request denied", fault.value), call)
        return refusal(status_error(fault), call)

    def _keep_changes(self) -> None:
        if self._state_file:
            self._state_file.save(self.environment.changes)
        self.environment.changes.clear()

    async def _send_audit(self, request: web.Request) -> web.Response:
        return web.Response(body=orjson.dumps(self.audit()), content_type="application/json")


@asynccontextmanager
async def serve(sandbox: Sandbox, *, port: int = 0) -> AsyncIterator[Sandbox]:
    """Serve on loopback until the block ends; With ``port`` 0, a restored sandbox uses its old port
    and a new one any free port.

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


def restore(
    path: Path, encrypt: Cipher, decrypt: Cipher, settings: SandboxSettings | None = None, *, key: SigningKey | None = None
) -> Sandbox:
    """A sandbox that keeps its state in a file, and restores the state that the file holds.

    Args:
        key: Its signing key if the file holds none; ``None``: a new one.

    Raises:
        StateFileError: The file cannot be opened or read.
    """
    return Sandbox(settings, key=key, state_file=StateFile(path, encrypt, decrypt))


def _hang_up(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)  # is not sent: the connection is closed


def _quiet_logger() -> logging.Logger:
    logger = logging.getLogger("states.sandbox")
    logger.addHandler(logging.NullHandler())
    return logger


async def _parse(request: web.Request) -> Call:
    body = await request.read()
    fields = parse_form(media_type_of(request.headers.get("Content-Type", "")), body)
    query = request.query
    return Call(
        method=request.method,
        base=f"{request.scheme}://{_readable(request.host)}",
        ids=dict(request.match_info),
        query=dict(query),
        form={name: value for name, value in fields if value},
        repeated=repeated_names(name for name, _ in chain(query.items(), fields)) if query or fields else frozenset(),
        headers={name.lower(): _readable(value) for name, value in request.headers.items()},
        cookies=dict(request.cookies),
        body=body,
        correlation_id=str(uuid.uuid4()),
    )


def _readable(header: str) -> str:
    """Replace surrogates, which stand for bytes that are not UTF-8 and cannot be written as JSON."""
    return header if header.isascii() else header.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
