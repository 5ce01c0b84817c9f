"""The vendor's limit on configuration calls per minute. Above it, the response is 429 with ``Retry-After``.

Source: "Rate limiting". [inferred] Configuration calls are those below applications, resources, populations and policies.
"""

from __future__ import annotations

import math
from collections import deque

from states.sandbox.errors import ApiError

WINDOW_S = 60.0
_CONFIGURATION = ("application", "grant", "resource", "scope", "attribute", "population", "polic")


class ConfigurationLimit:
    """Counts calls in a sliding minute; ``per_minute`` 0 means no limit."""

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._calls: deque[float] = deque()

    def check(self, operation: str, now: float) -> None:
        """Count a call.

        Raises:
            ApiError: 429, with the seconds until the next call is allowed. The refused call does not count.
        """
        if not self._per_minute or not any(word in operation for word in _CONFIGURATION):
            return
        while self._calls and self._calls[0] <= now - WINDOW_S:
            self._calls.popleft()
        if len(self._calls) >= self._per_minute:
            wait = math.ceil(self._calls[0] + WINDOW_S - now)
            details = [{"code": "LIMIT_EXCEEDED", "message": "Too many requests"}]
            raise ApiError(429, "REQUEST_LIMITED", "The request limit was exceeded.", details, float(max(1, wait)))
        self._calls.append(now)
