"""A server that repeats every secret of a request in every field of its response: none of them is stored in clear text, or shown."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

import pytest
from aiohttp import web

from states.sandbox import Sandbox, serve
from tests.support.spellings import SPELLINGS
from tests.support.tenant import signing_key, variables_for

SECRET_FIELDS = ("client_assertion", "client_secret", "code", "code_verifier", "token")


async def secrets_of(request: web.Request) -> list[str]:
    """All secrets in a request."""
    found = [cookie.value for cookie in map(_cookie, request.headers.get("Cookie", "").split("; ")) if cookie.value]
    scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
    if scheme == "Basic":
        password = base64.b64decode(credentials).decode().partition(":")[2]
        found += [credentials, password, unquote_plus(password)]
    elif scheme:
        found.append(credentials)
    body = await request.text()
    if "form-urlencoded" in request.content_type:
        found += [value for name, value in parse_qsl(body) if name in SECRET_FIELDS]
    elif "assword" in request.content_type:
        found += [value for name, value in json.loads(body).items() if name in ("value", "password", "newPassword")]
    return sorted(set(found))


class _cookie:
    def __init__(self, text: str) -> None:
        self.value = text.partition("=")[2]


class Echo(Sandbox):
    """A sandbox that refuses one call with a response full of echoes, in each spelling in turn."""

    def __init__(self, method: str, path: str, first: int) -> None:
        super().__init__(key=signing_key())
        self._method, self._path = method, path
        self._spelling = cycle([*SPELLINGS.values()][first:] + [*SPELLINGS.values()][:first])
        self.secrets: set[str] = set()
        self.echoed = 0

    def application(self) -> web.Application:
        app = super().application()

        @web.middleware
        async def echo(
            request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
        ) -> web.StreamResponse:
            secrets = await secrets_of(request)
            self.secrets.update(secrets)
            if (
                request.method != self._method
                or not request.path.endswith(self._path)
                or "client_credentials" in await request.text()
            ):
                return await handler(request)
            self.echoed += 1
            return self._answer_to(secrets)

        app.middlewares.append(echo)
        return app

    def _answer_to(self, secrets: list[str]) -> web.StreamResponse:
        said = (next(self._spelling)(secret) for secret in cycle(secrets))

        def detail() -> dict[str, Any]:
            inner = {"unsatisfiedRequirements": [next(said)]}
            return {"code": next(said), "target": next(said), "message": f"bad: {next(said)}", "innerError": inner}

        body: dict[str, Any] = {"id": next(said), "code": next(said), "message": f"\x1b]0;{next(said)}\x07", "note": next(said)}
        if self.echoed % 2:
            body["details"] = [detail() for _ in range(3)]
        else:
            body = {"error": next(said), "error_description": f"you sent {next(said)}", "access_token": next(said)}
        one_line = (text for text in said if text.isascii() and len(text) < 2000 and text.isprintable())
        headers = {
            "Correlation-Id": next(one_line),
            "X-Echo": f"<{next(one_line)}>",
            "Location": f"https://x/?a={next(one_line)}",
        }
        return web.json_response(body, status=400, headers=headers)


@contextmanager
def served(sandbox: Sandbox) -> Iterator[None]:
    """In a thread: the command line has its own event loop."""
    ready, done = threading.Event(), asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def main() -> None:
        async with serve(sandbox):
            loops.append(asyncio.get_running_loop())
            ready.set()
            await done.wait()

    thread = threading.Thread(target=asyncio.run, args=(main(),))
    thread.start()
    try:
        assert ready.wait(30)
        yield
    finally:
        loops[0].call_soon_threadsafe(done.set)
        thread.join()


CALLS = {
    "create_application": ("POST", "/applications"),
    "set_password": ("PUT", "/password"),
    "resume_flow": ("GET", "/as/resume"),
    "exchange_token": ("POST", "/as/token"),
    "introspect_token": ("POST", "/as/introspect"),
}


@pytest.mark.parametrize("state", CALLS)
def test_nothing_that_a_server_echoes_is_stored_in_the_clear_or_shown(
    cli: Any, home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, state: str
) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.WARNING, "transitions")
    sandbox = Echo(*CALLS[state], first=3 * list(CALLS).index(state))
    with served(sandbox):
        for name, value in variables_for(sandbox).items():
            monkeypatch.setenv(name, value)
        said = [
            *cli(
                *(
                    "load",
                    "--instances",
                    "1",
                    "--report",
                    "r.html",
                    "--csv",
                    "numbers",
                    "--junit",
                    "r.xml",
                    "--on-failure",
                    "keep",
                ),
                *("--log-level", "debug", "--log-format", "json"),
            )[1:]
        ]
        run = json.loads(cli("list", "--json")[1])["runs"][0]["run"]
        for command in (
            ["show", f"{run}-0", "--har", "x.har"],
            ["show", f"{run}-0", "--json"],
            ["show", run, "--json"],
            ["list"],
        ):
            said += cli(*command)[1:]
        said += cli("retry", run, "--json", "--log-level", "debug")[1:]  # another response of another form
    assert sandbox.echoed >= 2
    assert len(sandbox.secrets) >= 3
    files = [path.read_bytes() for path in home.rglob("*") if path.is_file() and path.name != "key"]
    assert len(json.loads(Path("x.har").read_text())["log"]["entries"]) >= 1
    shown = b"\n".join([*files, *(text.encode() for text in said), caplog.text.encode()])
    assert b"********" in shown
    assert b"\x1b]0;" not in shown
    for secret in sandbox.secrets:
        for name, spelling in SPELLINGS.items():
            spelled = spelling(secret).encode()
            assert spelled not in shown, f"{name} of a secret"
            assert spelled[:30] not in shown or "base64" in name, f"the beginning of {name} of a secret"
