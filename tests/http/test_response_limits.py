"""Responses that are too long, and heads that cannot be read."""

from __future__ import annotations

import gzip
import traceback
import tracemalloc

import pytest

from orchestrator import AmbiguousError, PermanentError, StepError, TransientError
from states.http import receiving
from states.http.masking import Masking
from states.http.reply import Reply
from states.http.session import Session
from states.http.transport import open_transport
from tests.support.peer import allowed, get, ok, peer

pytestmark = pytest.mark.usefixtures("way")


def unexpected(what: str, reply: Reply) -> StepError:
    """A vendor without error codes."""
    return PermanentError(f"{what}: {reply.status}")


TOKEN = b"abcdef" * 2

BOMB = gzip.compress(bytes(200_000_000), compresslevel=1)


@pytest.mark.parametrize(
    "answer",
    [
        ok(BOMB, b"Content-Encoding: gzip"),
        ok(bytes(receiving.MOST_BYTES + 1)),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"80000\r\n" + bytes(1 << 19) + b"\r\n" + (b"80000\r\n" + bytes(1 << 19) + b"\r\n") * 20,
        b"HTTP/1.1 200 OK\r\n\r\n" + bytes(receiving.MOST_BYTES + 1),
    ],
    ids=["gzip", "length", "chunked", "no length"],
)
async def test_an_answer_without_end_is_given_up_at_a_limit(answer: bytes) -> None:
    async with peer(answer, ok(b"next")) as there, open_transport(allowed) as send:
        with pytest.raises(receiving.AnswerTooLongError):
            await get(send, f"{there.url}/a")
        assert await get(send, f"{there.url}/a") == (200, b"next")


async def test_no_more_than_the_limit_is_ever_decompressed() -> None:
    async with peer(ok(BOMB, b"Content-Encoding: gzip")) as there, open_transport(allowed) as send:
        tracemalloc.start()
        try:
            with pytest.raises(receiving.AnswerTooLongError):
                await get(send, f"{there.url}/a")
            assert tracemalloc.get_traced_memory()[1] < 3 * receiving.MOST_BYTES
        finally:
            tracemalloc.stop()


async def test_a_long_answer_within_the_limit_is_read() -> None:
    body = bytes(range(256)) * (receiving.MOST_BYTES // 256)
    async with peer(ok(gzip.compress(body, 1), b"Content-Encoding: gzip")) as there, open_transport(allowed) as send:
        assert await get(send, f"{there.url}/a") == (200, body)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 10_000 + b"\r\n",
        b"220 mail.example.com ESMTP Bearer " + TOKEN + b"\r\n",
    ],
    ids=["a long header", "many headers", "not HTTP"],
)
async def test_a_head_that_cannot_be_read_is_an_error_that_repeats_nothing(answer: bytes) -> None:
    async with peer(answer) as there, open_transport(allowed) as send:
        session = Session(send, allowed, refuse=unexpected, masking=Masking())
        with pytest.raises(AmbiguousError, match="ask: the answer is not HTTP, or its headers are too long") as caught:
            await session.send("ask", "POST", f"{there.url}/a", headers={"Authorization": f"Bearer {TOKEN.decode()}"}, body=b"{}")
    assert TOKEN.decode() not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("way", ["straight"], indirect=True)
async def test_interim_answers_come_to_an_end() -> None:
    async with peer(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000) as there, open_transport(allowed) as send:
        with pytest.raises(receiving.NotHttpError):
            await get(send, f"{there.url}/a")


@pytest.mark.parametrize(("method", "cls"), [("GET", TransientError), ("POST", AmbiguousError)])
async def test_a_request_whose_answer_is_too_long_may_have_had_its_effect(method: str, cls: type[Exception]) -> None:
    async with peer(ok(BOMB, b"Content-Encoding: gzip")) as there, open_transport(allowed) as send:
        with pytest.raises(TransientError, match="ask: the answer is longer than 8 MB") as caught:
            await Session(send, allowed, refuse=unexpected, masking=Masking()).send("ask", method, f"{there.url}/a")
        assert type(caught.value) is cls
