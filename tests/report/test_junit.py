"""JUnit XML: it agrees with the exit code, and a single instance has a case for each of its states."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree as ET

import pytest

from orchestrator import OnFailure, PermanentError, RunStatus, Scenario, Vault, cleanup, start
from orchestrator.inspection.details import details_of
from orchestrator.inspection.stored_run import StoredRun
from orchestrator.inspection.summary import Summary, summarise
from orchestrator.report import junit
from orchestrator.report.exit_codes import ExitCode
from orchestrator.report.verdict import exit_code
from orchestrator.storage.memory import MemoryStore
from tests.support.toy import Ledger, fast, toy


async def reported(workflow: Any, store: MemoryStore, vault: Vault, run_id: str) -> tuple[Summary, ET.Element]:
    """The summary of a run, and its XML, after a check of its counts."""
    stored = await StoredRun.load(workflow, run_id, store=store, vault=vault)
    summary = await summarise(stored)
    root = ET.fromstring(junit.document(await details_of(stored, summary)))
    [suite] = root
    cases = suite.findall("testcase")
    assert root.tag == "testsuites"
    assert {case.tag for case in suite} == {"testcase"}
    for element in (root, suite):
        assert element.get("tests") == str(len(cases))
        for count, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            assert element.get(count) == str(sum(case.find(tag) is not None for case in cases)), count
    for case in cases:
        assert case.get("classname")
        assert case.get("name")
        assert len(case) <= 1
    return summary, suite


def broken(suite: ET.Element) -> list[str | None]:
    """The names of the cases that did not pass."""
    return [case.get("name") for case in suite if case.find("failure") is not None or case.find("error") is not None]


def boom(step: Any) -> None:
    raise ZeroDivisionError("a bug")


REFUSED = PermanentError("refused", code="403")
RUNS: dict[str, tuple[dict[str, list[Any]], dict[str, Any], ExitCode]] = {
    "all is well": ({}, {}, ExitCode.SUCCESS),
    "instances were rolled back": ({"run two": [REFUSED]}, {}, ExitCode.FAILED),
    "an instance was kept": ({"run two": [REFUSED]}, {"on_failure": OnFailure.KEEP}, ExitCode.FAILED),
    "a bug": ({"run two": [boom]}, {}, ExitCode.FAILED),
    "thresholds allow the failures": ({"run two": [REFUSED]}, {"thresholds": ["failed < 50%"]}, ExitCode.SUCCESS),
    "they allow a bug, too": ({"run two": [boom]}, {"thresholds": ["completed > 10%"]}, ExitCode.SUCCESS),
    "thresholds do not allow them": ({"run two": [REFUSED] * 3}, {"thresholds": ["failed < 50%"]}, ExitCode.THRESHOLD),
    "another threshold is broken": ({}, {"thresholds": ["two.p50 < 1us"]}, ExitCode.THRESHOLD),
    "a threshold of something else allows none": ({"run two": [REFUSED]}, {"thresholds": ["two.p50 < 1min"]}, ExitCode.FAILED),
    "leftovers are never allowed": (
        {"run two": [REFUSED], "rollback one": [REFUSED] * 9},
        {"thresholds": ["failed < 50%"]},
        ExitCode.LEFTOVERS,
    ),
}


@pytest.mark.parametrize(("script", "more", "code"), RUNS.values(), ids=list(RUNS))
async def test_there_is_a_failure_exactly_if_the_exit_code_is_not_zero(
    vault: Vault, script: dict[str, list[Any]], more: dict[str, Any], code: ExitCode
) -> None:
    store, ledger = MemoryStore(), Ledger(script={name: list(acts) for name, acts in script.items()})
    workflow = toy(ledger)
    async with start(workflow, store=store, options=fast(vault), scenario=Scenario(instances=4), **more) as run:
        await run.wait()
    summary, suite = await reported(workflow, store, vault, run.id)
    assert exit_code(summary) is code
    assert bool(broken(suite)) is (code is not ExitCode.SUCCESS)
    shown = [case.get("name") for case in suite if str(case.get("classname")).endswith(".instances")]
    assert len(shown) == summary.failed + 1, "an instance that failed is a case, whether that is allowed or not"


@pytest.mark.parametrize("instances", [1, 4])
async def test_an_interrupted_run_is_a_failure(vault: Vault, instances: int) -> None:
    store, ledger = MemoryStore(), Ledger()
    ledger.script["run two"] = [lambda step: run.cancel()]
    workflow = toy(ledger)
    async with start(workflow, store=store, options=fast(vault), instances=instances, thresholds=["failed < 50%"]) as run:
        assert (await run.wait()).status is RunStatus.INTERRUPTED
    summary, suite = await reported(workflow, store, vault, run.id)
    assert exit_code(summary) is ExitCode.INTERRUPTED
    assert "the run is finished" in broken(suite)


async def test_a_single_instance_is_a_case_for_each_state_with_its_time(vault: Vault) -> None:
    store, workflow = MemoryStore(), toy(Ledger())
    async with start(workflow, store=store, options=fast(vault)) as run:
        await run.wait()
    _, suite = await reported(workflow, store, vault, run.id)
    assert [case.get("name") for case in suite] == ["one", "two", "three"]
    assert all(float(str(case.get("time"))) >= 0 for case in suite)
    assert broken(suite) == []


async def test_the_state_that_failed_is_the_failure_of_a_single_instance(vault: Vault) -> None:
    store, ledger = MemoryStore(), Ledger(script={"run two": [REFUSED]})
    workflow = toy(ledger)
    async with start(workflow, store=store, options=fast(vault)) as run:
        await run.wait()
    _, suite = await reported(workflow, store, vault, run.id)
    assert [(case.get("name"), [child.tag for child in case]) for case in suite] == [
        ("one", []),
        ("two", ["failure"]),
        ("three", ["skipped"]),
    ]
    assert "refused" in str(suite[1][0].get("message"))


async def test_a_single_instance_that_its_user_removed_is_a_failure_of_no_state(vault: Vault) -> None:
    store, ledger = MemoryStore(), Ledger()
    ledger.script["run two"] = [lambda step: run.cancel()]
    workflow = toy(ledger)
    async with start(workflow, store=store, options=fast(vault)) as run:
        await run.wait()
    async with cleanup(workflow, run.id, store=store, options=fast(vault)) as again:
        await again.wait()
    summary, suite = await reported(workflow, store, vault, run.id)
    assert exit_code(summary) is ExitCode.FAILED
    assert broken(suite) == [f"{run.id}-0"]
