"""Settings of the web page: the table ``[web]``."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

import attrs

from orchestrator.errors import SettingError
from orchestrator.secret import Secret
from orchestrator.settings import setting

PORT = 8484
"""Tried first; another free port is taken if this one is in use and none was asked for."""
LEAST_TOKEN = 20
"""Characters of the shortest token."""


@attrs.frozen(kw_only=True)
class WebSettings:
    """Where the page is served; the table ``[web]``."""

    port: int | None = setting(
        f"Port to listen on; 0 takes a free one. [default: {PORT}, or a free one]", env=["ORCHESTRATOR_WEB_PORT"]
    )
    address: str = setting("Address to listen on.", default="127.0.0.1")
    allow_remote: bool = setting("Accept an address that other machines can reach; needs TLS or a proxy.", default=False)
    certificate: str | None = setting("TLS certificate (PEM file, with its chain).")
    private_key: str | None = setting("Private key of the certificate (PEM file).")
    proxy: str | None = setting("Address of the reverse proxy in front of the page, as browsers see it: https://NAME.")
    token: Secret | None = setting(
        f"Token of the link, at least {LEAST_TOKEN} characters; by default a new one.", env=["ORCHESTRATOR_WEB_TOKEN"]
    )
    read_only: bool = setting("Show runs and change nothing.", default=False)

    def __attrs_post_init__(self) -> None:
        if self.port is not None and not 0 <= self.port <= 65535:
            raise SettingError("port", f"{self.port} is not between 0 and 65535")
        if (self.certificate is None) != (self.private_key is None):
            raise SettingError("certificate", "a certificate and its private key are given together")
        if self.token is not None and len(self.token.reveal()) < LEAST_TOKEN:
            raise SettingError("token", f"is shorter than {LEAST_TOKEN} characters: it could be guessed")
        if self.proxy is not None:
            _check_proxy(self.proxy)
        if not self.is_local:
            self._check_remote()

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the address."""
        try:
            return self.address == "localhost" or ip_address(self.address).is_loopback
        except ValueError:
            return False

    def _check_remote(self) -> None:
        if not self.allow_remote:
            raise SettingError(
                "address", f"{self.address} can be reached from other machines; add --allow-remote if you want that"
            )
        if self.certificate is None and self.proxy is None:
            raise SettingError(
                "allow-remote",
                "needs TLS: give --certificate and --private-key, or --proxy with the address of a proxy that has it",
            )


def _check_proxy(proxy: str) -> None:
    try:
        url = urlsplit(proxy)
        is_origin = bool(url.hostname) and proxy.rstrip("/").lower() == f"https://{url.netloc.rpartition('@')[2]}".lower()
        _ = url.port
    except ValueError:
        is_origin = False
    if not is_origin:
        raise SettingError("proxy", f"{proxy!r} is not of the form https://NAME or https://NAME:PORT")
