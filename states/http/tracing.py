"""A transport whose requests are traced."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator import RequestTracer
from states.http.reply import Reply
from states.http.transport import Transport


def traced(transport: Transport, tracer: RequestTracer) -> Transport:
    """``transport``, with a span for each request of a sampled instance, and the header ``traceparent`` if the user wants it."""

    async def send(method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Reply:
        sent = dict(headers)
        request = tracer.request(method, url, sent)
        if request is None:
            return await transport(method, url, sent, body)
        try:
            reply = await transport(method, url, sent, body)
        except BaseException as error:  # a cancellation ends the request as well
            request.end(None, type(error).__name__)
            raise
        request.end(reply.status)
        return reply

    return send
