"""A run as its page shows it: the parts of the page, which are replaced one by one while the run goes on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import attrs

from orchestrator.inspection.rows import StateRow, move_counts
from orchestrator.inspection.snapshot import Snapshot
from orchestrator.inspection.standing import driver
from orchestrator.inspection.stored_run import AnyStoredRun
from orchestrator.lifecycle.duration import show_duration
from orchestrator.lifecycle.instance import Status
from orchestrator.lifecycle.run import RunStatus
from orchestrator.load.figures import figure
from orchestrator.load.series import LATE, is_work
from orchestrator.report.machine_svg import machine_svg
from orchestrator.report.text import milliseconds
from orchestrator.web.controls import Controls, controls_of
from orchestrator.web.render import fragment
from orchestrator.web.site import Site
from orchestrator.web.timeline import Moment, Stretch, stretches, timeline

PARTS = ("status", "controls", "tiles", "thresholds", "states", "machine", "errors", "shards", "timeline", "effects")
"""Parts of the page; each has a template of its name."""


@attrs.frozen(kw_only=True)
class Tile:
    """A number at the top."""

    value: str
    label: str


@attrs.frozen(kw_only=True)
class PlaceRow:
    """A state: its measurements, and the instances that are in it."""

    row: StateRow
    here: int
    oldest: tuple[int, float] | None


@attrs.frozen(kw_only=True)
class ShardRow:
    """A shard and its driver."""

    index: int
    driver: str
    elapsed: float
    done: bool


@attrs.frozen(kw_only=True)
class RunView:
    """See the module."""

    found: Snapshot
    moved_before: Mapping[tuple[str, str], int]
    """The transitions of the view before, to mark those taken since."""
    controls: Controls
    error: str | None
    """The error that ended the latest drive of this process."""

    @property
    def id(self) -> str:
        """The run."""
        return self.found.record.id

    @property
    def badge(self) -> tuple[str, str]:
        """Style and word of the status."""
        record = self.found.record
        if self.found.is_driven:
            return "active", record.status.value.replace("_", " ")
        if record.status is not RunStatus.FINISHED:
            return "warn", "interrupted"
        if self.found.counts.get(Status.ROLLBACK_FAILED):
            return "bad", "leftovers remain"
        broken = [verdict for verdict in self.found.measurements.verdicts if not verdict.holds]
        if broken or self.found.measurements.aborted:
            return "bad", "threshold broken"
        return ("bad", "instances failed") if self.found.failed and not record.thresholds else ("good", "finished")

    @property
    def counts(self) -> list[tuple[str, int, str]]:
        """Status, number, and its style."""
        styles = {Status.COMPLETED: "good", Status.FAILED: "bad", Status.ROLLED_BACK: "bad", Status.ROLLBACK_FAILED: "bad"}
        return [(status.value, number, styles.get(status, "")) for status, number in self.found.counts.items() if number]

    @property
    def moves(self) -> Mapping[tuple[str, str], int]:
        """(state, outcome) → how often it was taken."""
        return move_counts(self.found.run.workflow, self.found.statistics)

    @property
    def machine(self) -> str:
        """The machine as a picture."""
        found, moves = self.found, self.moves
        moving = {way for way, count in moves.items() if self.moved_before and count > self.moved_before.get(way, 0)}
        failed = {row.state: row.failed for row in found.measurements.states}
        return machine_svg(found.run.workflow, moves, failed, self.found.here, moving if found.is_driven else ())

    @property
    def tiles(self) -> list[Tile]:
        """The numbers at the top."""
        return [Tile(value=value, label=label) for label, value in self._tiles()]

    def _tiles(self) -> Iterator[tuple[str, str]]:
        found, rates = self.found, self.found.rates
        if found.is_driven:
            if rates.due is not None:
                yield "due", f"{figure(rates.due)}/s"
            yield "started", f"{figure(rates.started)}/s"
            yield "ended", f"{figure(rates.ended)}/s"
            if rates.rounds:
                yield "rounds", f"{figure(rates.rounds)}/s"
            yield "errors", f"{figure(rates.errors)}/s"
            yield "active now", f"{found.active:,}"
            if not found.record.scenario.is_open and rates.wanted:
                yield "wanted", figure(rates.wanted)
        if found.arrivals is not None:
            if found.is_driven:
                yield "backlog", f"{found.arrivals.waiting:,}"
            yield "started late", f"{found.statistics.total.counters[LATE]:,}"
            yield "missed", f"{found.measurements.missed:,}"
        yield "ended in all", f"{found.ended:,}"
        yield "did not complete", f"{found.failed:,}"
        for name, latency in found.measurements.segments:
            if is_work(name):
                yield f"{name.replace('_', ' ')} p95", f"{milliseconds(latency.at(95))} ms"
        yield "elapsed", show_duration(round(found.elapsed, 1 if found.elapsed < 60 else 0))

    @property
    def states(self) -> list[PlaceRow]:
        """A row for each state."""
        found = self.found
        return [
            PlaceRow(row=row, here=found.here.get(row.state, 0), oldest=found.oldest.get(row.state))
            for row in found.measurements.states
        ]

    @property
    def shards(self) -> list[ShardRow]:
        """A row for each shard."""
        return [
            ShardRow(index=shard.index, driver=driver(shard) or "", elapsed=shard.elapsed, done=shard.done)
            for shard in self.found.shards
        ]

    @property
    def timeline(self) -> list[Moment]:
        """The events of the run, in order."""
        return timeline(self.found)

    @property
    def stretches(self) -> list[Stretch]:
        """When processes drove the run."""
        return stretches(self.found)

    def part(self, name: str) -> str:
        """One part of the page."""
        return fragment(f"run/{name}.html", view=self, found=self.found)


async def view_of(site: Site, run: AnyStoredRun, before: RunView | None = None) -> RunView:
    """A run as it is now.

    Args:
        before: The view that the page shows.
    """
    found = await site.snapshot(run)
    return RunView(
        found=found,
        moved_before=before.moves if before is not None else {},
        controls=controls_of(site, found),
        error=site.drives.errors.get(run.record.id),
    )
