"""Selects runs for ``list`` and ``prune``: the flags, and the filter that they make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from orchestrator.cli.flags import Leading, flag
from orchestrator.errors import SettingError, shortened
from orchestrator.lifecycle.duration import parse_duration
from orchestrator.lifecycle.run import RunStatus
from orchestrator.storage.listing import RunFilter

STATUS: dict[str, Leading] = {
    "status": (
        flag(
            list[str] | None,
            "--status",
            f"Only runs with this status. Can be repeated. [choices: {', '.join(status.value for status in RunStatus)}]",
        ),
        None,
    )
}
WORKFLOW: dict[str, Leading] = {"workflow": (flag(str | None, "--workflow", "Only runs of this workflow."), None)}
_MOMENT = "a date (2026-11-24), a time (2026-11-24T09:30) or an age (2h, 30d)"
PERIOD: dict[str, Leading] = {
    "since": (flag(str | None, "--since", f"Only runs that started then or later: {_MOMENT}."), None),
    "before": (flag(str | None, "--before", f"Only runs that started earlier: {_MOMENT}."), None),
}


def filter_of(flags: Mapping[str, object], now: float) -> RunFilter:
    """The filter that the flags of this module make. Raises ``SettingError``.

    Args:
        now: Ages are counted back from this Unix time.
    """
    moments = {name: parse_moment(name, str(flags[name]), now) for name in PERIOD if flags.get(name) is not None}
    if {"since", "before"} <= moments.keys() and moments["since"] >= moments["before"]:
        raise SettingError("since", f"{flags['since']} is not earlier than --before {flags['before']}, so no run can match")
    statuses, workflow = flags.get("status"), flags.get("workflow")
    return RunFilter(
        statuses=statuses_of(statuses) if isinstance(statuses, list) else None,
        workflow=None if workflow is None else str(workflow),
        **moments,
    )


def statuses_of(given: Sequence[str]) -> list[RunStatus]:
    """Statuses by their names. Raises ``SettingError``."""
    known = {status.value: status for status in RunStatus}
    words = [word.strip().lower().replace("-", "_") for text in given for word in text.split(",")]
    for word in words:
        if word not in known:
            raise SettingError("status", f"must be one of {', '.join(known)}, not {shortened(word)}")
    return [known[word] for word in words]


def parse_moment(name: str, text: str, now: float) -> float:
    """The Unix time of a date or a time (in the zone of this machine, unless it names one), or of an age. Raises ``SettingError``."""
    try:
        if not text.strip().isdecimal():  # 20261124 is a date, not a number of seconds
            return now - parse_duration(text)
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(text.strip()).astimezone().timestamp()
    except (ValueError, OverflowError):
        raise SettingError(name, f"{shortened(text)} is not {_MOMENT}") from None
