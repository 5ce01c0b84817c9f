"""A run as JUnit XML. It has a failure or an error if, and only if, the exit code of the run is not 0.

The cases are the thresholds; then the states of a single instance, or one case for each failed instance and one for the completed
ones. If a threshold limits how many instances may fail, a failed instance is a *skipped* case, like an expected failure in pytest.

Source: the format that CI servers read (https://github.com/testmoapp/junitxml).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from xml.etree import ElementTree as ET

import attrs

from orchestrator.inspection.details import Details
from orchestrator.lifecycle.events import EventKind
from orchestrator.lifecycle.instance import Failure, Status

_NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@attrs.frozen(kw_only=True)
class _Case:
    """A test case."""

    group: str
    name: str
    seconds: float | None = None
    kind: str | None = None
    """``failure``, ``error`` or ``skipped``; ``None``: it passed."""
    message: str = ""
    type: str | None = None
    details: str = ""


def document(details: Details) -> str:
    """The XML text."""
    summary = details.summary
    cases = [*_thresholds(details), *(_states(details) if details.history else _instances(details)), *_run(details)]
    kinds = [case.kind for case in cases]
    numbers = {
        "tests": str(len(cases)),
        "failures": str(kinds.count("failure")),
        "errors": str(kinds.count("error")),
        "skipped": str(kinds.count("skipped")),
        "time": f"{summary.statistics.elapsed:.3f}",
    }
    name = f"{summary.workflow} {summary.run_id}"
    root = ET.Element("testsuites", {"name": name} | numbers)
    suite = ET.SubElement(root, "testsuite", {"name": name} | numbers)
    for case in cases:
        element = ET.SubElement(suite, "testcase", classname=f"{summary.workflow}.{case.group}", name=_clean(case.name))
        if case.seconds is not None:
            element.set("time", f"{case.seconds:.3f}")
        if case.kind is not None:
            outcome = ET.SubElement(element, case.kind, message=_clean(case.message))
            if case.type is not None:
                outcome.set("type", case.type)
            if case.details:
                outcome.text = _clean(case.details)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _thresholds(details: Details) -> Iterator[_Case]:
    for verdict in details.summary.verdicts:
        yield _Case(group="thresholds", name=verdict.text, kind=None if verdict.holds else "failure", message=verdict.found)


def _states(details: Details) -> Iterator[_Case]:
    """Each state of the only instance, with the duration of its attempts."""
    failures = {failure.state: (status, failure) for _, status, failure in details.failed}
    for state in details.workflow.states:
        events = [event for event in details.history if event.state == state.name and event.handler in ("run", "recover")]
        seconds = sum(event.duration_s or 0.0 for event in events)
        if state.name in failures:
            yield _failed(details, "states", state.name, *failures.pop(state.name), seconds=seconds)
        elif any(event.kind is EventKind.MOVED for event in events):
            yield _Case(group="states", name=state.name, seconds=seconds)
        else:
            yield _Case(group="states", name=state.name, kind="skipped", message="the instance did not reach this state")
    # The user rolled the instance back, or leftovers remain.
    for instance, status, failure in details.failed:
        if failure.state in failures or status is Status.ROLLBACK_FAILED:
            yield _failed(details, "instances", instance, status, failure)


def _instances(details: Details) -> Iterator[_Case]:
    summary = details.summary
    for instance, status, failure in details.failed:
        yield _failed(details, "instances", instance, status, failure)
    if (more := details.failures - len(details.failed)) > 0:
        left = summary.counts.get(Status.ROLLBACK_FAILED, 0)
        kind = "skipped" if summary.failures_allowed and not left else "failure"
        message = f"only the first {len(details.failed)} are listed one by one"
        yield _Case(group="instances", name=f"{more} more that failed", kind=kind, message=message)
    if completed := summary.counts.get(Status.COMPLETED, 0):
        yield _Case(group="instances", name=f"{completed} completed", seconds=summary.statistics.elapsed)


def _failed(details: Details, group: str, name: str, status: Status, failure: Failure, *, seconds: float | None = None) -> _Case:
    """A failed instance, or the state in which it failed."""
    message = (
        f"{failure.state}, attempt {failure.attempt} ({failure.kind}): {failure.message}" if failure.state else failure.message
    )
    kind = "error" if failure.kind == "bug" else "failure"
    if details.summary.failures_allowed and status is not Status.ROLLBACK_FAILED:
        kind, message = "skipped", f"the thresholds decide how many may fail: {message}"
    return _Case(
        group=group, name=name, seconds=seconds, kind=kind, message=message, type=status.value, details=failure.trace or message
    )


def _run(details: Details) -> Iterator[_Case]:
    """Cases for a run that was ended early, or interrupted."""
    if details.summary.aborted:
        name, message = "the scenario reaches its end", "a broken threshold ended it early"
        yield _Case(group="run", name=name, kind="failure", message=message)
    if details.summary.unfinished:
        message = f"it was interrupted; `orchestrator resume {details.summary.run_id}` continues it"
        yield _Case(group="run", name="the run is finished", kind="failure", message=message)


def _clean(text: str) -> str:
    """Replaces control characters, which XML does not allow even when escaped."""
    return _NOT_XML.sub("�", text)
