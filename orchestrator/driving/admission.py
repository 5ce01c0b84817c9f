"""Admission: who may start, and when. The scenario with a clock that stands still while no process drives the run.

A worker takes a *place*, drives an instance in it, and gives it back. In a ramp the number of places follows the stages: an
instance that will not go round again (it tears down, it rolls back) has left its place already, so that the ramp counts those
that make load. Without a ramp there are as many places as workers.
"""

from __future__ import annotations

import math

import anyio

from orchestrator.clock import Clock
from orchestrator.lifecycle.scenario import Scenario
from orchestrator.lifecycle.share import Share


class Admission:
    """Says when the next instance may start, and whether one may go round again.

    Args:
        elapsed: Seconds of the scenario that earlier processes have spent.
        share: The part of the run that this process drives.
        cuts: Whether what is under way when the scenario's time is over is cut off.
    """

    def __init__(
        self, scenario: Scenario, clock: Clock, elapsed: float = 0.0, *, share: Share | None = None, cuts: bool = True
    ) -> None:
        self.scenario = scenario
        self.share = share or Share()
        self._length = scenario.ends_at if cuts else None
        self.cut_at = math.inf
        """Steady time at which what is under way is cut off; infinite: never."""
        self.active = 0
        """How many instances are being driven."""
        self.started = 0
        """Instances of the share that were started, by all processes."""
        self.held = 0
        """How many places wait because instance after instance failed there in its first round."""
        self._clock = clock
        self._before = elapsed
        self._began: float | None = None
        self._closed = anyio.Event()
        self._no_more = anyio.Event()
        """Set: nobody need wait for a place any more; whoever has a number may wait for its turn."""
        self.aborted = self._ended = False
        self._taken = 0
        """Places that workers have."""
        self._leaving: set[int] = set()
        """Instances that have a worker and will not go round again."""
        self._through: set[int] = set()
        """Instances that do not go round again for want of time: in their places there is none for a new instance either."""
        self._door = anyio.Lock()
        """Held by the worker that gets the next place of a ramp; the others wait behind it."""
        self._changed = anyio.Event()
        """Set: the one at the door looks again."""

    def begin(self) -> None:
        """The scenario's clock runs from here on."""
        self._began = self._clock.steady()
        if self._length is not None:
            self.cut_at = self._began + self._length - self._before

    @property
    def elapsed(self) -> float:
        """Seconds of the scenario, over all processes."""
        return self._before if self._began is None else self._before + self._clock.steady() - self._began

    @property
    def is_over(self) -> bool:
        """Whether the scenario has ended, by its time, by a broken threshold, or because nothing more is to be started: a resume
        finds only what is under way."""
        end = self.scenario.ends_at if self.scenario.is_open else self.scenario.length
        return self.aborted or self._ended or (end is not None and self.elapsed >= end)

    @property
    def is_cut(self) -> bool:
        """Whether what is under way has had its time."""
        return self._clock.steady() >= self.cut_at

    @property
    def wanted(self) -> int:
        """How many instances a closed scenario wants to be under way now; 0 for an open one, whose arrivals are what is wanted."""
        if self.scenario.is_open or self.is_over:
            return 0
        level = self._level
        return min(level, self._taken) if self._no_more.is_set() else level

    def close(self) -> None:
        """Admit nothing more; whoever waits is told."""
        self._closed.set()
        self.complete()

    def abort(self) -> None:
        """End the scenario here: nothing more is admitted, no further round begins."""
        self.aborted = True
        self.close()

    def end(self) -> None:
        """Every worker has found that nothing more is to be started."""
        self._ended = True

    def complete(self) -> None:
        """The last number has been taken."""
        self._no_more.set()
        self._changed.set()

    async def place(self) -> bool:
        """Wait for a place, to be given back; ``False``: there will be none, or not for us."""
        if not self.scenario.stages:
            return self._takes_place()
        async with self._door:
            while not self._no_more.is_set() and not self.is_over:
                opens = self.scenario.slot_opens(self.share.nth(self._going), self.elapsed)
                if opens is not None and opens <= self.elapsed:
                    return self._takes_place()
                self._changed = anyio.Event()
                assert self.scenario.length is not None
                await self._until(self.scenario.length if opens is None else opens, self._changed)
        return False

    def take_place(self) -> None:
        """A place without asking, for what is under way already."""
        self._taken += 1

    def leave(self, number: int) -> None:
        """This instance will not go round again; in a ramp another one may take its place."""
        if number not in self._through:
            self._leaving.add(number)
            self._changed.set()

    def give_back(self, number: int | None) -> bool:
        """A place, by the worker that took it; ``False``: it is not to be filled again.

        Args:
            number: The instance that it drove, if there was one.
        """
        if number is not None:
            self._leaving.discard(number)
            if number in self._through:
                return False
        self._taken -= 1
        self._changed.set()
        return True

    async def hold_back(self, index: int, failed: int) -> float:
        """Wait before a place is filled again in which ``failed`` instances in a row finished no round; how long that was meant
        to be, in seconds."""
        seconds = 0.0 if self._no_more.is_set() or self.is_over else self.scenario.hold_back(self.share.nth(index), failed)
        until = min(self.elapsed + seconds, self.scenario.length or math.inf)
        self.held += seconds > 0
        try:
            while until > self.elapsed and not self._no_more.is_set() and not self.is_over:
                await self._until(until, self._no_more)
        finally:
            self.held -= seconds > 0
        return seconds

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
        for told in (self._leaving, self._through):
            told.discard(number)  # asked again, after an attempt that failed
        if self.aborted:
            return False
        if self.scenario.replaces and not self.scenario.has_time(number, done, self.elapsed):
            self._through.add(number)
            return False
        if self._going > self._level:
            # Marked at once: the next one that asks must not count it, or a ramp would lose more than it wants.
            self.leave(number)
            return False
        return self.scenario.wants_round(number, done, self.elapsed)

    def pause(self, number: int, done: int) -> float:
        """Seconds between the ``done``-th round of an instance and the next."""
        return self.scenario.pause(number, done)

    @property
    def _level(self) -> int:
        """How many of our places a closed scenario wants filled now."""
        return self.share.part(self.scenario.concurrency_at(self.elapsed))

    @property
    def _going(self) -> int:
        """Places whose instances make load."""
        return self._taken - len(self._leaving)

    def _takes_place(self) -> bool:
        if self._no_more.is_set() or self.is_over:
            return False
        self._taken += 1
        return True

    async def _until(self, moment: float, told: anyio.Event) -> None:
        with anyio.CancelScope(deadline=self._clock.deadline(moment - self.elapsed)):
            await told.wait()
