"""A cheap local server for the 15 requests: canned responses over a bare asyncio protocol, in its own process.

It checks nothing. It computes only the parts that depend on the client: the token carries the claim of the assertion, and is
signed once per distinct claim.
"""

from __future__ import annotations

import asyncio
import base64
import json
import multiprocessing
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from urllib.parse import parse_qs

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

ENVIRONMENT = str(uuid.uuid4())
SOME_ID = str(uuid.uuid4())
FILLER = {
    "_links": {name: {"href": "https://api.example.com/v1/environments/" + SOME_ID} for name in ("self", "environment", "grants")}
}


class _Server(asyncio.Protocol):
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def __init__(self, base: str) -> None:
        self.base = base
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:end]
            at = head.lower().find(b"content-length:")
            length = int(head[at + 15 : head.find(b"\r\n", at) if head.find(b"\r\n", at) > 0 else None]) if at >= 0 else 0
            if len(self.buffer) < end + 4 + length:
                return
            body = self.buffer[end + 4 : end + 4 + length]
            self.buffer = self.buffer[end + 4 + length :]
            method, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
            self.transport.write(self.answer(method, target, body))

    def answer(self, method: str, target: str, body: bytes) -> bytes:
        path = target.partition("?")[0]
        if path.endswith("/as/authorize"):
            return _reply(302, b"", f"Location: {self.base}/signon/?flowId={SOME_ID}\r\nSet-Cookie: ST=abc; Path=/\r\n")
        if path.endswith("/as/resume"):
            return _reply(302, b"", f"Location: https://www.example.com?code={SOME_ID}\r\n")
        if path.endswith("/as/token"):
            return self.token(body)
        if path.endswith("/as/jwks"):
            jwk = RSAAlgorithm.to_jwk(self.key.public_key(), as_dict=True) | {"kid": "k", "use": "sig"}
            return _json(200, {"keys": [jwk]})
        if path.endswith("/as/introspect"):
            token = parse_qs(body.decode())["token"][0]
            claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
            return _json(200, {"active": True, **claims})
        if "/flows/" in path:
            status = "COMPLETED" if method == "POST" else "USERNAME_PASSWORD_REQUIRED"
            return _json(
                200, {**FILLER, "id": SOME_ID, "status": status}, "Set-Cookie: ST=abc; Path=/\r\n" if method == "POST" else ""
            )
        if path.endswith("/secret"):
            return _json(200, {**FILLER, "secret": "s" * 64})
        if path.endswith("/password"):
            return _json(200, {**FILLER, "status": "OK"})
        return _json(
            201 if method == "POST" else 204, {**FILLER, "id": SOME_ID, "name": "x", "createdAt": "2026-01-05T12:00:00.000Z"}
        )

    def token(self, body: bytes) -> bytes:
        form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        if form["grant_type"] == "client_credentials":
            return _json(200, {"access_token": "worker", "expires_in": 3600})
        assertion = json.loads(base64.urlsafe_b64decode(form["client_assertion"].split(".")[1] + "=="))
        instance = form["scope"].split(":")[1]
        claims = {
            "iss": f"{self.base}/{ENVIRONMENT}/as",
            "aud": [f"https://tf-{instance}.example.com"],
            "exp": int(time.time()) + 3600,
            "scope": form["scope"],
            "clientAssertion_custom": assertion["custom1"],
        }
        token = jwt.encode(claims, self.key, algorithm="RS256", headers={"kid": "k"})
        return _json(200, {"access_token": token, "token_type": "Bearer", "expires_in": 3600})


def _json(status: int, data: object, headers: str = "") -> bytes:
    return _reply(status, json.dumps(data).encode(), f"Content-Type: application/json\r\n{headers}")


def _reply(status: int, body: bytes, headers: str) -> bytes:
    return f"HTTP/1.1 {status} X\r\nCorrelation-Id: c\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def _serve(pipe: Connection) -> None:
    base = ["http://127.0.0.1"]
    server = await asyncio.get_running_loop().create_server(lambda: _Server(base[0]), "127.0.0.1", 0, backlog=512)
    base[0] = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    pipe.send((base[0], ENVIRONMENT))
    await asyncio.Event().wait()


def _main(pipe: Connection) -> None:
    asyncio.run(_serve(pipe))


@contextmanager
def cheap_server() -> Iterator[tuple[str, str]]:
    """Run the server until the block ends. Yields its address and environment id."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_main, args=(theirs,), daemon=True)
    process.start()
    try:
        yield ours.recv()
    finally:
        process.kill()
        process.join()
