"""The address at which a process serves its metrics."""

from __future__ import annotations

import re

import attrs

from orchestrator.errors import shortened

LOOPBACK = "127.0.0.1"

_FORM = re.compile(r"(?:(?P<host>\[[0-9A-Fa-f:.%]+\]|[^\s:\[\]/@]+):)?(?P<port>[0-9]{1,5})")


@attrs.frozen
class Address:
    """Where a server listens."""

    host: str
    port: int
    """0: any free port."""

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """``PORT`` (on loopback) or ``HOST:PORT``; an IPv6 address stands in brackets. Raises ``ValueError``."""
    found = _FORM.fullmatch(text.strip())
    if found is None or int(found["port"]) > 65535:
        raise ValueError(f"{shortened(text)} is neither a port nor HOST:PORT, e.g. 9464 or 0.0.0.0:9464")
    return Address((found["host"] or LOOPBACK).strip("[]"), int(found["port"]))
