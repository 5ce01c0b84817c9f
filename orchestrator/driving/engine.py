"""The contract of an engine: it drives the shards that a coordinator has claimed, in this process or in others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import anyio

from orchestrator.driving.leases import LeaseKeeper
from orchestrator.driving.limits import RateGroup
from orchestrator.driving.observers import Observers
from orchestrator.driving.options import Job
from orchestrator.driving.orders import Orders
from orchestrator.driving.plan import Plan
from orchestrator.driving.readings import Meter
from orchestrator.driving.reuse import ReusedInstances
from orchestrator.errors import CheckpointError
from orchestrator.lifecycle.arrivals import Arrivals
from orchestrator.lifecycle.run import RunRecord
from orchestrator.lifecycle.scenario import Scenario
from orchestrator.load.collector import Collector
from orchestrator.load.live import Live
from orchestrator.load.thresholds import Verdict


class Engine(Protocol):
    """Drives instances. Its numbers are available once :meth:`open` has returned."""

    @property
    def has_reset(self) -> bool:
        """Whether all ended instances that the plan resets have been reset."""

    @property
    def unreadable(self) -> Sequence[CheckpointError]:
        """Unreadable checkpoints; all other instances are driven."""

    @property
    def broken(self) -> str | None:
        """The threshold that ended the scenario."""

    @property
    def live(self) -> Live:
        """The numbers of the run now."""

    @property
    def collector(self) -> Collector | None:
        """The measurements of this process; ``None``: others measure."""

    @property
    def rate_groups(self) -> dict[str, RateGroup]:
        """The rate groups of this process."""

    @property
    def arrivals(self) -> Arrivals | None:
        """The arrivals of an open scenario so far; ``None`` for a closed one."""

    def meter(self) -> Meter:
        """Count the measurements from now on, for exporters of metrics."""

    def verdicts(self) -> list[Verdict]:
        """Judge all thresholds now."""

    def close(self) -> None:
        """Admit nothing more."""

    def change(self, scenario: Scenario) -> None:
        """Go on by another scenario."""

    def obey(self, orders: Orders) -> None:
        """Follow the launcher of the run, if this process has one."""

    async def open(self, observers: Observers) -> None:
        """Read earlier measurements."""

    async def keep(self, fail: Callable[[Exception], None]) -> None:
        """Measure and judge, until cancelled.

        Args:
            fail: Called with an error that ends the run.
        """

    async def drive(
        self, services: Any, settings: Any, stopping: anyio.Event, fail: Callable[[Exception], None], observers: Observers
    ) -> None:
        """Drive all instances until they have ended or the run is stopped.

        Args:
            settings: The settings that the services were opened with.
            stopping: When set, suspend instances instead of going on.
            fail: Called with the error that ends the run.
        """

    async def save(self) -> None:
        """Store the measurements up to now."""

    async def done(self) -> list[int]:
        """The finished ones of the shards that are claimed now, according to the store."""


EngineFactory = Callable[[Job[Any, Any], RunRecord, Plan, LeaseKeeper, ReusedInstances[Any] | None, int | None], Engine]
"""Job, run, plan, claimed shards, instances to reuse, the only instance to retry or roll back → engine."""
