"""Encrypted connections, and proxies."""

from __future__ import annotations

import base64
import socket
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest

from states.http.transport import open_transport
from tests.support.peer import allowed, get, ok, peer, secure_peer
from tests.support.tunnel import tunnel

pytestmark = pytest.mark.usefixtures("way")


async def test_an_untrusted_certificate(certificate: Path) -> None:
    async with secure_peer(certificate, ok()) as there, open_transport(allowed) as send:
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await get(send, f"{there.url}/a")
    assert there.requests == []


async def test_an_encrypted_connection_is_kept_too(trusted: Path) -> None:
    async with secure_peer(trusted, ok(b"x"), ok(b"y")) as there, open_transport(allowed) as send:
        assert await get(send, f"{there.url}/a") == (200, b"x")
        assert await get(send, f"{there.url}/a") == (200, b"y")
        assert there.connections == 1


@pytest.mark.parametrize("address", ["{}", "http://{}", "http://me:p%40ss@{}"])
async def test_a_proxy_carries_encrypted_bytes(trusted: Path, proxy: Callable[[str], None], address: str) -> None:
    async with (
        secure_peer(trusted, ok(b"x"), ok(b"y")) as there,
        tunnel(b"HTTP/1.1 200 Connection established\r\n\r\n") as (between, where),
        open_transport(allowed) as send,
    ):
        proxy(address.format(where))
        assert await get(send, f"{there.url}/a") == (200, b"x")
        assert await get(send, f"{there.url}/a") == (200, b"y")
        assert there.connections == len(between.asked) == 1
        head = between.asked[0].split(b"\r\n")
    assert head[0] == b"CONNECT " + there.url.removeprefix("https://").encode() + b" HTTP/1.1"
    assert b"Host: " + there.url.removeprefix("https://").encode() in head
    secret = b"Proxy-Authorization: Basic " + base64.b64encode(b"me:p@ss")
    assert (secret in head) is ("me:" in address)
    assert not any(b"Proxy-Auth" in request for request in there.requests)


async def test_no_proxy_is_used_for_this_machine_and_for_hosts_in_no_proxy(
    trusted: Path, proxy: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy("http://127.0.0.1:1")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "localhost,.example.com")
    async with peer(ok(b"x")) as here, secure_peer(trusted, ok(b"y")) as there, open_transport(allowed) as send:
        assert await get(send, f"{here.url}/a") == (200, b"x")
        assert await get(send, f"{there.url}/a") == (200, b"y")


@pytest.mark.parametrize("status", [b"407 Proxy Authentication Required", b"503 Service Unavailable"])
async def test_a_proxy_that_refuses(proxy: Callable[[str], None], status: bytes) -> None:
    async with tunnel(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n") as (_, where), open_transport(allowed) as send:
        proxy(f"http://{where}")
        with pytest.raises(aiohttp.ClientHttpProxyError) as failed:
            await get(send, "https://api.example.com/a")
    assert failed.value.status == int(status[:3])


async def test_a_proxy_that_is_not_there(proxy: Callable[[str], None]) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        proxy(f"http://127.0.0.1:{unused.getsockname()[1]}")
    async with open_transport(allowed) as send:
        with pytest.raises(aiohttp.ClientProxyConnectionError):
            await get(send, "https://api.example.com/a")


@pytest.mark.parametrize("address", ["socks5://127.0.0.1:1080", "http://", "http://127.0.0.1:x"])
async def test_an_invalid_proxy_is_refused(proxy: Callable[[str], None], address: str) -> None:
    proxy(address)
    async with open_transport(allowed) as send:
        with pytest.raises(aiohttp.InvalidURL, match="HTTPS_PROXY"):
            await get(send, "https://api.example.com/a")
