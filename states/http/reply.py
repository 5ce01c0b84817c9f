"""A response, read to its end."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

import attrs
import orjson

from orchestrator import AmbiguousError, Secret
from states.http.json_types import JSONObject
from states.http.request import Request

if TYPE_CHECKING:
    from multidict import MultiMapping

_UNKNOWN = Request("", "")


@attrs.define(slots=False)
class Reply:
    """A response. Its ``repr`` shows neither headers nor body."""

    status: int
    headers: MultiMapping[str] = attrs.field(repr=False)
    body: bytes = attrs.field(repr=False)
    asked: Request = attrs.field(default=_UNKNOWN, eq=False)
    """The request that it answers. Quote text of the response only with :meth:`~states.http.request.Request.quote`."""

    @property
    def cookies(self) -> dict[str, Secret]:
        """The cookies that it sets, without their attributes. A cookie without a value is being deleted and is left out."""
        cookies = {}
        for line in self.headers.getall("Set-Cookie", ()):
            name, _, value = line.partition(";")[0].partition("=")
            if value.strip():
                cookies[name.strip()] = Secret(value.strip())
        return cookies

    @property
    def retry_after(self) -> float | None:
        """Seconds to wait, from the header ``Retry-After`` (a number or an HTTP date); ``None`` if it is absent or malformed."""
        header = self.headers.get("Retry-After")
        if header is None:
            return None
        try:
            seconds = float(header)
        except ValueError:
            pass
        else:
            return max(0.0, seconds) if math.isfinite(seconds) else None
        try:
            return seconds_until(parsedate_to_datetime(header))
        except (ValueError, TypeError, OverflowError):
            return None

    def json(self) -> JSONObject:
        """The body as a JSON object.

        Raises:
            AmbiguousError: It is not a JSON object (a proxy's page, a truncated response), so the request may have had its effect.
        """
        try:
            data = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            data = None
        if not isinstance(data, dict):
            raise AmbiguousError(f"the answer ({self.status}) is not JSON", code="not_json")
        return data


def seconds_until(moment: datetime) -> float:
    """Seconds from now to ``moment`` (UTC if it names no zone), at least 0."""
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
