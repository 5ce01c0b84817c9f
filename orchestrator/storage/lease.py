"""Ownership of a shard: owners, their liveness, and the lease that a driver obeys."""

from __future__ import annotations

import math
import os
import platform
from functools import lru_cache
from pathlib import Path

import attrs
import orjson

from orchestrator.clock import Clock
from orchestrator.errors import LeaseExpiredError


@attrs.frozen(kw_only=True)
class Owner:
    """A process, identified well enough for another one on the same machine to check whether it still exists."""

    host: str
    boot_id: str
    pid: int
    namespace: str = ""
    """Namespace of process ids: a container cannot see the processes of another one."""
    started: str
    """Start time of the process in the kernel's unit; detects a reused pid."""

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"

    def dumps(self) -> str:
        """Encode for the store."""
        return orjson.dumps(attrs.asdict(self)).decode()

    @classmethod
    def loads(cls, text: str) -> Owner:
        """Decode from the store."""
        return cls(**orjson.loads(text))


def this_process() -> Owner:
    """Identify the running process."""
    pid = os.getpid()
    return Owner(host=platform.node(), boot_id=_boot_id(), pid=pid, namespace=_namespace(), started=_started(pid) or "")


def is_gone(owner: Owner) -> bool:
    """Whether this process certainly no longer exists. False if unknown: another host or boot (a moved container keeps its
    host's name), or a ``/proc`` that hides the processes of other users."""
    if (owner.host, owner.boot_id, owner.namespace) != (platform.node(), _boot_id(), _namespace()):
        return False
    try:
        os.kill(owner.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass  # the process exists and belongs to another user
    started = _started(owner.pid)
    return started is not None and started != owner.started


@lru_cache
def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").stat().st_ino)
    except OSError:
        return ""


def _started(pid: int) -> str | None:
    """Start time of a process; ``"dead"`` for one that was not reaped yet, ``None`` if it cannot be read."""
    try:
        # The name in brackets may contain spaces: count fields behind it. Field 3 is the state, 22 the start time.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return "dead" if fields[0] in "ZX" else fields[19]


class Lease:
    """The right of this process to send requests for a run.

    Only a *confirmed* renewal moves the deadline, which is counted from the moment before the request for it. A process that
    was stopped (SIGSTOP, a blocked event loop, a sleeping laptop) therefore knows on waking that its lease has expired.
    """

    def __init__(self, run_id: str, seconds: float, clock: Clock) -> None:
        self.run_id = run_id
        self.seconds = seconds
        self._clock = clock
        self._deadline = math.inf  # Before the first confirmation there is no shard that another process could claim.

    def asked(self) -> float:
        """Call before the request to the store; pass the result to :meth:`confirmed`."""
        return self._clock.steady()

    def confirmed(self, asked: float) -> None:
        """The store has granted the request made at ``asked``."""
        self._deadline = asked + self.seconds

    @property
    def left_s(self) -> float:
        """Seconds until it expires, unless it is renewed."""
        return max(0.0, self._deadline - self._clock.steady())

    def check(self) -> None:
        """Call before every request.

        Raises:
            LeaseExpiredError: The lease has run out.
        """
        late = self._clock.steady() - self._deadline
        if late >= 0:
            raise LeaseExpiredError(self.run_id, late)
