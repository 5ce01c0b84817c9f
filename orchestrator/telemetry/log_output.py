"""Writes log records to stderr in a thread: a reader that does not read must not stop the run.

The number of waiting records is bounded. Further records are dropped and counted; the count is logged when there is room again.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

CAPACITY = 10_000
"""Records that may wait."""
AT_ONCE = 500
"""Records in one write."""
CLOSE_S = 2.0
"""How long the last records may take when the program ends."""


class ThreadedHandler(logging.Handler):
    """Formats a record at once and leaves the writing to a thread, which writes all that wait together."""

    def __init__(self, stream: TextIO, capacity: int = CAPACITY) -> None:
        super().__init__()
        self._stream = stream
        self._capacity = capacity
        self._lines: deque[str] = deque()
        self._dropped = 0
        self._wake = threading.Event()
        self._ends = False
        # A daemon: a thread that hangs in a write must not keep the program.
        self._thread = threading.Thread(target=self._write_all, name="orchestrator log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """See the base class."""
        if len(self._lines) >= self._capacity:
            self._dropped += 1
            return
        try:
            self._lines.append(self.format(record))
        except Exception:  # noqa: BLE001  # a border, as in the base class
            self.handleError(record)
        if not self._wake.is_set():
            self._wake.set()

    def close(self) -> None:
        """Write the last records, within ``CLOSE_S``."""
        self._ends = True
        self._wake.set()
        self._thread.join(CLOSE_S)
        super().close()

    def _write_all(self) -> None:
        try:
            while not self._ends or self._lines or self._dropped:
                self._wake.wait()
                self._wake.clear()
                while self._lines or self._dropped:
                    self._write(self._taken())
                if self._ends:
                    self._wake.set()
        except (OSError, ValueError):
            pass  # the reader has gone, or the stream is closed

    def _taken(self) -> list[str]:
        """The next lines to write."""
        taken = [self._lines.popleft() for _ in range(min(AT_ONCE, len(self._lines)))]
        if self._dropped and len(self._lines) < self._capacity // 2:
            dropped, self._dropped = self._dropped, 0
            taken.append(self.format(_dropped_record(dropped)))
        return taken

    def _write(self, lines: list[str]) -> None:
        # On a terminal, a live display stands in for the stream, and prints the lines above itself.
        stream = sys.stderr if self._stream.isatty() else self._stream
        stream.write("".join(f"{line}\n" for line in lines))
        stream.flush()


def _dropped_record(count: int) -> logging.LogRecord:
    said = "%d log records were dropped: stderr is read too slowly"
    return logging.LogRecord("orchestrator.log", logging.WARNING, __file__, 0, said, (count,), None)


@contextmanager
def logs_to_stderr(formatter: logging.Formatter, level: int) -> Iterator[None]:
    """Log to stderr while the block lasts: our records from ``level`` on, those of libraries from ``WARNING`` on."""
    handler, root, ours = ThreadedHandler(sys.stderr), logging.getLogger(), logging.getLogger("orchestrator")
    handler.setFormatter(formatter)
    before = ours.level
    root.addHandler(handler)
    ours.setLevel(level)
    try:
        yield
    finally:
        root.removeHandler(handler)
        ours.setLevel(before)
        handler.close()
