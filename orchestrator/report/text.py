"""A summary as text for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from orchestrator.inspection.details import FAILED_SHOWN
from orchestrator.inspection.summary import SHOWN, Summary
from orchestrator.lifecycle.duration import show_duration
from orchestrator.lifecycle.instance import Failure, Status
from orchestrator.lifecycle.run import RunStatus
from orchestrator.load.latency import Latency
from orchestrator.load.series import HELD_BACK, LATE, REPLACED, ROUND_DONE, ROUND_FAILED, is_work
from orchestrator.load.window import ErrorKey, ErrorTally

ERRORS_SHOWN = 8
_WIDTHS = (6, 5, 6, 6, 6, 6, 6, 6)
"""Columns of the table, each after a blank."""


def lines(summary: Summary, suffix: str | None = "") -> Iterator[str]:
    """The end of a run, line by line: verdict, failures, measurements, proof, existing effects, leftovers, next commands.

    Args:
        suffix: Flags that the next commands need, e.g. `` --store x.db``; ``None`` if there are no next commands, because the
            store was in memory.
    """
    yield f"Run {summary.run_id}: {counted(summary)}"
    if summary.aborted:
        yield "  ended early, by a broken threshold"
    yield from _verdicts(summary)
    yield from _failures(summary)
    yield from _more_failures(summary)
    yield from _measured(summary)
    yield from _proof(summary)
    yield from _existing(summary)
    yield from _leftovers(summary)
    yield ""
    if suffix is None:
        yield "The store was in memory: no further commands are possible for this run."
        return
    yield "Next"
    for command, why in next_commands(summary, suffix):
        yield f"  {command:<44} {why}"


def counted(summary: Summary) -> str:
    """The instances by status; pending ones are called *missed* or *not started*."""
    missed = summary.missed and not summary.unfinished and not summary.aborted
    words = {Status.PENDING: "missed" if missed else "not started"}
    shown = [(words.get(status, status.value), number) for status, number in sorted(summary.counts.items())]
    return ", ".join(f"{number} {word}" for word, number in shown) or "nothing was started"


def milliseconds(seconds: float | None) -> str:
    """Milliseconds with about three digits."""
    if seconds is None:
        return ""
    value = seconds * 1000
    return f"{value:.1f}" if value < 100 else f"{value:.0f}"


def _verdicts(summary: Summary) -> Iterator[str]:
    """Broken thresholds first."""
    for verdict in sorted(summary.verdicts, key=lambda verdict: verdict.holds):
        yield f"  {'holds ' if verdict.holds else 'BROKEN'}  {verdict.text}: {verdict.found}"


def _measured(summary: Summary) -> Iterator[str]:
    """The table of latencies, for a run of several instances or rounds."""
    if summary.admitted <= 1 and summary.scenario.rounds == 1:
        return
    statistics = summary.statistics
    rates = [f"{statistics.rate(name):.1f} {name}/s" for name, _ in summary.segments if _is_rated(summary, name)]
    yield ""
    yield f"Measured in {show_duration(round(statistics.seconds, 1))}, in milliseconds" + (
        f": {', '.join(rates)}" if rates else ""
    )
    yield _row("", ("ok", "retr.", "recov.", "failed", "p50", "p95", "p99", "max"))
    for row in summary.states:
        yield _row(row.state, (row.ok or "", row.retried or "", row.recovered or "", row.failed or "", *_latency(row.whole)))
    for name, latency in summary.segments:
        yield _row(name, (latency.count, "", "", "", *_latency(latency)))
    late_ends = [f"{more} {name}" for name, latency in summary.segments if (more := latency.count - statistics.ended(name)) > 0]
    if late_ends and statistics.seconds:
        yield f"  ended in the graceful stop: in the percentiles, in no rate: {', '.join(late_ends)}"
    yield from _users(summary)
    if late := statistics.total.counters[LATE]:
        yield f"  {late} arrivals started more than 0.1 s late"
    yield from (f"  {note}" for note in measuring_notes(summary))
    for at, idle in statistics.gaps:
        yield f"  interrupted for {show_duration(round(idle, 1))} after {show_duration(round(at, 1))}"
    yield from _shards(summary)
    if summary.errors:
        yield ""
        yield "Errors"
    for error in summary.errors[:ERRORS_SHOWN]:
        yield f"  {error_line(error.key, error.tally)}"
    if (more := len(summary.errors) - ERRORS_SHOWN) > 0:
        yield f"  … and {more} other kinds (orchestrator report {summary.run_id})"


def _shards(summary: Summary) -> Iterator[str]:
    """The shards of a run of several."""
    if not summary.shards:
        return
    yield ""
    yield "Shards"
    for row in summary.shards:
        yield f"  {row.shard:>3}  {row.ended:>6} ended  {row.cpu_s:>7.1f} s CPU  {row.driver}"
        for at, idle in row.gaps:
            yield f"       not driven for {show_duration(round(idle, 1))} after {show_duration(round(at, 1))}"


def measuring_notes(summary: Summary) -> Iterator[str]:
    """Reasons why fewer instances were measured than ended."""
    if warm := summary.ended_in_warm_up:
        yield f"{warm} instances ended in the warm-up and are not counted"
    if lost := summary.unmeasured:
        why = "a kill loses the statistics since the last save, a clean-up or retry has none"
        yield (
            f"{lost} instances ended after the last save of the statistics"
            if summary.unfinished
            else f"{lost} instances ended unmeasured: {why}"
        )


def _users(summary: Summary) -> Iterator[str]:
    """Rounds, and the actual load beside the wanted one, for a scenario with several rounds."""
    total, measured, scenario = summary.statistics.total, summary.statistics.measured(), summary.scenario
    if scenario.rounds == 1:
        return
    done, failed = total.counters[ROUND_DONE], total.counters[ROUND_FAILED]
    share = f" ({100 * failed / (done + failed):.2g} %)" if failed else ""
    yield f"  {done} rounds finished, {failed} failed{share}"
    if scenario.replaces:
        replaced, held = total.counters[REPLACED], total.counters[HELD_BACK]
        users = f"  users on average: {measured.wanted:.3g} wanted, {measured.offered:.3g} in their rounds; {replaced} replaced after a failure"
        yield users + (f", {held} of them after a wait, because several in a row had failed" if held else "")


def error_line(key: ErrorKey, tally: ErrorTally) -> str:
    """Errors of one kind, e.g. ``47 × create_user 503 (transient), e.g. …``."""
    code = "" if key.code.replace("_", " ") == key.kind else key.code
    return f"{tally.count} × {' '.join(filter(None, (key.state, code)))} ({key.kind}), e.g. {tally.example}"


def _is_rated(summary: Summary, name: str) -> bool:
    return bool(summary.statistics.seconds) and is_work(name)


def _row(name: str, cells: Iterable[object]) -> str:
    """A row of the table, 80 columns wide; longer cells move the next ones, and never touch them."""
    return f"  {name:<23}" + "".join(f" {cell:>{width}}" for cell, width in zip(cells, _WIDTHS, strict=True)).rstrip()


def _latency(latency: Latency | None) -> tuple[str, ...]:
    if latency is None:
        return ("",) * 4
    return tuple(milliseconds(value) for value in (latency.at(50), latency.at(95), latency.at(99), latency.max))


def next_commands(summary: Summary, suffix: str = "") -> list[tuple[str, str]]:
    """The commands that are useful now, with their purpose."""
    run = f"{summary.run_id}{suffix}"
    cleaning = summary.status is RunStatus.CLEANING_UP
    removes = ""
    if cleaning:
        removes = "continue removing its objects"
    elif summary.counts.get(Status.ROLLBACK_FAILED):
        removes = "try again to remove the leftovers"
    elif summary.existing:
        removes = "remove its objects"
    commands = []
    if summary.unfinished and not cleaning:
        commands.append((f"orchestrator resume {run}", "continue the run"))
    if summary.counts.get(Status.FAILED) and not summary.unfinished:
        commands.append((f"orchestrator retry {run}", "retry the failed instances"))
    if removes:
        commands.append((f"orchestrator cleanup {run}", removes))
    if summary.admitted > 1:
        commands.append((f"orchestrator report {run}", "charts, as one HTML file"))
    total = sum(summary.counts.values())
    commands.append((f"orchestrator show {summary.run_id}{'-0' if total == 1 else ''}{suffix}", "status and history"))
    return commands


def _failures(summary: Summary) -> Iterator[str]:
    if summary.failures:
        yield ""
        yield "Failed"
    alike: dict[tuple[str, str, str], list[tuple[str, Failure]]] = {}
    for instance, failure in summary.failures:
        alike.setdefault((failure.state, failure.kind, failure.code or failure.message), []).append((instance, failure))
    for (instance, failure), *others in alike.values():
        more = f" and {len(others)} more" if others else ""
        yield f"  {instance}{more} in {failure.state}, attempt {failure.attempt} ({failure.kind}): {failure.message}"
        if failure.trace:
            yield from (f"    {line}" for line in failure.trace.rstrip().splitlines())


def _more_failures(summary: Summary) -> Iterator[str]:
    if (more := summary.failed - len(summary.failures)) > 0 and summary.failures:
        yield f"  … and {more} more (orchestrator report {summary.run_id} --junit FILE lists up to {FAILED_SHOWN})"


def _proof(summary: Summary) -> Iterator[str]:
    completed = summary.counts.get(Status.COMPLETED, 0)
    if completed == 1 and len(summary.proofs) == 1:
        facts = next(iter(summary.proofs.values()))
        if facts:
            yield ""
            yield "Proof"
        for label, fact in facts.items():
            yield f"  {label:<16} {fact}"
    elif completed > 1 and summary.proofs:
        yield f"  all {completed} completed instances have shown their proof (orchestrator show INSTANCE)"


def _existing(summary: Summary) -> Iterator[str]:
    yield ""
    if not summary.existing:
        yield "Nothing of it exists in the environment."
        return
    total = sum(summary.existing.values())
    yield f"Objects of the run in the environment: {total}"
    if total > SHOWN:
        for kind, number in summary.existing.items():
            yield f"  {number} {kind}{'s' if number > 1 else ''}"
        return
    for item in summary.standing:
        known = item.effect.id or "(its id was never seen: it may or may not exist)"
        yield f"  {item.effect.kind:<12} {item.effect.name}  {known}"


def _leftovers(summary: Summary) -> Iterator[str]:
    if summary.leftovers:
        yield ""
        yield "Left over, could not be removed"
    for instance, left in summary.leftovers:
        yield f"  {left.effect.kind} {left.effect.name} ({left.effect.id or 'id unknown'}) of {instance}: {left.error}"
