"""Builds HAL bodies and pages of lists."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from urllib.parse import urlencode

from states.sandbox import filters
from states.sandbox.calls import Answer, Call
from states.sandbox.environment import Environment
from states.sandbox.errors import invalid
from states.sandbox.json_types import JSONObject
from states.sandbox.objects import R

LONGEST_PAGE = 1000
"""Source: the vendor's OpenAPI description of the user collection."""


def timestamp(at: float) -> str:
    """ISO 8601 with milliseconds, the vendor's format."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def environment_url(call: Call, environment: Environment) -> str:
    """Root of the management API of the environment."""
    return f"{call.base}/v1/environments/{environment.id}"


def issuer(environment: Environment, call: Call) -> str:
    """The issuer (``iss``), which is also the base of the OAuth endpoints."""
    return f"{auth_url(environment, call)}/as"


def auth_url(environment: Environment, call: Call) -> str:
    """Root of the OAuth and flow endpoints. The paths of a custom domain do not name the environment."""
    return f"{call.base}/{environment.id}" if "environment" in call.ids else call.base


def hal(call: Call, environment: Environment, path: str, **links: str) -> JSONObject:
    """The first fields of a single resource at ``path``; ``links`` are paths below the environment."""
    root = environment_url(call, environment)
    hrefs = {"self": f"{root}/{path}", "environment": root}
    hrefs |= {name: f"{root}/{below}" for name, below in links.items()}
    return {"_links": {name: {"href": href} for name, href in hrefs.items()}, "environment": {"id": environment.id}}


def described(description: str | None) -> dict[str, str]:
    """The field ``description``, which must not be null."""
    return {} if description is None else {"description": description}


def filtered(
    call: Call,
    environment: Environment,
    name: str,
    rows: Sequence[R],
    attributes: Sequence[str],
    view: Callable[[R], JSONObject],
    body: Callable[[R], JSONObject],
) -> Answer:
    """A collection with support for a SCIM filter over ``attributes``, which ``view`` returns for a row."""
    if "filter" in call.query:
        try:
            test = filters.parse(call.query["filter"], attributes)
        except filters.FilterError as error:
            raise invalid(
                "INVALID_FILTER", "filter", str(error), supportedAttributes=list(attributes), supportedOperators=["eq", "sw"]
            ) from error
        rows = [row for row in rows if test(view(row))]
    return collection(call, environment, name, name, rows, body)


def collection(
    call: Call, environment: Environment, path: str, name: str, rows: Sequence[R], body: Callable[[R], JSONObject]
) -> Answer:
    """One page of a collection. ``limit`` can only reduce its size. ``cursor`` is opaque to clients."""
    size = environment.settings.page_size
    if "limit" in call.query:
        wanted = call.query["limit"]
        if not re.fullmatch(r"[0-9]{1,4}", wanted) or not 1 <= int(wanted) <= LONGEST_PAGE:
            raise invalid("INVALID_PARAMETER", "limit", f"limit must be a number from 1 to {LONGEST_PAGE}")
        size = min(size, int(wanted))
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
