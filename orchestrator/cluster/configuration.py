"""The configuration of Dask. A remote scheduler needs it too: the commands `orchestrator cluster` set it there."""

from __future__ import annotations

from collections.abc import Mapping

LEAST_TTL_S = 5.0
"""Dask's heartbeats are too rare for a shorter time."""
DEFAULT_TTL_S = 15.0
LONGEST_TTL_S = 30.0
HEALTH = ("distributed.http.health",)
"""The only HTTP route. The others show addresses and tasks to everybody who can reach the port."""


def ttl_for(lease_s: float) -> float:
    """Seconds without a heartbeat after which a worker counts as frozen. Dask checks that often, so it takes up to twice as long:
    about as long as the lease, which must expire as well."""
    return min(max(lease_s / 2, LEAST_TTL_S), LONGEST_TTL_S)


def configuration(ttl_s: float) -> Mapping[str, object]:
    """Settings that differ from Dask's defaults.

    * A dead worker ends its task at once: the launcher, which knows the state of the run, starts it again (``allowed-failures``).
    * A local worker whose process is missing for 15 s, or dies again at that moment, would never be started again
      (``lost-worker-timeout``).
    * Memory limits stop a worker at a guessed limit: they are off.
    * The scheduler keeps the latest messages of workers: few, because a batch of events is long.
    * Lists are new each time: a scheduler adds to its own.
    * Profiles and frequent ticks cost 4 % of a core for each idle worker.
    """
    return {
        "distributed.scheduler.allowed-failures": 0,
        "distributed.scheduler.worker-ttl": f"{ttl_s:g}s",
        "distributed.scheduler.worker-saturation": 1.0,
        "distributed.scheduler.active-memory-manager.start": False,
        "distributed.scheduler.http.routes": [*HEALTH],
        "distributed.worker.http.routes": [*HEALTH],
        "distributed.worker.profile.enabled": False,
        "distributed.worker.memory.target": False,
        "distributed.worker.memory.spill": False,
        "distributed.worker.memory.pause": False,
        "distributed.worker.memory.terminate": False,
        "distributed.worker.memory.monitor-interval": "5s",
        "distributed.admin.low-level-log-length": 50,
        "distributed.admin.tick.interval": "500ms",
        "distributed.admin.tick.limit": "30s",
        "distributed.admin.system-monitor.interval": "5s",
        "distributed.diagnostics.nvml": False,
        "distributed.deploy.lost-worker-timeout": "365 days",
        "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": 65536,
    }


def as_environment(settings: Mapping[str, object]) -> dict[str, str]:
    """The same settings as environment variables."""
    return {"DASK_" + name.replace(".", "__").replace("-", "_").upper(): str(value) for name, value in settings.items()}
