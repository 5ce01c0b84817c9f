"""A collector with a clock that a test moves."""

from __future__ import annotations

from orchestrator import Back, Event, EventKind, NextRound, Segment
from orchestrator.load.collector import Collector, Progress
from orchestrator.load.statistics import Statistics
from orchestrator.load.timeline import Interval
from orchestrator.storage.records import StoredWindow
from tests.support.toy import Ledger, Making, toy

NOW = 1_000_000.0


class Clock:
    """A clock that a test moves."""

    time = 0.0

    def now(self) -> float:
        return NOW + self.time

    def steady(self) -> float:
        return self.time


class Begin(Making):
    transitions = {"done": "sign"}


class Sign(Making):
    outcomes = frozenset({"done", "expired"})
    transitions = {"done": "check", "expired": Back("sign", at_most=3)}


class Check(Making):
    outcomes = frozenset({"done", "again"})
    transitions = {"done": "completed", "again": NextRound("sign")}
    rate_group = "checks"


WORKFLOW = toy(Ledger(), Begin(), Sign(), Check(), segments=(Segment("signing", "sign", "check"),))


class Setting:
    """A collector with its clock."""

    def __init__(self, *, epoch: int = 1, **more) -> None:
        self.epoch = epoch
        self.clock = Clock()
        self.active = 0
        self.rows: dict[int, bytes] = {}
        progress = Progress(
            elapsed=lambda: self.clock.time,
            active=lambda: self.active,
            wanted=more.pop("wanted", int),
            aborted=more.pop("aborted", bool),
        )
        interval = Interval(warm_up=more.pop("warm_up", 0.0), length=more.pop("length", None))
        self.collector = Collector(WORKFLOW, self.clock, progress, interval, **more)

    def tell(self, kind, number=0, state="sign", **more) -> None:
        self.collector(Event(run_id="r", number=number, kind=kind, at=self.clock.now(), state=state, **more))

    def move(self, state, outcome="done", target="", *, total=0.1, handler="run", number=0, **more) -> None:
        self.clock.time += total
        self.tell(
            EventKind.MOVED,
            number,
            state,
            outcome=outcome,
            target=target,
            handler=handler,
            duration_s=total,
            total_s=total,
            **more,
        )

    def tick(self) -> None:
        rows = self.collector.tick()
        self.rows |= rows.stored
        for place in rows.gone:
            del self.rows[place]

    def stored(self, shard: int = 0) -> list[StoredWindow]:
        return [StoredWindow(shard, self.epoch, seq, body) for seq, body in sorted(self.rows.items())]

    def read(self) -> Statistics:
        return Statistics.of(self.stored())


def ticks(at: Setting, until: float) -> None:
    while at.clock.time < until - 0.001:
        at.clock.time += at.collector.next_tick
        at.collector.recorder.tallies["begin"].totals.append(at.clock.time)
        at.tick()
