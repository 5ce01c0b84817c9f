"""A run as JUnit XML. It has a failure or an error exactly if the exit code of the run is not 0.

The cases are the thresholds, then the states of a single instance, or the instances that failed and the others as one case. An
instance that failed is a *skipped* case where the thresholds say how many may fail, as an expected failure of pytest is.

Source: the format that CI servers read (https://github.com/testmoapp/junitxml).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from xml.etree import ElementTree as ET

import attrs

from orchestrator.lifecycle.events import EventKind
from orchestrator.lifecycle.instance import Failure, Status
from orchestrator.report.picture import Picture

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


def document(picture: Picture) -> str:
    """The XML text."""
    summary = picture.summary
    cases = [*_thresholds(picture), *(_states(picture) if picture.history else _instances(picture)), *_run(picture)]
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


def _thresholds(picture: Picture) -> Iterator[_Case]:
    for verdict in picture.summary.verdicts:
        yield _Case(group="thresholds", name=verdict.text, kind=None if verdict.holds else "failure", message=verdict.found)


def _states(picture: Picture) -> Iterator[_Case]:
    """Each state of the only instance, with the time that its attempts took."""
    failures = {failure.state: (status, failure) for _, status, failure in picture.failed}
    for state in picture.workflow.states:
        events = [event for event in picture.history if event.state == state.name and event.handler in ("run", "recover")]
        seconds = sum(event.duration_s or 0.0 for event in events)
        if state.name in failures:
            yield _failed(picture, "states", state.name, *failures.pop(state.name), seconds=seconds)
        elif any(event.kind is EventKind.MOVED for event in events):
            yield _Case(group="states", name=state.name, seconds=seconds)
        else:
            yield _Case(group="states", name=state.name, kind="skipped", message="the instance did not reach this state")
    # It was rolled back by its user, or something of it is left over.
    for instance, status, failure in picture.failed:
        if failure.state in failures or status is Status.ROLLBACK_FAILED:
            yield _failed(picture, "instances", instance, status, failure)


def _instances(picture: Picture) -> Iterator[_Case]:
    summary = picture.summary
    for instance, status, failure in picture.failed:
        yield _failed(picture, "instances", instance, status, failure)
    if (more := picture.failures - len(picture.failed)) > 0:
        left = summary.counts.get(Status.ROLLBACK_FAILED, 0)
        kind = "skipped" if summary.failures_allowed and not left else "failure"
        message = f"only the first {len(picture.failed)} are listed one by one"
        yield _Case(group="instances", name=f"{more} more that failed", kind=kind, message=message)
    if completed := summary.counts.get(Status.COMPLETED, 0):
        yield _Case(group="instances", name=f"{completed} completed", seconds=summary.statistics.elapsed)


def _failed(picture: Picture, group: str, name: str, status: Status, failure: Failure, *, seconds: float | None = None) -> _Case:
    """An instance that failed, or the state in which it did."""
    message = (
        f"{failure.state}, attempt {failure.attempt} ({failure.kind}): {failure.message}" if failure.state else failure.message
    )
    kind = "error" if failure.kind == "bug" else "failure"
    if picture.summary.failures_allowed and status is not Status.ROLLBACK_FAILED:
        kind, message = "skipped", f"the thresholds decide how many may fail: {message}"
    details = failure.trace or message
    return _Case(group=group, name=name, seconds=seconds, kind=kind, message=message, type=status.value, details=details)


def _run(picture: Picture) -> Iterator[_Case]:
    """That the run came to its end."""
    if picture.summary.aborted:
        name, message = "the scenario reaches its end", "a broken threshold ended it early"
        yield _Case(group="run", name=name, kind="failure", message=message)
    if picture.summary.unfinished:
        message = f"it was interrupted; `orchestrator resume {picture.summary.run_id}` continues it"
        yield _Case(group="run", name="the run is finished", kind="failure", message=message)


def _clean(text: str) -> str:
    """XML has no place for control characters, escaped or not."""
    return _NOT_XML.sub("�", text)
