"""The collector: turns the events of a run into statistics, in windows that the store keeps.

Rules of this package:

* The hot path appends to lists. A tick, every two seconds, turns them into histograms and into rows for the store.
* The stored windows are bounded for a run of any length (see :mod:`orchestrator.load.timeline`).
* Timings are counted here, outcomes of instances never: those are counted from the checkpoints.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import attrs
import psutil

from orchestrator.clock import Clock
from orchestrator.definition.workflow import AnyWorkflow
from orchestrator.lifecycle.events import Event
from orchestrator.load.recorder import Recorder
from orchestrator.load.statistics import Statistics
from orchestrator.load.tally import Tap
from orchestrator.load.timeline import Interval, Rows, Timeline
from orchestrator.load.window import Window
from orchestrator.storage.lease import this_process
from orchestrator.storage.records import StoredWindow


@attrs.frozen(kw_only=True)
class Progress:
    """The numbers that a collector gets from the admission."""

    elapsed: Callable[[], float]
    """Seconds of the scenario that have been spent."""
    active: Callable[[], int]
    """Number of instances under way."""
    wanted: Callable[[], int] = lambda: 0
    """Number that a closed scenario wants."""
    aborted: Callable[[], bool] = lambda: False
    """Whether the scenario was ended before its time."""


@attrs.define
class _Samples:
    """How many instances were under way since the last tick."""

    active: tuple[int, int, int] = (0, 0, 0)
    load: tuple[int, int] = (0, 0)

    def add(self, active: int, wanted: int, offered: int) -> None:
        total, number, highest = self.active
        self.active = (total + active, number + 1, max(highest, active))
        self.load = (self.load[0] + wanted, self.load[1] + offered)


class Collector:
    """An observer that keeps the statistics of a run; :meth:`tick` returns the rows to store.

    Args:
        rounds: Whether the scenario goes round, so that an instance makes load only in its rounds.
        arrivals: Whether instances are due by the clock, so that a start may be late.
        earlier: Windows that earlier processes have stored of the same shards.
        begins: Seconds of the scenario that were spent before; ``None``: as far as ``earlier`` reaches.
    """

    stored_only = True

    def __init__(
        self,
        workflow: AnyWorkflow,
        clock: Clock,
        progress: Progress,
        interval: Interval,
        *,
        rounds: bool = False,
        arrivals: bool = False,
        earlier: Iterable[StoredWindow] = (),
        begins: float | None = None,
    ) -> None:
        self._clock, self._progress, self._rounds = clock, progress, rounds
        self._timeline = Timeline(interval, begins, progress.aborted, earlier)
        self.statistics: Statistics = self._timeline.statistics
        self.recorder = Recorder(workflow, clock, arrivals=arrivals, earlier=self.statistics.windows)
        self.counters = self.recorder.counters
        """The counters of the run as a whole, over all processes."""
        self.tap: Tap | None = None
        """Receives the measurements, too."""
        self._samples = _Samples()
        self._cpu_s, self._process = time.process_time(), str(this_process())

    def __call__(self, event: Event) -> None:
        self.recorder(event)

    @property
    def recent(self) -> Window:
        """The measurements between the last two ticks."""
        return self._timeline.recent

    @property
    def offered(self) -> int:
        """How many instances make load now: those in their rounds if the scenario has rounds, else all that are under way."""
        return self.recorder.in_rounds if self._rounds else self._progress.active()

    @property
    def next_tick(self) -> float:
        """Seconds until the next tick is due."""
        return self._timeline.next_tick(self._progress.elapsed())

    def steady(self) -> float:
        """The clock of the times in ``recorder.place``."""
        return self._clock.steady()

    def sample(self) -> None:
        """Note how many instances are under way; not for a window whose time is over, though its tick is a moment late."""
        if not self._timeline.is_full(self._progress.elapsed()):
            self._samples.add(self._progress.active(), self._progress.wanted(), self.offered)

    def tick(self) -> Rows:
        """Add the measurements since the last tick."""
        return self._timeline.tick(self._progress.elapsed(), self._clock.now(), self._measure)

    def _measure(self, recent: Window) -> None:
        self.recorder.pour(recent, self.tap)
        self.sample()
        recent.active, recent.load, recent.memory = self._samples.active, self._samples.load, resident_bytes()
        spent = time.process_time()
        recent.cpu_s, recent.process, self._cpu_s = spent - self._cpu_s, self._process, spent
        self._samples = _Samples()
        if self.tap is not None:
            self.tap.ticked(recent)


def resident_bytes() -> int:
    """Memory of this process that is in RAM."""
    return int(psutil.Process().memory_info().rss)
