"""The relay: brings events and log records of worker processes to the launcher, whose observers and handlers take them.

A worker sends them in batches, ten times a second, in order. The last batch has arrived before the launcher acts on the end of the
task. A worker that is killed loses those of its last moment; its history in the store is complete.
"""

from __future__ import annotations

import logging
import traceback
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import anyio
import attrs
import orjson

from orchestrator.driving.observers import Observers
from orchestrator.driving.orders import Follower, Observed
from orchestrator.json_types import JSONObject
from orchestrator.lifecycle.events import Event, EventKind, Observer
from orchestrator.telemetry.logs import FIELDS

BATCH_S = 0.1
IDLE_S = 1.0
"""How often a worker looks whether somebody wants events."""
LAST_S = 5.0
"""How long the launcher waits for the last batch of a task."""
RECORDS = 1000
"""Log records that may wait; further ones are dropped."""
_RELAYED = "relayed"
_NAMES = tuple(field.name for field in attrs.fields(Event))


@attrs.frozen(kw_only=True)
class Batch:
    """Events and log records of one task."""

    number: int
    events: list[Event] = attrs.field(factory=list)
    records: list[JSONObject] = attrs.field(factory=list)

    def dumps(self) -> str:
        """As JSON."""
        events = [[getattr(event, name) for name in _NAMES] for event in self.events]
        return orjson.dumps([self.number, events, self.records]).decode()

    @classmethod
    def loads(cls, text: str) -> Batch:
        """The inverse of :meth:`dumps`."""
        number, rows, records = orjson.loads(text)
        events = []
        for row in rows:
            fields = dict(zip(_NAMES, row, strict=True))
            events.append(Event(**fields | {"kind": EventKind(fields["kind"])}))
        return cls(number=number, events=events, records=records)


class Sender:
    """The end of the relay in a worker.

    Args:
        send: Sends a batch to the launcher.
        fields: Fields of all log records, e.g. the run.
    """

    def __init__(self, send: Callable[[Batch], None], fields: Mapping[str, Any]) -> None:
        self.sent = 0
        """Number of the latest batch."""
        self._send = send
        self._fields = fields
        self._events: list[Event] = []
        self._records: deque[JSONObject] = deque(maxlen=RECORDS)
        self._observed = Observed.NOTHING

    async def keep(self, follower: Follower, add: Callable[[Observer], None]) -> None:
        """Send again and again, until cancelled.

        Args:
            add: Adds an observer to the run of this process.
        """
        while True:
            self.observe(follower.orders.observed, add)
            await anyio.sleep(IDLE_S if self._observed is Observed.NOTHING else BATCH_S)
            self.flush()

    def observe(self, wanted: Observed, add: Callable[[Observer], None]) -> None:
        """Take the events that the launcher wants from now on."""
        if wanted is self._observed:
            return
        if self._observed is Observed.NOTHING:
            add(_Stored(self._events.append))
        if wanted is Observed.ALL:
            add(_Attempts(self._events.append))
        self._observed = wanted

    def log(self, record: JSONObject) -> None:
        """Send a log record with the next batch. Called from any thread."""
        self._records.append({**record, FIELDS: {**self._fields, **record[FIELDS]}})

    def flush(self) -> None:
        """Send the waiting messages."""
        records = [self._records.popleft() for _ in range(len(self._records))]
        if self._events or records:
            self.sent += 1
            self._send(Batch(number=self.sent, events=self._events.copy(), records=records))
            self._events.clear()


class _Stored:
    """An observer of stored events."""

    stored_only = True

    def __init__(self, take: Callable[[Event], None]) -> None:
        self._take = take

    def __call__(self, event: Event) -> None:
        self._take(event)


class _Attempts:
    """An observer of the other events."""

    def __init__(self, take: Callable[[Event], None]) -> None:
        self._take = take

    def __call__(self, event: Event) -> None:
        if event.seq is None:
            self._take(event)


class RelayHandler(logging.Handler):
    """Gives warnings and errors to the relay, instead of printing them where nobody looks. Those of Dask stay in their process."""

    def __init__(self, sender: Sender) -> None:
        super().__init__(logging.WARNING)
        self._sender = sender

    def emit(self, record: logging.LogRecord) -> None:
        """See the base class."""
        if record.name.partition(".")[0] in ("distributed", "tornado") or hasattr(record, _RELAYED):
            return
        try:
            fields = dict(getattr(record, FIELDS, {}))
            if record.exc_info and record.exc_info[0] is not None:
                fields["exception"] = "".join(traceback.format_exception(*record.exc_info))
            said = {"logger": record.name, "level": record.levelno, "at": record.created, "message": record.getMessage()}
            self._sender.log({**said, FIELDS: fields})
        except Exception:  # noqa: BLE001  # a border, as in the base class
            self.handleError(record)


class Receiver:
    """The end of the relay in the launcher."""

    def __init__(self, observers: Observers) -> None:
        self._observers = observers
        self._latest: dict[str, int] = {}
        """Attempt → number of the latest batch."""
        self._news = anyio.Event()

    @property
    def observed(self) -> Observed:
        """The events that are wanted now."""
        if self._observers.observe_attempts:
            return Observed.ALL
        return Observed.STORED if self._observers.observe_any else Observed.NOTHING

    def take(self, attempt: str, batch: Batch) -> None:
        """A batch has arrived."""
        self._latest[attempt] = batch.number
        for event in batch.events:
            if event.seq is None:
                self._observers.publish_attempt(event)
            else:
                self._observers.publish((event,))
        for record in batch.records:
            _log(record)
        self._news.set()

    async def wait_for(self, attempt: str, number: int) -> None:
        """Wait until the last batch of an attempt has arrived."""
        with anyio.move_on_after(LAST_S):
            while self._latest.get(attempt, 0) < number:
                self._news = anyio.Event()
                await self._news.wait()
        self._latest.pop(attempt, None)


def _log(said: JSONObject) -> None:
    """Log a record of a worker as if it were ours."""
    logger = logging.getLogger(said["logger"])
    if not logger.isEnabledFor(said["level"]):
        return
    record = logging.LogRecord(said["logger"], said["level"], __file__, 0, said["message"], None, None)
    record.created = said["at"]
    setattr(record, FIELDS, said[FIELDS])
    setattr(record, _RELAYED, True)
    logger.handle(record)
