"""Spellings in which a server may repeat a text."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Callable
from urllib.parse import quote, quote_plus

SPELLINGS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "percent": quote,
    "percent, all of it": lambda text: "".join(f"%{byte:02x}" for byte in text.encode()),
    "percent, in capitals": lambda text: "".join(f"%{byte:02X}" for byte in text.encode()),
    "a form": quote_plus,
    "percent twice": lambda text: quote(quote(text, safe=""), safe=""),
    "HTML": html.escape,
    "HTML, decimal": lambda text: "".join(f"&#{ord(char)};" for char in text),
    "HTML, hexadecimal": lambda text: "".join(f"&#x{ord(char):X};" for char in text),
    "JSON": lambda text: json.dumps(text)[1:-1],
    "JSON with slashes": lambda text: json.dumps(text, ensure_ascii=False)[1:-1].replace("/", "\\/"),
    "JSON, all of it": lambda text: "".join(f"\\u{unit:04x}" for unit in memoryview(text.encode("utf-16-le")).cast("H")),
    "Python": lambda text: repr(text)[1:-1],
    "Python, as bytes": lambda text: repr(text.encode())[2:-1],
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64 behind one": lambda text: base64.b64encode(b":" + text.encode() + b".").decode(),
    "base64 behind two": lambda text: base64.b64encode(b"w:" + text.encode() + b"..").decode(),
    "base64 for addresses": lambda text: base64.urlsafe_b64encode(b"id:" + text.encode()).decode().rstrip("="),
    "base64 in a form": lambda text: quote_plus(base64.b64encode(text.encode())),
    "a form in base64": lambda text: base64.b64encode(quote_plus(text).encode()).decode(),
    "base64 behind a path": lambda text: "a/bc/" + base64.b64encode(text.encode()).decode(),
}
