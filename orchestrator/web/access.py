"""Access control of the page: tokens, hosts and origins of requests, and the security headers of responses.

* A secret token opens the page. It stands in the link that the program prints; a cookie replaces it at once, and a redirect
  removes it from the address bar. Programs send it as a bearer token.
* ``Host`` must name this server: a foreign name that resolves to this machine (DNS rebinding) is refused.
* A request that changes something must come from a page of this server (``Origin``).
* Scripts and styles come from this server only, and none may stand inside a page (Content-Security-Policy).
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from hashlib import sha256

import attrs
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from yarl import URL

from orchestrator.secret import Secret

PARAMETER = "token"
"""The part of the printed link that holds the token."""
OPEN_PREFIXES = ("/static/", "/assets/")
"""Files of this package. They hold nothing of a run."""
READING = frozenset({"GET", "HEAD"})
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not `no-referrer`: with it, browsers send `Origin: null` with our own forms.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

Refusal = Callable[[int, str], web.Response]
"""Status and reason → the page that says so."""


def new_token() -> Secret:
    """A token that cannot be guessed."""
    return Secret(secrets.token_urlsafe(32))


@attrs.frozen(kw_only=True)
class Access:
    """The rules of one server."""

    origins: frozenset[str]
    """Scheme, name and port that browsers see, e.g. ``http://127.0.0.1:8484``."""
    token: Secret = attrs.field(factory=new_token)
    read_only: bool = False

    @property
    def hosts(self) -> frozenset[str]:
        """Accepted values of ``Host``."""
        return frozenset(origin.partition("://")[2] for origin in self.origins)

    @property
    def is_encrypted(self) -> bool:
        """Whether browsers reach the page by HTTPS only."""
        return all(origin.startswith("https:") for origin in self.origins)

    @property
    def cookie(self) -> str:
        """Name of the cookie. It has the port, because browsers send a cookie to all ports of a host."""
        port = URL(min(self.origins)).port
        return f"{'__Host-' if self.is_encrypted else ''}orchestrator-{port}"

    @property
    def cookie_value(self) -> str:
        """Proves that the browser had the token, without being the token."""
        return hmac.new(self.token.reveal().encode(), b"cookie", sha256).hexdigest()

    def link(self, origin: str) -> str:
        """The address that opens the page."""
        return f"{origin}/?{PARAMETER}={self.token.reveal()}"

    def is_token(self, given: str) -> bool:
        """Whether it is the token; takes the same time for every wrong one."""
        return hmac.compare_digest(given.encode(), self.token.reveal().encode())

    def is_open_to(self, request: web.Request) -> bool:
        """Whether the request shows the cookie or the token."""
        cookie = request.cookies.get(self.cookie, "")
        kind, _, bearer = request.headers.get("Authorization", "").partition(" ")
        return hmac.compare_digest(cookie.encode(), self.cookie_value.encode()) or (
            kind.lower() == "bearer" and self.is_token(bearer.strip())
        )


def guard(access: Access, refusal: Refusal) -> Middleware:
    """The outermost middleware: it applies the rules.

    Args:
        refusal: Makes the answer to a request that breaks one.
    """

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        refused = _refused(access, request, refusal)
        return refused if refused is not None else await handler(request)

    return middleware


async def add_headers(request: web.Request, answer: web.StreamResponse) -> None:
    """Add the security headers to an answer that is about to be sent."""
    answer.headers.update(HEADERS)
    # Files of the package are asked for again after an upgrade only; pages hold data of runs.
    answer.headers["Cache-Control"] = "no-cache" if request.path.startswith(OPEN_PREFIXES) else "no-store"


def _refused(access: Access, request: web.Request, refusal: Refusal) -> web.Response | None:
    if request.headers.get("Host", "").lower() not in access.hosts:
        return refusal(421, "This server has another name. Open the link that the program printed.")
    if request.method not in READING:
        if request.headers.get("Origin", "").lower() not in access.origins:
            return refusal(403, "A change must come from a page of this server.")
        if access.read_only:
            return refusal(403, "The page was started with --read-only: it shows runs and changes nothing.")
    if request.path.startswith(OPEN_PREFIXES) and request.method in READING:
        return None
    if PARAMETER in request.query and request.method in READING:
        if access.is_token(request.query[PARAMETER]):
            return _let_in(access, request)
        return refusal(401, "The token in the address is not the one of this server. It changes with every start.")
    if not access.is_open_to(request):
        return refusal(401, "Open the link that the program printed when it started: it holds the token of this page.")
    return None


def _let_in(access: Access, request: web.Request) -> web.Response:
    """Set the cookie, and remove the token from the address."""
    rest = request.rel_url.without_query_params(PARAMETER)
    # One slash: two of them would name another server.
    location = str(rest.with_path("/" + rest.path.lstrip("/"), keep_query=True))
    answer = web.Response(status=303, headers={"Location": location})
    answer.set_cookie(access.cookie, access.cookie_value, path="/", httponly=True, samesite="Strict", secure=access.is_encrypted)
    return answer
