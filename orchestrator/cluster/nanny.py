"""A nanny that starts its worker process again whenever that ends, until the pool is closed.

Dask's own gives up if the process is killed before it is ready, or if the worker leaves because it has lost its scheduler.
"""

from __future__ import annotations

import signal
from typing import Any

from distributed import Nanny, Status

STARTS = 5
"""Attempts to start a worker process."""


class WorkerStartError(Exception):
    """A worker process has ended before it was ready.

    Args:
        exit_code: Of the process; negative: it was killed by that signal; ``None``: unknown.
    """

    def __init__(self, exit_code: int | None) -> None:
        super().__init__(exit_code)
        self.was_killed = exit_code is not None and exit_code < 0
        how = f"was killed by {signal.Signals(-exit_code).name}" if exit_code is not None and exit_code < 0 else "has ended"
        self.text = f"a worker process {how} before it was ready"


class PatientNanny(Nanny):
    """See the module."""

    _exit_code: int | None = None
    """That of the latest worker process that has ended."""

    async def instantiate(self) -> Status:
        """Start the worker process."""
        if self.status not in {Status.init, Status.starting}:
            return await super().instantiate()  # Dask calls this again after each end of the process
        for _ in range(STARTS):
            self._exit_code = None
            status: Status = await super().instantiate()
            if status is Status.running:
                return status
            error = WorkerStartError(self._exit_code)
            if not error.was_killed:
                break
        raise error

    def close_gracefully(self, reason: str = "") -> None:
        """The worker asks not to be started again: it is, because the run needs it."""

    def _on_worker_exit_sync(self, exitcode: Any) -> None:
        # An internal of Dask: if it is not called, the exit code is unknown and the process is started once.
        self._exit_code = exitcode
        super()._on_worker_exit_sync(exitcode)
