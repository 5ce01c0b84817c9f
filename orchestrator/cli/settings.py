"""The settings of the command line: what a run is, how it is driven, and the reports that it writes."""

from __future__ import annotations

import re
from collections.abc import Mapping

import attrs

from orchestrator.errors import SettingError, shortened
from orchestrator.lifecycle.decision import OnFailure, OnSuccess
from orchestrator.lifecycle.run import Recorded
from orchestrator.lifecycle.scenario import (
    ENDLESS,
    FASTEST,
    LEAST_RATE,
    RATES_SHOWN,
    Scenario,
    Stage,
    ThinkTime,
    parse_duration,
    parse_stages,
    parse_think_time,
)
from orchestrator.settings import default_store, setting

LEAST_LEASE_S = 1.0
"""One that a busy moment of the machine outlasts ends the run."""
MAX_SECONDS = 86_400
"""A day: a lease that never ran out could not be taken over from a machine that is gone."""


@attrs.frozen(kw_only=True)
class EngineSettings:
    """Where runs live, and how this process drives them; the table ``[orchestrator]``."""

    store: str | None = setting("Where runs are stored: a path, sqlite:PATH or memory:.", env=["ORCHESTRATOR_STORE"])
    lease: float = setting("Seconds that a run stays ours without renewal.", default=30.0, env=["ORCHESTRATOR_LEASE"])
    grace: float = setting(
        "Seconds that attempts in flight may take after the first Ctrl-C.", default=10.0, env=["ORCHESTRATOR_GRACE"]
    )

    def __attrs_post_init__(self) -> None:
        if not LEAST_LEASE_S <= self.lease <= MAX_SECONDS:
            raise SettingError("lease", f"{self.lease:g} is not between {LEAST_LEASE_S:g} and {MAX_SECONDS} seconds")
        if not 0 <= self.grace <= MAX_SECONDS:
            raise SettingError("grace", f"{self.grace:g} is not between 0 and {MAX_SECONDS} seconds")

    @property
    def url(self) -> str:
        """The store, the default one if none was named."""
        return default_store() if self.store is None else self.store


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


_RECORD_HELP = (
    "Whose requests are stored, masked, for `show INSTANCE`: the last ones of instances that fail, or all of every instance."
)
_RATES_HELP = "Attempts per second by rate group, e.g. configuration=3.5,directory=10; 'none' for no limits."


@attrs.frozen(kw_only=True)
class OutputSettings:
    """Reports that are written when a run ends. They are stored with the run, so whatever command ends it writes them."""

    report: str | None = setting("Write the HTML report here when the run ends.", group="Output")
    csv: str | None = setting("Write states.csv, timeline.csv and errors.csv into this folder when the run ends.", group="Output")
    junit: str | None = setting(
        "Write thresholds, and states or failed instances, as JUnit XML here when the run ends.", group="Output"
    )


_SHARDS_HELP = "How many parts the run is split into; each can be driven by its own process (see `orchestrator drive`)."


@attrs.frozen(kw_only=True)
class RunSettings(OutputSettings):
    """What a run is; the table ``[run]``."""

    instances: int = setting("How many instances.", default=1)
    concurrency: int = setting("How many at once.", default=1)
    rounds: int = setting("How often each instance goes round, e.g. signs on.", default=1)
    on_failure: OnFailure = setting("What happens to an instance that cannot go on.", default=OnFailure.ROLLBACK)
    on_success: OnSuccess = setting("What happens to what a completed instance made.", default=OnSuccess.KEEP)
    rates: Mapping[str, float] | None = setting(_RATES_HELP, parse=parse_rates)
    record: Recorded = setting(_RECORD_HELP, default=Recorded.FAILED)
    shards: int = setting(_SHARDS_HELP, default=1)

    def scenario(self) -> Scenario:
        """The scenario. Raises ``SettingError``."""
        if self.rounds < 1:
            raise SettingError("rounds", f"{self.rounds} is less than 1")
        return Scenario(instances=self.instances, concurrency=self.concurrency, rounds=self.rounds)


@attrs.frozen(kw_only=True)
class LoadSettings(OutputSettings):
    """A scenario of load; the table ``[load]``. Durations are written like 30s, 2m or 1h30m."""

    instances: int | None = setting(
        "How many instances in all; as many as the time allows by default. With endless rounds: how many at once.", group="Closed"
    )
    concurrency: int | None = setting("How many at once; 1, or 1000 for arrivals, by default.", group="Closed")
    stages: tuple[Stage, ...] = setting(
        "Concurrency over time, as straight lines: DURATION:TARGET,…, e.g. 30s:10,2m:50,30s:0.",
        default=(),
        group="Closed",
        parse=parse_stages,
    )
    rate: float | None = setting("Arrivals per second, whatever the answers take.", group="Open")
    rate_stages: tuple[Stage, ...] = setting(
        "Arrivals per second over time, e.g. 1m:20,5m:20.", default=(), group="Open", parse=parse_stages
    )
    duration: float | None = setting("How long to admit, and to begin rounds.", group="Time", parse=parse_duration)
    warm_up: float = setting(
        "Measured in the beginning, and not counted.", default=0.0, group="Time", parse=parse_duration, shown="0s"
    )
    graceful_stop: float = setting(
        "How long what is under way at the end may go on; the rest is rolled back.",
        default=30.0,
        group="Time",
        parse=parse_duration,
        shown="30s",
    )
    rounds: int = setting(
        "How often each instance goes round, e.g. signs on: a number, or 'endless' (until the time is over).",
        default=1,
        group="Soak",
        parse=parse_rounds,
        shown="1",
    )
    think_time: ThinkTime | None = setting(
        "Pause between rounds: 2s (constant), 1s-3s (uniform) or ~2s (exponential).", group="Soak", parse=parse_think_time
    )
    reuse: str | None = setting("Run whose kept instances are used again, so that nothing is configured.", group="Soak")
    seed: int = setting("Of the pauses.", default=0, group="Soak")
    on_failure: OnFailure = setting("What happens to an instance that cannot go on.", default=OnFailure.ROLLBACK)
    on_success: OnSuccess = setting("What happens to what a completed instance made.", default=OnSuccess.TEARDOWN)
    rates: Mapping[str, float] | None = setting(_RATES_HELP, parse=parse_rates)
    record: Recorded = setting(_RECORD_HELP, default=Recorded.FAILED)
    shards: int = setting(_SHARDS_HELP, default=1)
    threshold: tuple[str, ...] = setting(
        "What the run has to keep to, e.g. 'exchange_token.p95 < 500ms' or 'failed < 1%'; any number of times.",
        default=(),
        group="Verdict",
    )
    abort: bool = setting("End the scenario once a threshold is broken beyond doubt.", default=False, group="Verdict")

    def scenario(self) -> Scenario:
        """The scenario. Raises ``SettingError``."""
        same = [field.name for field in attrs.fields(Scenario) if field.init]
        return Scenario(**{name: getattr(self, name) for name in same})
