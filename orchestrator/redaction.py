"""Redaction: makes text safe to show, log and store: secrets are masked, control characters escaped.

A server rarely echoes a request literally. So a text is read in every spelling that is common on the web (percent-encoding,
forms, HTML, JSON, base64, and these inside each other), and a part of a secret counts as well.
"""

from __future__ import annotations

import base64
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache, partial
from html import unescape
from operator import itemgetter

from orchestrator.secret import MASK, Secret

LEAST = 4
"""Characters of the shortest secret that is looked for."""
PART = 8
"""Characters of a secret that are masked even without the rest of it: an echo may be cut."""
DEPTH = 3
"""Spellings inside each other, e.g. a form in JSON in base64."""

_BLOCK = PART // 2
"""Every part of a secret has a whole block that begins at a multiple of this in the text."""
_ESCAPE = re.compile(
    rb"%[0-9A-Fa-f]{2}|&(?:#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});"
    rb"|\\u[0-9A-Fa-f]{4}|\\x[0-9A-Fa-f]{2}|\\[\"'\\/bfnrt]"
)
_HIGH = re.compile(rb"\\x[89A-Fa-f]")
"""In Python, a byte or a character: it depends on the type that was printed."""
_CONTROLS = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t"}
_BASE64 = re.compile(rb"[A-Za-z0-9+/]{8,}")
_BETWEEN = b"\xff"
"""Is in no secret: UTF-8 has no such byte."""
_FOLD = bytes.maketrans(b" -_", b"++/")
"""A space may be a plus, and base64 has two alphabets: they count as equal."""

_Where = Callable[[int, int], tuple[int, int]]
"""Start and end in a decoded text → start and end in the text itself."""


class Redactor:
    """Masks these secrets in texts; those of less than four characters are left."""

    def __init__(self, secrets: Iterable[Secret]) -> None:
        values = {_folded(secret.reveal()) for secret in secrets}
        self._short = [value for value in values if LEAST <= len(value) < PART]
        self._long = [value for value in values if len(value) >= PART]
        self._blocks = [_blocks_of(value) for value in self._long]

    def redact(self, text: str) -> str:
        """``text`` with stars in place of every secret, and of every part of one that has eight characters or more."""
        if len(text) < LEAST or not (self._short or self._long):
            return text
        data = text.encode("utf-8", "surrogatepass")
        found = [
            where(first, last)
            for reading, where in _readings(data.translate(_FOLD), lambda first, last: (first, last), DEPTH)
            for first, last in self._find(reading)
        ]
        return _with_stars(data, found) if found else text

    def _find(self, reading: bytes) -> Iterator[tuple[int, int]]:
        for value in self._short:
            first = reading.find(value)
            while first >= 0:
                yield first, first + len(value)
                first = reading.find(value, first + 1)
        # A sample of the text against all blocks of the secrets: hardly ever is there one to go after.
        sample = {reading[at : at + _BLOCK] for at in range(0, len(reading) - _BLOCK + 1, _BLOCK)}
        if all(sample.isdisjoint(blocks) for blocks in self._blocks):
            return
        for at in range(0, len(reading) - _BLOCK + 1, _BLOCK):
            yield from self._parts(reading, at, reading[at : at + _BLOCK])

    def _parts(self, reading: bytes, at: int, block: bytes) -> Iterator[tuple[int, int]]:
        """The parts of secrets around a block of the text."""
        for value in self._long:
            place = value.find(block)
            while place >= 0:
                first, last = at, at + _BLOCK
                before, after = place, place + _BLOCK
                while first > 0 and before > 0 and reading[first - 1] == value[before - 1]:
                    first, before = first - 1, before - 1
                while last < len(reading) and after < len(value) and reading[last] == value[after]:
                    last, after = last + 1, after + 1
                if last - first >= PART:
                    yield first, last
                place = value.find(block, place + 1)


@lru_cache(maxsize=16)
def _blocks_of(value: bytes) -> frozenset[bytes]:
    """Cached for those that many requests share."""
    return frozenset(value[at : at + _BLOCK] for at in range(len(value) - _BLOCK + 1))


def visible(text: str) -> str:
    """``text`` without characters that act on a terminal or cannot be seen: control characters, marks of direction, spaces
    without width. Each becomes its picture or its number (``␛``, ``\\u202e``)."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _picture(ord(char)) for char in text)


def _picture(code: int) -> str:
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "␡"
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def _folded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass").translate(_FOLD)


def _with_stars(data: bytes, found: list[tuple[int, int]]) -> str:
    shown, done = list[str](), 0
    for first, last in sorted(found):
        if first > done or not shown:
            shown += [data[done:first].decode("utf-8", "replace"), MASK]
        done = max(done, last)
    return "".join((*shown, data[done:].decode("utf-8", "replace")))


def _readings(data: bytes, where: _Where, depth: int) -> Iterator[tuple[bytes, _Where]]:
    """A text, decoded by each spelling."""
    yield data, where
    if depth > 0:
        for plainer, there in (*_without_escapes(data), *_from_base64(data)):
            yield from _readings(plainer, _through(there, where), depth - 1)


def _through(inner: _Where, outer: _Where) -> _Where:
    return lambda first, last: outer(*inner(first, last))


def _without_escapes(data: bytes) -> Iterator[tuple[bytes, _Where]]:
    yield from _with_meanings(data, _meaning)
    if _HIGH.search(data):
        yield from _with_meanings(data, _meaning_in_text)


def _with_meanings(
    data: bytes, meaning_of: Callable[[bytes, re.Match[bytes]], tuple[bytes, int]]
) -> Iterator[tuple[bytes, _Where]]:
    plain, done = bytearray(), 0
    begins: list[tuple[int, int, int, int]] = []
    """Of each escape: where its meaning begins and ends, and where it does itself."""
    for escape in _ESCAPE.finditer(data):
        if escape.start() >= done:
            meaning, end = meaning_of(data, escape)
            plain += data[done : escape.start()]
            begins.append((len(plain), len(plain) + len(meaning), escape.start(), end))
            plain += meaning
            done = end
    if not begins:
        return

    def place(at: int, *, is_end: bool) -> int:
        index = bisect_right(begins, at - is_end, key=itemgetter(0)) - 1
        if index < 0:
            return at
        _, last, start, end = begins[index]
        if at - is_end < last:
            return end if is_end else start
        return end + at - last

    yield bytes(plain + data[done:]), lambda first, last: (place(first, is_end=False), place(last, is_end=True))


def _meaning(data: bytes, escape: re.Match[bytes]) -> tuple[bytes, int]:
    """The character of an escape, and the end of the escape."""
    text, end = escape[0], escape.end()
    if text[:1] == b"&":
        return _folded(unescape(text.decode())), end
    if text[:1] == b"%" or text[:2] == b"\\x":
        return bytes.fromhex(text[-2:].decode()).translate(_FOLD), end
    if text[:2] != b"\\u":
        return _CONTROLS.get(text[1:], text[1:]).translate(_FOLD), end
    unit = text[2:].decode()
    low = _ESCAPE.match(data, end) if 0xD800 <= int(unit, 16) < 0xDC00 else None
    if low is not None and low[0][:2] == b"\\u":  # one character in two halves
        unit, end = unit + low[0][2:].decode(), low.end()
    return _folded(bytes.fromhex(unit).decode("utf-16-be", "replace")), end


def _meaning_in_text(data: bytes, escape: re.Match[bytes]) -> tuple[bytes, int]:
    if escape[0][:2] == b"\\x":
        return _folded(chr(int(escape[0][2:], 16))), escape.end()
    return _meaning(data, escape)


def _from_base64(data: bytes) -> Iterator[tuple[bytes, _Where]]:
    """All stretches that may be base64, read from four places: the beginning may be cut off, or something stand before it."""
    stretches = [found.span() for found in _BASE64.finditer(data)]
    for skipped in range(4 if stretches else 0):
        begins, decoded, length = list[tuple[int, int]](), list[bytes](), 0
        for start, end in stretches:
            begins.append((length, start + skipped))
            coded = data[start + skipped : end]
            if len(coded) % 4 == 1:  # one character is less than a byte
                coded = coded[:-1]
            decoded.append(base64.b64decode(coded + b"=" * (-len(coded) % 4)))
            length += len(decoded[-1]) + len(_BETWEEN)
        yield _BETWEEN.join(decoded).translate(_FOLD), partial(_place_in_base64, begins)


def _place_in_base64(begins: list[tuple[int, int]], first: int, last: int) -> tuple[int, int]:
    length, start = begins[bisect_right(begins, first, key=itemgetter(0)) - 1]
    return start + (first - length) * 4 // 3, start + ((last - length) * 4 + 2) // 3
