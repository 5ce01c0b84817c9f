"""Addresses of requests: their origin, and the proxy that the environment selects for it."""

from __future__ import annotations

import re
import urllib.request
from typing import TypedDict

import aiohttp
from yarl import URL

_PARTS = re.compile(r"(https?://[^/?#@\s]+)(/[^#\s]*)(?:#\S*)?", re.IGNORECASE)


def split(url: str) -> tuple[str, str]:
    """Origin, and path with query. Raises ``aiohttp.InvalidURL``."""
    parts = _PARTS.fullmatch(url)
    if parts is None:
        raise aiohttp.InvalidURL(url)
    return parts[1], parts[2]


def checked(origin: str) -> URL:
    """The origin as a URL. Raises ``aiohttp.InvalidURL``."""
    try:
        return URL(origin)
    except ValueError as error:
        raise aiohttp.InvalidURL(origin) from error


class Proxy(TypedDict, total=False):
    """Arguments of aiohttp; empty: no proxy."""

    proxy: URL
    proxy_headers: dict[str, str]


def proxy_for(origin: URL) -> Proxy:
    """The proxy that the environment selects. Plain HTTP is loopback only, so it is never proxied."""
    host = origin.host
    if origin.scheme != "https" or host is None or urllib.request.proxy_bypass(host):
        return {}
    address = urllib.request.getproxies().get("https")
    if not address:
        return {}
    try:
        proxy = URL(address if "://" in address else f"http://{address}")
    except ValueError:
        proxy = URL()
    if proxy.scheme not in ("http", "https") or not proxy.host:
        raise aiohttp.InvalidURL(str(origin), "HTTPS_PROXY does not name an http proxy")
    # Set Host now: aiohttp would add it later, and the keys of its connection pool would differ.
    headers = {"Host": origin.host_port_subcomponent or host}
    if proxy.user:
        headers["Proxy-Authorization"] = aiohttp.encode_basic_auth(proxy.user, proxy.password or "")
    return {"proxy": proxy.with_user(None), "proxy_headers": headers}
