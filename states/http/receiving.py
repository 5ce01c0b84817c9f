"""Reading a response within limits."""

from __future__ import annotations

import aiohttp

MOST_BYTES = 8 << 20
"""Limit of a response body, decompressed. A full page of a list has 3 MB."""
MOST_INTERIM = 16
"""Limit of interim responses (100, 103) before a response."""


class AnswerTooLongError(aiohttp.ClientError):
    """The body of a response is larger than ``MOST_BYTES``. The connection was closed."""


class NotHttpError(aiohttp.ClientError):
    """The response is not HTTP, or its head exceeds the limits of aiohttp. The error does not quote it."""


async def read_body(payload: aiohttp.StreamReader) -> bytes:
    """The whole body. aiohttp decompresses only as much as its buffer holds until we read, so a small bomb stays small.

    Raises:
        AnswerTooLongError: It is longer than ``MOST_BYTES``.
    """
    if payload.is_eof():  # most bodies arrive together with their head
        return _short(payload.read_nowait())
    parts, length = [], 0
    while part := await payload.readany():
        length += len(part)
        if length > MOST_BYTES:
            raise AnswerTooLongError
        parts.append(part)
    return b"".join(parts)


def _short(body: bytes) -> bytes:
    if len(body) > MOST_BYTES:
        raise AnswerTooLongError
    return body
