"""Settings classes of the command line: engine, telemetry, runs, load scenarios and reports."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from enum import StrEnum
from logging import getLevelNamesMapping
from typing import TYPE_CHECKING, TypedDict

import attrs

from orchestrator.errors import SettingError, shortened
from orchestrator.lifecycle.bounds import ENDLESS, FASTEST, LEAST_RATE, OPEN_CONCURRENCY, RATES_SHOWN
from orchestrator.lifecycle.decision import OnFailure, OnSuccess
from orchestrator.lifecycle.duration import parse_duration, show_duration
from orchestrator.lifecycle.pauses import ThinkTime, parse_think_time
from orchestrator.lifecycle.ramp import Stage, parse_stages
from orchestrator.lifecycle.run import Recorded
from orchestrator.lifecycle.scenario import Scenario
from orchestrator.settings import GRACE_S, LEASE_S, STORE_TIMEOUT_S, default_store, setting
from orchestrator.telemetry.address import Address, parse_address

if TYPE_CHECKING:
    from orchestrator.cluster.pool import OpenPool


class Workers(TypedDict, total=False):
    """The arguments of :func:`orchestrator.api.start` that name the worker processes."""

    processes: int
    cluster: OpenPool


LEAST_LEASE_S = 1.0
"""A shorter lease could expire under load, and abort the run."""
_SCENARIO = Scenario()
"""The defaults of a scenario."""
MAX_SECONDS = 86_400
"""A day: without a limit, the run of a machine that is gone could never be resumed elsewhere."""


def parse_processes(text: str) -> int:
    """A number of processes, or ``auto``: one for each processor that this process may use. Raises ``ValueError``."""
    if text.strip().lower() == "auto":
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not re.fullmatch(r"0*[1-9][0-9]{0,2}", text.strip()):
        raise ValueError(f"must be a whole number from 1 to 999, or 'auto', not {shortened(text)}")
    return int(text)


@attrs.frozen(kw_only=True)
class EngineSettings:
    """The store of the runs, and options of the process that drives them; the table ``[orchestrator]``."""

    store: str | None = setting(
        "Store of the runs: a path, sqlite:PATH, postgresql://HOST/DATABASE, postgresql:///?service=NAME or memory:.",
        env=["ORCHESTRATOR_STORE"],
    )
    store_timeout: float = setting(
        "How long to wait for a database that does not answer, in seconds.",
        default=STORE_TIMEOUT_S,
        env=["ORCHESTRATOR_STORE_TIMEOUT"],
    )
    lease: float = setting("Lease duration in seconds.", default=LEASE_S, env=["ORCHESTRATOR_LEASE"])
    grace: float = setting(
        "Grace period for attempts in flight after the first Ctrl-C, in seconds.", default=GRACE_S, env=["ORCHESTRATOR_GRACE"]
    )

    processes: int = setting(
        "Worker processes that drive the run on this machine: a number, or 'auto' for one per processor.",
        default=1,
        env=["ORCHESTRATOR_PROCESSES"],
        parse=parse_processes,
    )
    cluster: str | None = setting(
        "Cluster whose workers drive the run: the address of its scheduler (tls://HOST:8786), or the file that it wrote.",
        env=["ORCHESTRATOR_CLUSTER"],
    )
    cluster_tls: str | None = setting(
        "Folder with the certificates of the cluster (see `orchestrator cluster certs`).", env=["ORCHESTRATOR_CLUSTER_TLS"]
    )

    def __attrs_post_init__(self) -> None:
        if not LEAST_LEASE_S <= self.lease <= MAX_SECONDS:
            raise SettingError("lease", f"{self.lease:g} is not between {LEAST_LEASE_S:g} and {MAX_SECONDS} seconds")
        if not 0 < self.store_timeout <= MAX_SECONDS:
            raise SettingError("store-timeout", f"{self.store_timeout:g} is not between 0 and {MAX_SECONDS} seconds")
        if self.cluster is not None and self.processes != 1:
            raise SettingError("cluster", "its workers drive the run; leave out processes")
        if not 0 <= self.grace <= MAX_SECONDS:
            raise SettingError("grace", f"{self.grace:g} is not between 0 and {MAX_SECONDS} seconds")

    @property
    def is_spread(self) -> bool:
        """Whether worker processes drive the run."""
        return self.processes > 1 or self.cluster is not None

    def workers(self) -> Workers:
        """The worker processes that the settings ask for. Raises ``SettingError``."""
        if self.cluster is None:
            return {"processes": self.processes}
        from orchestrator.cluster import dask_cluster  # noqa: PLC0415  # imports Dask

        return {"cluster": dask_cluster(self.cluster, tls=self.cluster_tls)}

    @property
    def url(self) -> str:
        """The store, the default one if none was named."""
        return default_store() if self.store is None else self.store


class LogFormat(StrEnum):
    """Format of log records."""

    TEXT = "text"
    JSON = "json"


class LogLevel(StrEnum):
    """Least level of log records."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"

    @property
    def number(self) -> int:
        """The level as the standard library's."""
        return getLevelNamesMapping()[self.name]


@attrs.frozen(kw_only=True)
class TelemetrySettings:
    """Metrics, traces and logs of this process while it drives a run; the table ``[telemetry]``. None of it is stored with the run."""

    metrics: Address | None = setting(
        "Serve metrics for Prometheus at http://127.0.0.1:PORT/metrics while the run lasts; HOST:PORT for another interface.",
        env=["ORCHESTRATOR_METRICS"],
        group="Telemetry",
        parse=parse_address,
    )
    metrics_linger: float = setting(
        "How long to serve the final metrics after the run has ended, so that they are scraped.",
        default=0.0,
        env=["ORCHESTRATOR_METRICS_LINGER"],
        group="Telemetry",
        parse=parse_duration,
        shown="0s",
    )

    log_format: LogFormat | None = setting(
        "Log the events of the run to stderr, as lines of text or of JSON.", env=["ORCHESTRATOR_LOG_FORMAT"], group="Telemetry"
    )
    log_level: LogLevel | None = setting(
        "Least level of log records; given alone, it logs as text. debug adds the beginning and end of each attempt.",
        env=["ORCHESTRATOR_LOG_LEVEL"],
        group="Telemetry",
        shown="info",
    )

    otlp: bool = setting(
        "Send traces and metrics by OTLP to OTEL_EXPORTER_OTLP_ENDPOINT; on if that variable is set.",
        default=False,
        env=["ORCHESTRATOR_OTLP"],
        group="Telemetry",
    )
    send_traceparent: bool = setting(
        "Send the header traceparent with each request, so that spans of the API join the trace.",
        default=False,
        env=["ORCHESTRATOR_SEND_TRACEPARENT"],
        group="Telemetry",
    )

    def __attrs_post_init__(self) -> None:
        if self.metrics_linger and self.metrics is None:
            raise SettingError("metrics-linger", "there are no metrics to serve; add --metrics PORT")


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
