"""Signals: the first drains, the second cancels. Only for our own program; an embedding program handles signals itself."""

from __future__ import annotations

import signal
from collections.abc import Callable

import anyio


async def watch_signals(drain: Callable[[str], None], cancel: Callable[[str], None]) -> None:
    """Call ``drain`` with the name of the first SIGINT or SIGTERM, ``cancel`` with that of any later one.

    The handlers that were there before are restored; the event loop would leave Python's own.
    """
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with anyio.open_signal_receiver(*before) as signals:
            act = drain
            async for number in signals:
                act(signal.Signals(number).name)
                act = cancel
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
