"""The server of the page: its address, and the link that opens it."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
from aiohttp import web
from yarl import URL

from orchestrator.errors import ConfigurationError
from orchestrator.secret import Secret
from orchestrator.web.access import Access, new_token
from orchestrator.web.app import Extension, make_app
from orchestrator.web.settings import PORT, WebSettings
from orchestrator.web.site import Site

SHUTDOWN_S = 2.0
"""How long open requests may take when the server stops."""


@attrs.frozen(kw_only=True)
class Served:
    """A page that is being served."""

    link: Secret
    """The address that opens it, with the token."""
    origin: str
    """Scheme, name and port, as browsers see them."""
    port: int
    """Where the server listens."""


@asynccontextmanager
async def serve(site: Site, settings: WebSettings, extensions: Sequence[Extension] = ()) -> AsyncIterator[Served]:
    """Serve the page.

    Raises:
        ConfigurationError: The address is in use or not one of this machine, or the certificate cannot be read.
    """
    listening = _listen(settings)
    try:
        context = _tls(settings)
        port = listening.getsockname()[1]
        origins = _origins(settings, port)
        access = Access(origins=frozenset(origins), token=settings.token or new_token(), read_only=settings.read_only)
        # No access log: it would hold the token of the link.
        runner = web.AppRunner(make_app(site, access, extensions), access_log=None, shutdown_timeout=SHUTDOWN_S)
        await runner.setup()
    except BaseException:
        listening.close()
        raise
    try:
        await web.SockSite(runner, listening, ssl_context=context).start()
        yield Served(link=Secret(access.link(origins[0])), origin=origins[0], port=port)
    finally:
        await runner.cleanup()


def _listen(settings: WebSettings) -> socket.socket:
    port = PORT if settings.port is None else settings.port
    try:
        return _bound(settings.address, port)
    except OSError as error:
        if settings.port is not None or error.errno is None:
            raise ConfigurationError(
                f"the page cannot listen on {settings.address} port {port}: {error.strerror or error}"
            ) from error
    try:
        return _bound(settings.address, 0)
    except OSError as error:
        raise ConfigurationError(f"the page cannot listen on {settings.address}: {error.strerror or error}") from error


def _bound(address: str, port: int) -> socket.socket:
    family, kind, protocol, _, place = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0]
    found = socket.socket(family, kind, protocol)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(place)
        found.listen(128)
        found.setblocking(False)
    except BaseException:
        found.close()
        raise
    return found


def _tls(settings: WebSettings) -> ssl.SSLContext | None:
    if settings.certificate is None or settings.private_key is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(Path(settings.certificate).expanduser(), Path(settings.private_key).expanduser())
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(f"the certificate {settings.certificate} cannot be used: {error}") from error
    return context


def _origins(settings: WebSettings, port: int) -> list[str]:
    """The addresses at which browsers see the page; the first one is printed."""
    if settings.proxy is not None:
        return [str(URL(settings.proxy).origin())]
    scheme = "https" if settings.certificate is not None else "http"
    names = [settings.address]
    if settings.is_local:
        names += ["localhost", "127.0.0.1"]
    elif settings.address in ("0.0.0.0", "::"):  # noqa: S104  # every address of this machine
        names = [socket.getfqdn(), socket.gethostname()]
    shown = [f"[{name}]" if ":" in name else name for name in dict.fromkeys(names)]
    return [f"{scheme}://{name.lower()}{'' if port == (443 if scheme == 'https' else 80) else f':{port}'}" for name in shown]
