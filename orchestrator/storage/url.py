"""URLs of stores in messages and commands: never with a password."""

from __future__ import annotations

import re


def without_password(url: str) -> str:
    """The URL without the password, which may hold any character."""
    url = re.sub(r"(://[^:/?@]*):[^/?]*@", r"\1@", url)
    url = re.sub(r"(?<=[?&])(ssl)?password=[^&]*&?", "", url)
    return url.rstrip("?&")


def has_password(url: str) -> bool:
    """Whether the URL holds a password."""
    return without_password(url) != url.rstrip("?&")
