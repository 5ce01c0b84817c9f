"""Settings of runs on the command line: output, input rows, and the tables [run] and [load]."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

import attrs

from orchestrator.errors import SettingError, shortened
from orchestrator.lifecycle.bounds import ENDLESS, FASTEST, LEAST_RATE, OPEN_CONCURRENCY, RATES_SHOWN
from orchestrator.lifecycle.decision import OnFailure, OnSuccess
from orchestrator.lifecycle.duration import parse_duration, show_duration
from orchestrator.lifecycle.pauses import ThinkTime, parse_think_time
from orchestrator.lifecycle.ramp import Stage, parse_stages
from orchestrator.lifecycle.run import Recorded
from orchestrator.lifecycle.scenario import Scenario
from orchestrator.settings import setting

if TYPE_CHECKING:
    pass

_SCENARIO = Scenario()
"""The defaults of a scenario."""


def parse_rates(text: str) -> dict[str, float]:
    """Rate group → attempts per second, of ``configuration=3.5,directory=10``; ``none``: no limits. Raises ``ValueError``."""
    if text.strip().lower() == "none":
        return {}
    rates: dict[str, float] = {}
    for part in text.split(","):
        group, _, rate = part.partition("=")
        try:
            per_second = float(rate)
        except ValueError:
            raise ValueError(f"{shortened(part.strip())} is not of the form GROUP=PER_SECOND") from None
        if not LEAST_RATE <= per_second <= FASTEST:
            raise ValueError(
                f"{shortened(part.strip())}: the rate is not between {RATES_SHOWN} a second; leave the group out for no limit"
            )
        if group.strip() in rates:
            raise ValueError(f"the group {group.strip()!r} is given twice")
        rates[group.strip()] = per_second
    return rates


def parse_rounds(text: str) -> int:
    """A number, or ``endless``. Raises ``ValueError``."""
    if text.strip().lower() == "endless":
        return ENDLESS
    if not re.fullmatch(r"0*[1-9][0-9]{0,17}", text.strip()):
        raise ValueError(f"must be a whole number from 1 on, or 'endless', not {shortened(text)}")
    return int(text)


def _on_failure() -> OnFailure:
    return setting("Policy for an instance that cannot continue.", default=OnFailure.ROLLBACK)


def _record() -> Recorded:
    return setting(
        "Requests to store, masked, for `show INSTANCE`: the last ones of failed instances, or all of every instance.",
        default=Recorded.FAILED,
    )


def _rates() -> Mapping[str, float] | None:
    return setting(
        "Attempts per second by rate group, e.g. configuration=3.5,directory=10; 'none' for no limits.", parse=parse_rates
    )


def _shards() -> int | None:
    return setting(
        "Number of parts of the run; each can be driven by its own process (see `orchestrator drive`). By default 1, or as many as "
        "--processes need."
    )


@attrs.frozen(kw_only=True)
class OutputSettings:
    """Reports that are written when a run ends. They are stored with the run, so the command that ends it writes them."""

    report: str | None = setting("HTML report to write when the run ends.", group="Output")
    csv: str | None = setting("Folder for states.csv, timeline.csv and errors.csv, written when the run ends.", group="Output")
    junit: str | None = setting(
        "JUnit XML to write when the run ends: thresholds, and states or failed instances.", group="Output"
    )


@attrs.frozen(kw_only=True)
class DataSettings(OutputSettings):
    """The input of the instances."""

    data: str | None = setting(
        "Rows for the instances, one for each: a .csv or .jsonl file. They are stored with the run.", group="Input"
    )
    data_repeat: bool = setting("Begin again with the first row after the last.", default=False, group="Input")


@attrs.frozen(kw_only=True)
class RunSettings(DataSettings):
    """The settings of a run; the table ``[run]``."""

    instances: int | None = setting("Number of instances; by default 1, or one for each row of --data.")
    concurrency: int = setting("Instances that run at once.", default=1)
    rounds: int = setting("Rounds of each instance, e.g. sign-ons.", default=_SCENARIO.rounds)
    on_failure: OnFailure = _on_failure()
    on_success: OnSuccess = setting("Policy for the objects of a completed instance.", default=OnSuccess.KEEP)
    rates: Mapping[str, float] | None = _rates()
    record: Recorded = _record()
    shards: int | None = _shards()

    def scenario(self) -> Scenario:
        """The scenario. Raises ``SettingError``."""
        if self.rounds < 1:
            raise SettingError("rounds", f"{self.rounds} is less than 1")
        return Scenario(instances=self.instances, concurrency=self.concurrency, rounds=self.rounds)


@attrs.frozen(kw_only=True)
class LoadSettings(DataSettings):
    """A scenario of load; the table ``[load]``. Durations are written like 30s, 2m or 1h30m."""

    instances: int | None = setting(
        "Number of instances; by default as many as the time, or the rows of --data, allow. With endless rounds: instances at once.",
        group="Closed",
    )
    concurrency: int | None = setting(f"Instances at once; by default 1, or {OPEN_CONCURRENCY} with arrivals.", group="Closed")
    stages: tuple[Stage, ...] = setting(
        "Concurrency over time, as straight lines: DURATION:TARGET,…, e.g. 30s:10,2m:50,30s:0.",
        default=(),
        group="Closed",
        parse=parse_stages,
    )
    rate: float | None = setting("Arrivals per second, independent of response times.", group="Open")
    rate_stages: tuple[Stage, ...] = setting(
        "Arrivals per second over time, e.g. 1m:20,5m:20.", default=(), group="Open", parse=parse_stages
    )
    duration: float | None = setting("How long to start new work.", group="Time", parse=parse_duration)
    warm_up: float = setting(
        "Time at the beginning that is left out of the results.",
        default=_SCENARIO.warm_up,
        group="Time",
        parse=parse_duration,
        shown=show_duration(_SCENARIO.warm_up),
    )
    graceful_stop: float = setting(
        "Grace period after the end; instances still running then are rolled back.",
        default=_SCENARIO.graceful_stop,
        group="Time",
        parse=parse_duration,
        shown=show_duration(_SCENARIO.graceful_stop),
    )
    rounds: int = setting(
        "Rounds of each instance, e.g. sign-ons: a number, or 'endless' (until the time is over).",
        default=_SCENARIO.rounds,
        group="Soak",
        parse=parse_rounds,
        shown=str(_SCENARIO.rounds),
    )
    think_time: ThinkTime | None = setting(
        "Pause between rounds: 2s (constant), 1s-3s (uniform) or ~2s (exponential).", group="Soak", parse=parse_think_time
    )
    reuse: str | None = setting("Reuse the instances that an earlier run kept.", group="Soak")
    seed: int = setting("Random seed for think times.", default=_SCENARIO.seed, group="Soak")
    on_failure: OnFailure = _on_failure()
    on_success: OnSuccess = setting("Policy for the objects of a completed instance.", default=OnSuccess.TEARDOWN)
    rates: Mapping[str, float] | None = _rates()
    record: Recorded = _record()
    shards: int | None = _shards()
    threshold: tuple[str, ...] = setting(
        "Condition that the run must meet, e.g. 'exchange_token.p95 < 500ms' or 'failed < 1%'. Can be repeated.",
        default=(),
        group="Verdict",
    )
    abort: bool = setting("End the scenario as soon as a threshold is certain to be broken.", default=False, group="Verdict")

    def scenario(self) -> Scenario:
        """The scenario. Raises ``SettingError``."""
        same = attrs.fields_dict(Scenario).keys() & attrs.fields_dict(type(self)).keys()
        return Scenario(**{name: getattr(self, name) for name in same})
