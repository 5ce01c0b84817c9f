"""Settings of a process on the command line: the store, workers and telemetry."""

from __future__ import annotations

import os
import re
from enum import StrEnum
from logging import getLevelNamesMapping
from typing import TYPE_CHECKING, TypedDict

import attrs

from orchestrator.errors import SettingError, shortened
from orchestrator.lifecycle.duration import parse_duration
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
