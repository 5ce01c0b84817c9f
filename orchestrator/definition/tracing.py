"""The contract between a tracer and a client: the client calls the tracer before each request, and reports its end."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Protocol


class TracedRequest(Protocol):
    """A request that is traced."""

    def end(self, status: int | None, error: str | None = None) -> None:
        """The request has ended.

        Args:
            status: Status of the response; ``None``: there was none.
            error: Class of the error, if there was no response.
        """


class RequestTracer(Protocol):
    """Traces the requests of instances."""

    def request(self, method: str, url: str, headers: MutableMapping[str, str]) -> TracedRequest | None:
        """A request is about to be sent; ``None``: it is not traced.

        Args:
            url: Its query and its credentials are not recorded.
            headers: The header ``traceparent`` is added here if the user wants it.
        """
