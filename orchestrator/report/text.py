"""A summary as text for people."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.instance import Status
from orchestrator.report.summary import SHOWN, Summary


def lines(summary: Summary, suffix: str = "") -> Iterator[str]:
    """The end of a run, line by line: its verdict, the proof, what exists, what is left over, what comes next.

    Args:
        suffix: Flags that the commands which come next need, e.g. `` --store x.db``.
    """
    counts = ", ".join(f"{number} {status}" for status, number in sorted(summary.counts.items()))
    yield f"Run {summary.run_id}: {counts}"
    yield from _failures(summary)
    yield from _proof(summary)
    yield from _existing(summary)
    yield from _leftovers(summary)
    yield ""
    yield "Next"
    for command, why in next_commands(summary, suffix):
        yield f"  {command:<44} {why}"


def next_commands(summary: Summary, suffix: str = "") -> list[tuple[str, str]]:
    """The commands that make sense now, with what they do."""
    run = f"{summary.run_id}{suffix}"
    commands = []
    if summary.unfinished:
        commands.append((f"orchestrator resume {run}", "go on where it stopped"))
    if summary.counts.get(Status.ROLLBACK_FAILED):
        commands.append((f"orchestrator cleanup {run}", "try again to remove what is left over"))
    elif summary.existing:
        commands.append((f"orchestrator cleanup {run}", "remove what it made"))
    total = sum(summary.counts.values())
    commands.append(
        (f"orchestrator show {summary.run_id}{'-0' if total == 1 else ''}{suffix}", "its history, and where it stands")
    )
    return commands


def _failures(summary: Summary) -> Iterator[str]:
    if summary.failures:
        yield ""
        yield "Failed"
    for instance, failure in summary.failures:
        yield f"  {instance} in {failure.state}, attempt {failure.attempt} ({failure.kind}): {failure.message}"
        if failure.trace:
            yield from (f"    {line}" for line in failure.trace.rstrip().splitlines())


def _proof(summary: Summary) -> Iterator[str]:
    completed = summary.counts.get(Status.COMPLETED, 0)
    if completed == 1 and len(summary.proofs) == 1:
        facts = next(iter(summary.proofs.values()))
        if facts:
            yield ""
            yield "Proof"
        for label, fact in facts.items():
            yield f"  {label:<16} {fact}"
    elif completed:
        yield f"  each of the {completed} completed instances has shown its proof (orchestrator show INSTANCE)"


def _existing(summary: Summary) -> Iterator[str]:
    yield ""
    if not summary.existing:
        yield "Nothing of it exists in the environment."
        return
    total = sum(summary.existing.values())
    yield f"What exists in the environment because of it: {total}"
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
