"""Compares a second start of a run with the first one: the same run, or other arguments under its id."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import attrs

from orchestrator.errors import RunConflictError, shortened
from orchestrator.inspection.stored_run import AnyStoredRun
from orchestrator.lifecycle.rows import Rows
from orchestrator.lifecycle.run import RunRecord
from orchestrator.lifecycle.scenario import Scenario
from orchestrator.secret import secrets_in
from orchestrator.settings import settings_of

_SAME = ("workflow", "on_failure", "on_success", "rates", "thresholds", "abort", "recorded")
"""Fields of a record that determine the run. A resume checks its definition, which may have changed since. Its reports belong
to the command that writes them."""


def changed_settings(stored: AnyStoredRun, wanted: RunRecord, settings: object, *, same_rows: bool) -> Mapping[str, object]:
    """The renewable settings (credentials) that a second start changes, for the resumption.

    Args:
        wanted: The record that the second start would have stored.
        settings: Its settings of the workflow.
        same_rows: Whether both have rows with the same content, or none.

    Raises:
        RunConflictError: The second start asks for another run.
    """
    differences = [*_differences(stored.record, wanted), *_row_differences(stored.record.rows, wanted.rows, same_rows)]
    changes = {}
    if wanted.workflow == stored.record.workflow:
        before = stored.settings()
        renewable = {one.name for one in settings_of(stored.workflow.settings) if one.renewable}
        for name in attrs.fields_dict(type(before)) if before is not None else ():
            old, new = getattr(before, name), getattr(settings, name)
            if old != new and name in renewable:
                changes[name] = new
            elif old != new:
                differences.append(_difference(name, old, new))
    if differences:
        raise RunConflictError(wanted.id, differences)
    return changes


def _differences(stored: RunRecord, wanted: RunRecord) -> Iterator[str]:
    for name in _SAME:
        old, new = getattr(stored, name), getattr(wanted, name)
        if old != new:
            yield _difference(name, old, new)
    for field in attrs.fields(Scenario):
        if field.name == "changes":
            continue  # made while the run was driven
        old, new = getattr(stored.scenario, field.name), getattr(wanted.scenario, field.name)
        if old != new:
            yield _difference(field.name, old, new)


def _row_differences(stored: Rows | None, wanted: Rows | None, same: bool) -> Iterator[str]:
    if stored is None or wanted is None:
        if stored is not wanted:
            yield "data was not given" if stored is None else "data was given"
        return
    if stored.count != wanted.count:
        yield f"data has {wanted.count} rows, and had {stored.count}"
    elif not same:
        yield "rows of data have changed"
    if stored.repeat != wanted.repeat:
        yield _difference("data_repeat", stored.repeat, wanted.repeat)


def _difference(name: str, old: object, new: object) -> str:
    """One difference in words. A secret is not shown."""
    label = name.replace("_", "-")
    if any(True for _ in secrets_in([old, new])):
        return f"{label} differs"
    return f"{label} is {_shown(old)}, not {_shown(new)}"


def _shown(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={item}" for key, item in value.items()) or "none"
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    return shortened(value) if isinstance(value, str) and type(value) is str else "none" if value is None else str(value)
