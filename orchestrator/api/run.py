"""A run that this process drives, as an embedding program sees it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, TypeAlias

from orchestrator.definition.state import C
from orchestrator.definition.workflow import Workflow
from orchestrator.driving.coordinator import Coordinator
from orchestrator.driving.limits import RateGroup
from orchestrator.driving.readings import Meter
from orchestrator.errors import ConfigurationError
from orchestrator.inspection.result import RunResult
from orchestrator.lifecycle.arrivals import Arrivals
from orchestrator.lifecycle.events import EventStream
from orchestrator.lifecycle.instance import Instance
from orchestrator.lifecycle.scenario import Scenario
from orchestrator.load.collector import Collector
from orchestrator.load.live import Live
from orchestrator.load.statistics import Statistics
from orchestrator.load.thresholds import Verdict
from orchestrator.storage.commits import ObserveCommit


class Run(Generic[C]):
    """A run that this process drives."""

    def __init__(self, coordinator: Coordinator[C, Any], *, existed: bool = False) -> None:
        self.existed = existed
        """Whether :func:`start` found this run under the id that it was given."""
        self._coordinator = coordinator

    @property
    def id(self) -> str:
        """The run's id, for ``resume`` and the command line."""
        return self._coordinator.record.id

    @property
    def command(self) -> str:
        """The arguments of ``orchestrator`` that continue the run after an error, e.g. ``resume 261123-k7m3qp``."""
        return self._coordinator.command

    async def wait(self) -> RunResult:
        """Wait until every instance has ended, or the run was stopped.

        Raises:
            StoreError: The store failed, or another process has claimed the run, which stays resumable.
            LeaseExpiredError: The lease of this process has expired.
        """
        await self._coordinator.ended.wait()
        if self._coordinator.error is not None:
            self._coordinator.raised = True
            raise self._coordinator.error
        assert self._coordinator.result is not None
        return self._coordinator.result

    def events(self) -> EventStream:
        """Stream all events from now on; the stream ends with the run. Call before the first ``await`` to miss none."""
        return self._coordinator.observers.stream()

    def stop(self, request: str | None = None) -> None:
        """Admit nothing more, let attempts in flight finish within the grace period, suspend the rest.

        Args:
            request: Who has asked for it, in words, for :attr:`requests`.
        """
        if request is not None:
            self._coordinator.requests.append(request)
        self._coordinator.stop()

    @property
    def requests(self) -> Sequence[str]:
        """Requests of other processes while this process drives the run, in words, e.g. ``stopped from the web page``."""
        return self._coordinator.requests

    def cancel(self) -> None:
        """Suspend everything at once."""
        self._coordinator.cancel()

    @property
    def live(self) -> Live:
        """The numbers of the run now: instances, states, errors, the latest latencies."""
        return self._coordinator.engine.live

    @property
    def is_spread(self) -> bool:
        """Whether worker processes drive the run, and measure it."""
        return self._coordinator.engine.collector is None

    @property
    def is_whole(self) -> bool:
        """Whether this process alone drives and measures the run, so that :attr:`statistics` are those of the run."""
        return self._coordinator.measures_all

    @property
    def statistics(self) -> Statistics:
        """The measurements up to the last tick, over all processes that have driven the shards of this one. Do not change them.

        Raises:
            ConfigurationError: Worker processes drive the run, and measure it; :attr:`live` has their numbers.
        """
        return self._collector.statistics

    def observe_commits(self, observe: ObserveCommit) -> None:
        """Call ``observe`` after each commit of checkpoints to the store of the run, from now on."""
        self._coordinator.store.observe_commits(observe)

    def meter(self) -> Meter:
        """Count all measurements from now on, for exporters of metrics. Worker processes that drive the run send theirs."""
        return self._coordinator.engine.meter()

    @property
    def _collector(self) -> Collector:
        collector = self._coordinator.engine.collector
        if collector is None:
            raise ConfigurationError(f"worker processes measure run {self.id}: this process has no measurements of its own")
        return collector

    @property
    def elapsed(self) -> float:
        """Seconds of the scenario that have passed."""
        return self.live.elapsed

    @property
    def wanted(self) -> int:
        """The load that a closed scenario wants now, in running instances."""
        return self.live.wanted

    @property
    def workflow(self) -> Workflow[C, Any]:
        """The workflow of the run."""
        return self._coordinator.workflow

    @property
    def active(self) -> int:
        """Number of instances that are driven now."""
        return self.live.active

    @property
    def shards(self) -> int:
        """Number of shards of the run."""
        return self._coordinator.shards

    @property
    def rate_groups(self) -> dict[str, RateGroup]:
        """The rate groups of this process: their rates and pauses."""
        return self._coordinator.engine.rate_groups

    @property
    def held_back(self) -> int:
        """Places of a soak that wait to be refilled, because several instances in a row failed there."""
        return self.live.held_back

    @property
    def verdicts(self) -> list[Verdict]:
        """The thresholds, judged on the numbers up to the last tick."""
        return self._coordinator.engine.verdicts()

    @property
    def arrivals(self) -> Arrivals | None:
        """Due, started and waiting instances of an open scenario; ``None`` for a closed one."""
        return self._coordinator.engine.arrivals

    @property
    def arrivals_over(self) -> bool:
        """Whether no more arrivals start; those that wait are missed."""
        ends_at = self.scenario.ends_at
        return self.aborted is not None or (ends_at is not None and self.elapsed >= ends_at)

    @property
    def aborted(self) -> str | None:
        """The broken threshold that ended the scenario, if any."""
        return self._coordinator.engine.broken

    @property
    def scenario(self) -> Scenario:
        """How instances are admitted."""
        return self._coordinator.record.scenario

    async def instance(self, number: int) -> Instance[C]:
        """Read an instance from the store."""
        return await self._coordinator.instance(number)


AnyRun: TypeAlias = Run[Any]
"""A run where the context of its instances does not matter."""
