"""The common start of a scenario by time: all parts begin together, unless workers stay away. Pure."""

from __future__ import annotations

from orchestrator.cluster.attempts import Attempts
from orchestrator.driving.orders import Orders

PATIENCE_S = 30.0
"""How long the others wait for a worker that has gone: a process that died is replaced soon."""


class CommonStart:
    """Decides when the parts that wait begin."""

    def __init__(self) -> None:
        self._missing_since: float | None = None

    def is_due(self, orders: Orders, attempts: Attempts, *, workers: int, now: float) -> bool:
        """Whether all parts wait for the start; or those that have workers do, and the others have had none for long.

        Args:
            attempts: Those of all parts.
            now: Steady time.
        """
        if orders.start_at is not None or not attempts:
            return False
        if attempts.all_wait:
            return True
        if workers >= len(attempts):
            self._missing_since = None
            return False
        if self._missing_since is None:
            self._missing_since = now
        return now - self._missing_since > PATIENCE_S and attempts.waiting >= workers > 0
