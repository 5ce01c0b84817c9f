"""Orders and reports: the messages between the launcher of a run and the processes that drive its shards."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any

import anyio
import attrs
import orjson

from orchestrator.clock import Clock
from orchestrator.driving.readings import Readings
from orchestrator.json_types import JSONObject
from orchestrator.load.live import Live

POLL_S = 0.02
LONGEST_WAIT_S = 5.0
"""Limit of the wait for a common start: the clocks of two machines may differ."""


@attrs.frozen(kw_only=True)
class Abort:
    """A broken threshold has ended the scenario."""

    threshold: str
    missed: int
    """Arrivals that were due and had not started."""
    recorder: int
    """The shard that stores it."""


class Observed(StrEnum):
    """The events that observers of the launcher want."""

    NOTHING = "nothing"
    STORED = "stored"
    ALL = "all"
    """Those of attempts, too."""


@attrs.frozen(kw_only=True)
class Orders:
    """Orders of the launcher. Each set replaces the one before."""

    number: int = 0
    slots: int | None = None
    """The most shards that are driven at once: they divide the rates; ``None``: all that are not done."""
    start_at: float | None = None
    """Unix time at which the scenario goes on in all processes; ``None``: not agreed yet."""
    abort: Abort | None = None
    stop: bool = False
    """Let attempts in flight finish, and suspend the rest."""
    cancel: bool = False
    """Suspend everything now."""
    metered: bool = False
    """Whether the launcher exports metrics, and needs readings."""
    observed: Observed = Observed.NOTHING

    def changed(self, **changes: Any) -> Orders:
        """The next orders; the same ones if nothing changes."""
        changed = attrs.evolve(self, **changes)
        return self if changed == self else attrs.evolve(changed, number=self.number + 1)

    def dumps(self) -> str:
        """As JSON."""
        return orjson.dumps(attrs.asdict(self)).decode()

    @classmethod
    def loads(cls, text: str) -> Orders:
        """The inverse of :meth:`dumps`."""
        data: JSONObject = orjson.loads(text)
        abort = Abort(**data["abort"]) if data["abort"] else None
        return cls(**data | {"abort": abort, "observed": Observed(data["observed"])})


@attrs.frozen(kw_only=True)
class Report:
    """The report of a process, sent each second. Numbers are totals, so that a lost report does no harm."""

    number: int
    orders: int
    """Number of the latest orders that it follows."""
    live: Live
    waits: bool = False
    """Whether it waits for the common start."""
    total: str | None = None
    """The sum of the measurements (:class:`~orchestrator.load.window.Window`), if thresholds are judged."""
    windows: Mapping[str, str | None] = attrs.field(factory=dict)
    """``EPOCH.SEQ`` → a changed window of statistics; ``None``: it was merged into another one."""
    readings: Readings | None = None
    """For metrics, up to the last stored measurements; ``None``: not wanted, or not stored yet."""

    def dumps(self) -> str:
        """As JSON."""
        readings = None if self.readings is None else self.readings.dumps()
        data = attrs.asdict(self, recurse=False) | {"live": self.live.dumps().decode(), "readings": readings}
        return orjson.dumps(data).decode()

    @classmethod
    def loads(cls, text: str) -> Report:
        """The inverse of :meth:`dumps`."""
        data: JSONObject = orjson.loads(text)
        readings = None if data["readings"] is None else Readings.loads(data["readings"])
        return cls(**data | {"live": Live.loads(data["live"]), "readings": readings})


class Follower:
    """The link of a driving process to its launcher. Lives on the event loop that drives."""

    def __init__(self, orders: Orders, send: Callable[[Report], None], *, judged: bool) -> None:
        self.orders = orders
        self.judged = judged
        """Whether the launcher judges thresholds, and needs the windows for that."""
        self.last: Report | None = None
        """The latest report."""
        self._send = send
        self._changed = anyio.Event()
        self._number = 0
        self._waits = False

    def receive(self, orders: Orders) -> None:
        """Replace the orders, unless they are older."""
        if orders.number > self.orders.number:
            self.orders = orders
            self._changed.set()

    async def changed(self) -> None:
        """Wait for new orders."""
        await self._changed.wait()
        self._changed = anyio.Event()

    async def wait_for_start(self, clock: Clock, stopping: anyio.Event, live: Live) -> None:
        """Wait until the agreed moment, so that all processes start together."""
        self._waits = True
        self.report(live)
        while self.orders.start_at is None and not stopping.is_set():
            await clock.sleep(POLL_S)
        if self.orders.start_at is not None and not stopping.is_set():
            await clock.sleep(min(max(0.0, self.orders.start_at - clock.now()), LONGEST_WAIT_S))
        self._waits = False

    def report(
        self,
        live: Live,
        total: str | None = None,
        windows: Mapping[str, str | None] | None = None,
        readings: Readings | None = None,
    ) -> None:
        """Send the numbers of this process."""
        self._number += 1
        self.last = Report(
            number=self._number,
            orders=self.orders.number,
            waits=self._waits,
            live=live,
            total=total,
            windows=windows or {},
            readings=readings,
        )
        self._send(self.last)
