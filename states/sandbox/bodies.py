"""HAL bodies and paging."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from states.sandbox.calls import Answer, Call
from states.sandbox.environment import Environment
from states.sandbox.errors import invalid
from states.sandbox.objects import R


def timestamp(at: float) -> str:
    """ISO 8601 with milliseconds, as the vendor writes it."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def environment_url(call: Call, environment: Environment) -> str:
    """Root of the management API of the environment."""
    return f"{call.base}/v1/environments/{environment.id}"


def issuer(environment: Environment, call: Call) -> str:
    """The ``iss`` of everything that is issued, and the base of the OAuth endpoints."""
    return f"{call.base}/{environment.id}/as"


def hal(call: Call, environment: Environment, path: str, **links: str) -> dict[str, Any]:
    """The first fields of a single resource at ``path``; ``links`` are paths below the environment."""
    root = environment_url(call, environment)
    hrefs = {"self": f"{root}/{path}", "environment": root}
    hrefs |= {name: f"{root}/{below}" for name, below in links.items()}
    return {"_links": {name: {"href": href} for name, href in hrefs.items()}, "environment": {"id": environment.id}}


def collection(
    call: Call, environment: Environment, path: str, name: str, rows: Sequence[R], body: Callable[[R], dict[str, Any]]
) -> Answer:
    """One page of a collection. A ``limit`` may only make it smaller; ``cursor`` is opaque to clients."""
    size = environment.settings.page_size
    if "limit" in call.query:
        if not call.query["limit"].isdecimal() or call.query["limit"] == "0":
            raise invalid("INVALID_PARAMETER", "limit", "limit must be a positive number")
        size = min(size, int(call.query["limit"]))
    start = _offset(call.query["cursor"]) if "cursor" in call.query else 0
    visible = environment.listed(rows)
    page = visible[start : start + size]
    url = f"{environment_url(call, environment)}/{path}"
    links = {"self": {"href": url}}
    if start + size < len(visible):
        query = {**call.query, "cursor": _cursor(start + size)}
        links["next"] = {"href": f"{url}?{urlencode(query)}"}
    return Answer(
        body={"_links": links, "_embedded": {name: [body(row) for row in page]}, "count": len(visible), "size": len(page)}
    )


def _cursor(offset: int) -> str:
    return base64.urlsafe_b64encode(f"o{offset}".encode()).decode().rstrip("=")


def _offset(cursor: str) -> int:
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
        return max(0, int(text.removeprefix("o")))
    except (binascii.Error, ValueError) as error:
        raise invalid("INVALID_PARAMETER", "cursor", "the cursor is not valid") from error
