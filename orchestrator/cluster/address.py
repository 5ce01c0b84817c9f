"""The address of the scheduler of a cluster, and its security: a client that reaches a port of Dask can run code there."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from urllib.parse import urlsplit

import attrs
import orjson

from orchestrator.cluster.certificates import TlsFiles
from orchestrator.errors import SettingError, shortened
from orchestrator.storage.url import has_password, without_password


@attrs.frozen
class ClusterAddress:
    """Where a scheduler listens.

    Raises:
        SettingError: The address is not possible, or not encrypted and not on this machine.
    """

    url: str
    tls: TlsFiles | None = None

    def __attrs_post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            possible = parts.scheme in ("tcp", "tls") and parts.hostname is not None and parts.port is not None
        except ValueError:
            possible = False
        if not possible:
            raise SettingError(
                "cluster", f"{shortened(self.url)} is not of the form tls://HOST:PORT, and no file that a scheduler has written"
            )
        if parts.scheme == "tls" and self.tls is None:
            raise SettingError(
                "cluster-tls", f"{self.url} needs certificates: name the folder that `orchestrator cluster certs` made"
            )
        if parts.scheme == "tcp" and not self.is_local:
            raise SettingError(
                "cluster",
                f"{self.url} is not encrypted: a client that reaches that port can run code on all machines; use tls://",
            )

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine."""
        return is_loopback(self.url)

    def check_store(self, store: str | None, workers: list[str]) -> None:
        """Refuse a store that the workers cannot use, or whose password would travel.

        Args:
            workers: Addresses of the workers.

        Raises:
            SettingError: Also for a file, if a worker is on another machine.
        """
        url = store or ""
        if not url.startswith("postgres") and not (self.is_local and all(map(is_loopback, workers))):
            raise SettingError("store", "an SQLite file serves one machine; a cluster of several needs postgresql://…")
        if has_password(url):
            raise SettingError(
                "store",
                f"the password of {without_password(url)} would be readable on the cluster; put it into PGPASSWORD, PGPASSFILE or a "
                "service file on each machine",
            )


def is_loopback(url: str) -> bool:
    """Whether an address of Dask is on this machine."""
    host = urlsplit(url).hostname or ""
    if host == "localhost" or url.startswith("inproc:"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def parse_cluster(text: str, tls: str | None) -> ClusterAddress:
    """An address, or the file that a scheduler has written.

    Raises:
        SettingError: Neither, or the file cannot be read.
    """
    files = TlsFiles(Path(tls).expanduser()).check() if tls is not None else None
    if "://" in text:
        return ClusterAddress(text, files)
    try:
        return ClusterAddress(str(orjson.loads(Path(text).expanduser().read_bytes())["address"]), files)
    except OSError as error:
        raise SettingError("cluster", f"{shortened(text)} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise SettingError(
            "cluster", f"{shortened(text)} is neither an address like tls://HOST:8786 nor a scheduler file"
        ) from error
