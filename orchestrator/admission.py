"""Admission: who may start, and when. The scenario with a clock that stands still while no process drives the run."""

from __future__ import annotations

import anyio

from orchestrator.clock import Clock
from orchestrator.scenario import Scenario


class Admission:
    """Says when the next instance may start, and whether one may go round again.

    Args:
        elapsed: Seconds of the scenario that earlier processes have spent.
        cuts: Whether what is under way when the scenario's time is over is cut off.
    """

    def __init__(self, scenario: Scenario, clock: Clock, elapsed: float = 0.0, *, cuts: bool = True) -> None:
        self.scenario = scenario
        self._cut_at = scenario.ends_at if cuts else None
        self.active = 0
        """How many instances are being driven."""
        self._clock = clock
        self._before = elapsed
        self._began: float | None = None
        self._closed = anyio.Event()
        self._no_more = anyio.Event()
        """Set: nobody need wait for a place any more; whoever has a number may wait for its turn."""
        self._aborted = False

    def begin(self) -> None:
        """The scenario's clock runs from here on."""
        self._began = self._clock.steady()

    @property
    def elapsed(self) -> float:
        """Seconds of the scenario, over all processes."""
        return self._before if self._began is None else self._before + self._clock.steady() - self._began

    @property
    def is_over(self) -> bool:
        """Whether the scenario has ended, by its time or by a broken threshold: nothing is left to a resume but what is
        under way. (One that ends by number is over when the store holds that many.)"""
        end = self.scenario.ends_at if self.scenario.is_open else self.scenario.length
        return self._aborted or (end is not None and self.elapsed >= end)

    @property
    def is_cut(self) -> bool:
        """Whether what is under way has had its time."""
        return self._cut_at is not None and self.elapsed >= self._cut_at

    def close(self) -> None:
        """Admit nothing more; whoever waits is told."""
        self._closed.set()
        self._no_more.set()

    def abort(self) -> None:
        """End the scenario here: nothing more is admitted, no further round begins."""
        self._aborted = True
        self.close()

    def complete(self) -> None:
        """The last number has been taken."""
        self._no_more.set()

    async def slot(self, index: int) -> bool:
        """Wait until more than ``index`` instances may be under way; ``False``: never again, or not by us."""
        while not self._no_more.is_set() and not self.is_over:
            opens = self.scenario.slot_opens(index, self.elapsed)
            if opens is None:
                return False
            if opens <= self.elapsed:
                return True
            await self._until(opens, self._no_more)
        return False

    async def turn(self, number: int) -> float | None:
        """Wait until an instance is due; how late it is, in seconds, or ``None``: it will not start."""
        due = self.scenario.due(number)
        while due > self.elapsed and not self._closed.is_set():
            await self._until(due, self._closed)
        if self._closed.is_set() or self.is_cut:
            return None
        return max(0.0, self.elapsed - due) if self.scenario.is_open else 0.0

    def wants_round(self, number: int, done: int) -> bool:
        """Whether an instance that finishes its ``done``-th round now is to begin another."""
        if self._aborted or self.active > self.scenario.concurrency_at(self.elapsed):
            return False
        return self.scenario.wants_round(number, done, self.elapsed)

    def pause(self, number: int, done: int) -> float:
        """Seconds between the ``done``-th round of an instance and the next."""
        return self.scenario.pause(number, done)

    def cut_in(self) -> float | None:
        """Seconds until what is under way is cut off; ``None``: never."""
        return None if self._cut_at is None else max(0.0, self._cut_at - self.elapsed)

    async def _until(self, moment: float, told: anyio.Event) -> None:
        with anyio.CancelScope(deadline=self._clock.deadline(moment - self.elapsed)):
            await told.wait()
