"""A default that two interfaces share is the same in both."""

from __future__ import annotations

import inspect
from typing import Any

import attrs
import pytest

from orchestrator import OnFailure, OnSuccess, Options, start
from orchestrator.cli.run_settings import LoadSettings, RunSettings
from orchestrator.cli.settings import EngineSettings
from orchestrator.lifecycle.run import Recorded
from orchestrator.lifecycle.scenario import Scenario


def defaults(cls: type) -> dict[str, Any]:
    return {field.name: field.default for field in attrs.fields(cls) if field.default is not attrs.NOTHING}


@pytest.mark.parametrize("name", ["instances", "concurrency", "shards", "on_failure", "on_success", "rates"])
def test_start_has_the_defaults_of_the_command_run(name: str) -> None:
    assert inspect.signature(start).parameters[name].default == defaults(RunSettings)[name]


def test_start_records_the_requests_that_the_command_run_records() -> None:
    assert inspect.signature(start).parameters["recorded"].default == defaults(RunSettings)["record"] == Recorded.FAILED


def test_the_command_load_has_the_defaults_of_a_scenario() -> None:
    scenario, load = defaults(Scenario), defaults(LoadSettings)
    del scenario["changes"]  # made while the run is driven
    assert {name: load[name] for name in scenario} == scenario


def test_the_commands_drive_as_options_do_by_default() -> None:
    options, engine = Options(), EngineSettings()
    assert (engine.lease, engine.grace) == (options.lease_s, options.grace_s)


def test_run_and_load_differ_by_default_only_in_the_objects_that_they_keep() -> None:
    run, load = defaults(RunSettings), defaults(LoadSettings)
    shared = set(run) & set(load) - {"instances", "concurrency"}  # load: as many as the time allows
    assert {name for name in shared if run[name] != load[name]} == {"on_success"}
    assert (run["on_failure"], run["on_success"], load["on_success"]) == (
        OnFailure.ROLLBACK,
        OnSuccess.KEEP,
        OnSuccess.TEARDOWN,
    )
