"""The numbers of a load run for its displays."""

from __future__ import annotations

import time
from collections import deque

from orchestrator.api import AnyRun
from orchestrator.definition.workflow import AnyWorkflow
from orchestrator.lifecycle.arrivals import Arrivals
from orchestrator.load import series
from orchestrator.load.live import Live
from orchestrator.load.thresholds import Verdict

SAMPLE_EVERY_S = 1.0
SAMPLES_KEPT = 24


class Progress:
    """Numbers read from the run when they are shown; events cause no work here."""

    def __init__(self, workflow: AnyWorkflow) -> None:
        self.workflow = workflow
        self.run: AnyRun | None = None
        self.live = Live()
        """As of the last :meth:`update`."""
        self.rates: deque[float] = deque(maxlen=SAMPLES_KEPT)
        self.actives: deque[float] = deque(maxlen=SAMPLES_KEPT)
        self._sampled = time.monotonic()
        self._finished_then = 0

    @property
    def unit(self) -> str:
        """The unit of the rate: rounds, if instances have several, else instances."""
        return "rounds" if self.run is not None and self.run.scenario.rounds != 1 else "instances"

    def update(self) -> None:
        """Read the run's numbers."""
        if self.run is not None:
            self.live = self.run.live

    @property
    def ended(self) -> dict[str, int]:
        """Status → instances that ended with it."""
        return {status.value: count for status, count in sorted(series.counts_by_status(self.live.counters).items()) if count}

    @property
    def arrivals(self) -> Arrivals | None:
        """The arrivals of an open scenario."""
        return self.run.arrivals if self.run is not None else None

    @property
    def verdicts(self) -> list[Verdict]:
        """The thresholds, judged on the numbers so far."""
        return self.run.verdicts if self.run is not None else []

    @property
    def errors(self) -> int:
        return self.live.count(series.ERRORS)

    def sample(self) -> None:
        """Record the throughput and the concurrency, once a second."""
        now = time.monotonic()
        if self.run is None or now - self._sampled < SAMPLE_EVERY_S:
            return
        self.update()
        round_end = self.workflow.round_end
        finished = self.live.states[round_end].done if self.unit == "rounds" and round_end else sum(self.ended.values())
        self.rates.append((finished - self._finished_then) / (now - self._sampled))
        self.actives.append(self.live.active)
        self._sampled, self._finished_then = now, finished

    def standing(self) -> str:
        """How many have ended, and how."""
        ended = ", ".join(f"{count} {status}" for status, count in self.ended.items())
        return f"{self.live.count(series.STARTED):,} started, {ended or 'none ended'}"

    @property
    def arrivals_over(self) -> bool:
        """Whether no more arrivals start; those that wait are missed."""
        return self.run is not None and self.run.arrivals_over

    @property
    def behind_s(self) -> float | None:
        """Seconds since the next arrival was due; ``None`` if none waits."""
        waits = self.arrivals is not None and self.arrivals.waiting and not self.arrivals_over
        return self.arrivals.behind_s if self.arrivals is not None and waits else None

    def backlog(self) -> str:
        """Arrivals that were due, started, and wait; empty for a closed scenario."""
        arrivals = self.arrivals
        if arrivals is None:
            return ""
        over, behind_s = self.arrivals_over, self.behind_s
        behind = f", {behind_s:.1f} s behind" if behind_s is not None else ""
        return (
            f"{arrivals.due:,} due, {arrivals.started:,} started, {arrivals.waiting:,} {'missed' if over else 'waiting'}{behind}"
        )

    def users(self) -> str:
        """Users in a round, of those wanted; empty for a scenario without constant users."""
        if self.run is None or not self.run.scenario.replaces or not self.live.wanted:
            return ""
        waits = f", {held} wait after failures" if (held := self.live.held_back) else ""
        return f", {self.live.offered} of {self.live.wanted} users in a round{waits}"

    def left(self) -> str:
        """The remaining time, or number of instances."""
        if self.run is None:
            return ""
        scenario, elapsed = self.run.scenario, self.live.elapsed
        if scenario.length is not None:
            rest = scenario.length - elapsed
            return f"{clock(rest)} left" if rest > 0 else "time is over: finishing and tearing down"
        total, ended = scenario.total or 0, sum(self.ended.values())
        if not ended or ended >= total:
            return f"{total} instances"
        return f"{ended} of {total}, about {clock(elapsed / ended * (total - ended))} left"


def clock(seconds: float) -> str:
    """``4:05``, or ``1:04:05``."""
    whole = max(0, round(seconds))
    return f"{whole // 3600}:{whole % 3600 // 60:02}:{whole % 60:02}" if whole >= 3600 else f"{whole // 60}:{whole % 60:02}"
