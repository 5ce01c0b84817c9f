"""The tenant and the credentials of the worker. The environment variables are those of the vendor's Terraform provider and CLI."""

from __future__ import annotations

import re
from enum import StrEnum
from urllib.parse import urlsplit

import attrs

from orchestrator import Secret, SettingError, setting


class Region(StrEnum):
    """The region of the organization. Source: "PingOne API regions"."""

    NA = "NA"
    CA = "CA"
    EU = "EU"
    AU = "AU"
    SG = "SG"
    AP = "AP"

    @property
    def tld(self) -> str:
        """Top-level domain of the region's hosts."""
        return {"NA": "com", "CA": "ca", "EU": "eu", "AU": "com.au", "SG": "sg", "AP": "asia"}[self.value]


MAX_LIST_LAG_S = 20.0
"""A search must end within one attempt, which has 30 seconds."""

_GROUP = "PingOne tenant (without one, the embedded sandbox is used)"


@attrs.frozen(kw_only=True)
class PingOneSettings:
    """A tenant and its worker application. If no tenant is named, the sandbox is used."""

    client_id: str | None = setting(
        "Client id of the worker application.", env=["PINGONE_CLIENT_ID"], renewable=True, group=_GROUP
    )
    client_secret: Secret | None = setting(
        "Secret of the worker application.", env=["PINGONE_CLIENT_SECRET"], renewable=True, group=_GROUP
    )
    api_access_token: Secret | None = setting(
        "Access token of the worker, instead of its client id and secret.",
        env=["PINGONE_API_ACCESS_TOKEN"],
        renewable=True,
        group=_GROUP,
    )
    environment_id: str | None = setting(
        "Environment that holds the worker application.", env=["PINGONE_ENVIRONMENT_ID"], group=_GROUP
    )
    managed_environment_id: str | None = setting(
        "Environment in which the workflow creates objects, if it is another one.",
        env=["PINGONE_MANAGED_ENVIRONMENT_ID"],
        group=_GROUP,
    )
    region: Region = setting("Region of the tenant.", default=Region.NA, env=["PINGONE_REGION_CODE"], group=_GROUP)
    base_url: str | None = setting(
        "Address of a sandbox instead of a region, e.g. http://127.0.0.1:8080.", env=["PINGONE_BASE_URL"], group=_GROUP
    )
    api_hostname: str | None = setting(
        "Host of the management API instead of the region's, e.g. api.pingone.eu.",
        env=["PINGONE_API_SERVICE_HOSTNAME"],
        group=_GROUP,
    )
    auth_hostname: str | None = setting(
        "Host of sign-on and tokens instead of the region's, e.g. auth.pingone.eu or a custom domain.",
        env=["PINGONE_AUTH_SERVICE_HOSTNAME"],
        group=_GROUP,
    )

    list_lag: float | None = setting(
        "Seconds that a new object may be missing from lists; 10 for a tenant, 1 for a sandbox by default.", group=_GROUP
    )

    def __attrs_post_init__(self) -> None:
        self._check_tenant()
        if self.list_lag is not None and not 0 <= self.list_lag <= MAX_LIST_LAG_S:
            raise SettingError("list-lag", f"{self.list_lag:g} is not between 0 and {MAX_LIST_LAG_S:g} seconds")
        if self.base_url is not None:
            _check_base_url(self.base_url)
        for name, host in (("api-hostname", self.api_hostname), ("auth-hostname", self.auth_hostname)):
            _check_hostname(name, host)
            if host and self.base_url:
                raise SettingError(name, "cannot be combined with base-url, which is the host of both services")

    def _check_tenant(self) -> None:
        if self.api_access_token:
            for name, value in (("client-id", self.client_id), ("client-secret", self.client_secret)):
                if value:
                    raise SettingError(
                        name,
                        "cannot be combined with PINGONE_API_ACCESS_TOKEN; give the token or the client id and its secret, not both",
                    )
            if not self.environment_id:
                raise SettingError("environment-id", "missing: PINGONE_API_ACCESS_TOKEN requires PINGONE_ENVIRONMENT_ID")
            return
        given = {"client-id": self.client_id, "client-secret": self.client_secret, "environment-id": self.environment_id}
        missing = [name for name, value in given.items() if not value]
        if missing and (len(missing) < len(given) or self.base_url or self.managed_environment_id):
            raise SettingError(
                ", ".join(missing),
                "missing: a tenant needs PINGONE_CLIENT_ID, PINGONE_CLIENT_SECRET and PINGONE_ENVIRONMENT_ID "
                "(leave all three out to use the embedded sandbox)",
            )

    @property
    def wants_sandbox(self) -> bool:
        """Whether no tenant is named."""
        return not self.environment_id

    @property
    def lag_s(self) -> float:
        """How long to search for an object that lists may not show yet, in seconds."""
        if self.list_lag is not None:
            return self.list_lag
        return 1.0 if self.wants_sandbox or self.base_url else 10.0

    @property
    def api_url(self) -> str:
        """Root of the management API, with its version."""
        return f"{self.base_url.rstrip('/')}/v1" if self.base_url else f"https://{self._host('api', self.api_hostname)}/v1"

    @property
    def auth_url(self) -> str:
        """Root of the OAuth and flow endpoints."""
        return self.base_url.rstrip("/") if self.base_url else f"https://{self._host('auth', self.auth_hostname)}"

    def auth_root(self, environment_id: str | None) -> str:
        """Root of the OAuth and flow endpoints of an environment. A custom domain has no environment in its paths."""
        if self.auth_hostname and not re.search(r"(^|\.)pingone\.", self.auth_hostname):
            return self.auth_url
        return f"{self.auth_url}/{environment_id}"

    def _host(self, service: str, given: str | None) -> str:
        return given or f"{service}.pingone.{self.region.tld}"

    @property
    def managed(self) -> str:
        """Id of the environment in which the workflow creates objects."""
        return self.managed_environment_id or self.environment_id or ""


def _check_hostname(name: str, host: str | None) -> None:
    if host is not None and not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?(:[1-9]\d{0,4})?", host):
        raise SettingError(name, f"must be the name of a host like auth.pingone.eu, without https:// and path, not {host!r}")


def _check_base_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise SettingError("base-url", f"{url!r} is not an address ({error})") from error
    if "@" in parts.netloc:
        raise SettingError("base-url", "must not contain a user name or a password")
    odd = any(not c.isprintable() or c.isspace() for c in url) or parts.query or parts.fragment or port == 0
    if parts.scheme not in ("http", "https") or not parts.hostname or odd:
        raise SettingError("base-url", f"{url!r} is not an address like http://127.0.0.1:8080")
    if parts.scheme == "http" and parts.hostname not in ("127.0.0.1", "localhost", "::1"):
        raise SettingError(
            "base-url",
            f"{url!r} must use https: plain http would send credentials in the clear, so it is allowed for 127.0.0.1 and localhost only",
        )
