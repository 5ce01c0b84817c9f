"""Admission: which instance may start, and when. It adds a clock to the scenario; the clock stops while no process drives the run.

A worker takes a *place*, drives an instance in it, and gives the place back. In a ramp the stages set the number of places: an
instance that begins no further round (it tears down or rolls back) has left its place already, so that the ramp counts only
instances that make load. Without a ramp there are as many places as workers.
"""

from __future__ import annotations

import math

import anyio

from orchestrator.clock import Clock
from orchestrator.driving.places import Places
from orchestrator.lifecycle.scenario import Scenario
from orchestrator.lifecycle.share import Share


class Admission:
    """Decides when the next instance may start, and whether one may begin another round.

    Args:
        elapsed: Seconds of the scenario that passed in earlier processes.
        share: The part of the run that this process drives.
        cuts: Whether unfinished instances are cut off after the graceful stop.
        places: Instances that this process drives at once; ``None``: its share of those of the scenario.
    """

    def __init__(
        self,
        scenario: Scenario,
        clock: Clock,
        elapsed: float = 0.0,
        *,
        share: Share | None = None,
        cuts: bool = True,
        places: int | None = None,
    ) -> None:
        self.scenario = scenario
        self.share = share or Share()
        self._fixed = places
        self._length = scenario.ends_at if cuts else None
        self.cut_at = math.inf
        """Steady time at which unfinished instances are cut off; infinite: never."""
        self.active = 0
        """Number of instances being driven."""
        self.started = 0
        """Instances of the share that all processes have started."""
        self.held = 0
        """Number of places that wait because instances failed there repeatedly in their first round."""
        self._clock = clock
        self._before = elapsed
        self._began: float | None = None
        self._closed = anyio.Event()
        self._turns = anyio.Event()
        """Set: workers that wait for the turn of their instance look again when it is due."""
        self._no_more = anyio.Event()
        """Set: no worker waits for a place any more; one that has a number may wait for its turn."""
        self.aborted = self._ended = False
        self._places = Places()

    def begin(self) -> None:
        """Start the scenario's clock."""
        self._began = self._clock.steady()
        if self._length is not None:
            self.cut_at = self._began + self._length - self._before

    @property
    def places(self) -> int:
        """Instances that this process drives at once, at most."""
        if self._fixed is not None:
            return self._fixed
        scenario = self.scenario
        return self.share.part(min(scenario.cap, scenario.cap if scenario.total is None else scenario.total))

    @property
    def elapsed(self) -> float:
        """Seconds of the scenario, over all processes."""
        return self._before if self._began is None else self._before + self._clock.steady() - self._began

    @property
    def is_over(self) -> bool:
        """Whether the scenario has ended: by its time, by a broken threshold, or because all instances have started. A resume then
        finds only unfinished instances."""
        end = self.scenario.ends_at if self.scenario.is_open else self.scenario.length
        return self.aborted or self._ended or (end is not None and self.elapsed >= end)

    @property
    def is_cut(self) -> bool:
        """Whether the time of unfinished instances is over."""
        return self._clock.steady() >= self.cut_at

    @property
    def wanted(self) -> int:
        """The load that a closed scenario wants now, in running instances; 0 for an open one, which wants arrivals."""
        if self.scenario.is_open or self.is_over:
            return 0
        level = self._level
        return min(level, self._places.taken) if self._no_more.is_set() else level

    def close(self) -> None:
        """Admit nothing more, and wake all waiting workers."""
        self._closed.set()
        self._turns.set()
        self.complete()

    def change(self, scenario: Scenario) -> None:
        """Go on by another scenario, which may want more instances or fewer, sooner or later. A fixed number of places stays."""
        self.scenario = scenario
        if not self._closed.is_set():
            turns, self._turns = self._turns, anyio.Event()
            turns.set()
            self._no_more = anyio.Event()
        self._places.changed.set()

    def abort(self) -> None:
        """End the scenario now: no instance is admitted, no further round begins."""
        self.aborted = True
        self.close()

    def end(self) -> None:
        """Every worker has found that nothing more may start."""
        self._ended = True

    def complete(self) -> None:
        """The last number has been taken."""
        self._no_more.set()
        self._places.changed.set()

    async def place(self) -> bool:
        """Wait for a place, which the caller must give back; ``False``: there will be none, or none for this process."""
        if self._fixed is not None or not self.scenario.varies:
            return self._takes_place()
        async with self._places.door:
            while not self._no_more.is_set() and not self.is_over:
                opens = self.scenario.slot_opens(self.share.nth(self._places.going), self.elapsed)
                if opens is not None and opens <= self.elapsed:
                    return self._takes_place()
                self._places.changed = anyio.Event()
                closes = math.inf if self.scenario.length is None else self.scenario.length
                await self._until(closes if opens is None else opens, self._places.changed)
        return False

    def take_place(self) -> None:
        """Take a place without waiting, for an instance that has started already."""
        self._places.take()

    def leave(self, number: int) -> None:
        """This instance begins no further round; in a ramp another instance may take its place."""
        self._places.leave(number)

    def give_back(self, number: int | None) -> bool:
        """Give back the place of a worker; ``False``: it must not be filled again.

        Args:
            number: The instance that the worker drove, if any.
        """
        return self._places.give_back(number)

    async def hold_back(self, index: int, failed: int) -> float:
        """Wait before refilling a place in which ``failed`` instances in a row finished no round. Returns the seconds that the
        scenario asks for."""
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
        """Wait until an instance is due. Returns its lateness in seconds, or ``None``: it will not start."""
        while not self._closed.is_set():
            due = self.scenario.due(number)
            if due <= self.elapsed:
                break
            closes = self.scenario.length
            if closes is not None and closes <= min(due, self.elapsed):
                return None  # a change of the rate has moved it behind the end
            await self._until(due if closes is None else min(due, closes), self._turns)
        if self._closed.is_set() or self.is_cut:
            return None
        return max(0.0, self.elapsed - self.scenario.due(number)) if self.scenario.is_open else 0.0

    def wants_round(self, number: int, done: int) -> bool:
        """Whether an instance that finishes its ``done``-th round now should begin another."""
        self._places.stay(number)
        if self.aborted:
            return False
        if self.scenario.replaces and not self.scenario.has_time(number, done, self.elapsed):
            self._places.leave_closed(number)
            return False
        if self._places.going > self._level:
            # Marked at once: the next caller must not count this instance, or a ramp would lose more than it wants.
            self._places.leave(number)
            return False
        return self.scenario.wants_round(number, done, self.elapsed)

    def pause(self, number: int, done: int) -> float:
        """Seconds between the ``done``-th round of an instance and the next."""
        return self.scenario.pause(number, done)

    @property
    def _level(self) -> int:
        """How many places of this process a closed scenario wants filled now."""
        return self._fixed if self._fixed is not None else self.share.part(self.scenario.concurrency_at(self.elapsed))

    def _takes_place(self) -> bool:
        if self._no_more.is_set() or self.is_over:
            return False
        self._places.take()
        return True

    async def _until(self, moment: float, event: anyio.Event) -> None:
        with anyio.CancelScope(deadline=self._clock.deadline(moment - self.elapsed)):
            await event.wait()
