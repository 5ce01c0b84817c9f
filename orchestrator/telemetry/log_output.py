"""Writes log records to stderr in a thread: a reader that does not read must not stop the run.

Records that wait are bounded; what does not fit is dropped, counted, and told when there is room again.
"""

from __future__ import annotations

import logging
import queue
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

CAPACITY = 10_000
"""Records that may wait."""
CLOSE_S = 2.0
"""How long the last records may take when the program ends."""


class ThreadedHandler(logging.Handler):
    """Formats a record at once and leaves the writing to a thread."""

    def __init__(self, stream: TextIO, capacity: int = CAPACITY) -> None:
        super().__init__()
        self._stream = stream
        self._lines: queue.Queue[str | None] = queue.Queue(capacity)
        self._dropped = 0
        self._ends = threading.Event()
        # A daemon: a thread that hangs in a write must not keep the program.
        self._thread = threading.Thread(target=self._write_all, name="orchestrator log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """See the base class."""
        try:
            self._lines.put_nowait(self.format(record))
        except queue.Full:
            self._dropped += 1
        except Exception:  # noqa: BLE001  # a border, as in the base class
            self.handleError(record)

    def close(self) -> None:
        """Write the last records, within ``CLOSE_S``."""
        self._ends.set()
        try:
            self._lines.put_nowait(None)
        except queue.Full:
            pass  # the thread is busy, and looks at `_ends` after its next line
        self._thread.join(CLOSE_S)
        super().close()

    def _write_all(self) -> None:
        try:
            while (line := self._lines.get()) is not None or not self._lines.empty():
                if line is not None:
                    self._write(line)
                if self._ends.is_set() and self._lines.empty():
                    break
            if self._dropped:
                self._tell_dropped()
        except (OSError, ValueError):
            pass  # the reader has gone, or the stream is closed

    def _write(self, line: str) -> None:
        if self._dropped and self._lines.qsize() < self._lines.maxsize // 2:
            self._tell_dropped()
        # On a terminal, a live display stands in for the stream, and prints the line above itself.
        stream = sys.stderr if self._stream.isatty() else self._stream
        stream.write(line + "\n")
        if self._lines.empty():
            stream.flush()

    def _tell_dropped(self) -> None:
        dropped, self._dropped = self._dropped, 0
        record = logging.LogRecord(
            "orchestrator.log",
            logging.WARNING,
            __file__,
            0,
            "%d log records were dropped: stderr is read too slowly",
            (dropped,),
            None,
        )
        self._stream.write(self.format(record) + "\n")
        self._stream.flush()


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
