"""Who drives a run, and until when: owners, their liveness, and the lease that a driver holds itself to."""

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
    """A process, named so precisely that another one on the same machine can tell whether it still exists."""

    host: str
    boot_id: str
    pid: int
    namespace: str = ""
    """Of process ids: a container cannot see the processes of another one."""
    started: str
    """Start time of the process in the kernel's own unit; tells a reused pid apart."""

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"

    def dumps(self) -> str:
        """As it is stored."""
        return orjson.dumps(attrs.asdict(self)).decode()

    @classmethod
    def loads(cls, text: str) -> Owner:
        """From its stored form."""
        return cls(**orjson.loads(text))


def this_process() -> Owner:
    """The running process."""
    pid = os.getpid()
    return Owner(host=platform.node(), boot_id=_boot_id(), pid=pid, namespace=_namespace(), started=_started(pid) or "")


def is_gone(owner: Owner) -> bool:
    """Whether this process certainly does not exist any more. ``False`` if that cannot be known: on another machine, after
    another boot (a container that moves takes its host's name along), or where ``/proc`` hides the processes of other users."""
    if (owner.host, owner.boot_id, owner.namespace) != (platform.node(), _boot_id(), _namespace()):
        return False
    try:
        os.kill(owner.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass  # it exists, and is another user's
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
    """Start time of a process, ``"dead"`` for one that is not yet reaped; ``None`` where it cannot be read."""
    try:
        # The name in brackets may hold spaces: count fields after it. Field 3 is the state, 22 the start time.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return "dead" if fields[0] in "ZX" else fields[19]


class Lease:
    """The right of this process to send requests for a run.

    The deadline moves only when a renewal is *confirmed*, and is counted from before it was asked for: whatever
    stops this process (SIGSTOP, a blocked event loop, a sleeping laptop), it knows on waking that it is late.
    """

    def __init__(self, run_id: str, seconds: float, clock: Clock) -> None:
        self.run_id = run_id
        self.seconds = seconds
        self._clock = clock
        self._deadline = math.inf  # until the first confirmation there is nothing that anybody could take over

    def asked(self) -> float:
        """Call before asking the store; the result goes to :meth:`confirmed`."""
        return self._clock.steady()

    def confirmed(self, asked: float) -> None:
        """The store has granted what was asked for at ``asked``."""
        self._deadline = asked + self.seconds

    def check(self) -> None:
        """Call before every request.

        Raises:
            LeaseExpiredError: The lease has run out.
        """
        late = self._clock.steady() - self._deadline
        if late >= 0:
            raise LeaseExpiredError(self.run_id, late)
