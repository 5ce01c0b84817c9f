"""Slots: the number of parts that are driven at once, among which the rates of a run are divided. Pure."""

from __future__ import annotations

SMALLER_AFTER_S = 10.0
"""How long workers must be missing before the others get their part of the rates: a process that died is replaced soon."""


class Slots:
    """Decides when the number of slots changes."""

    def __init__(self) -> None:
        self._missing_since: float | None = None

    def choose(self, slots: int, *, workers: int, driven: int, waiting: int, now: float) -> int | None:
        """A new number of slots; ``None``: it stays ``slots``.

        Args:
            driven: Parts that are driven.
            waiting: Parts that wait.
            now: Steady time.
        """
        wanted = max(1, min(workers, driven + waiting))
        if wanted >= slots:
            self._missing_since = None
            return wanted if wanted > slots else None
        if self._missing_since is None:
            self._missing_since = now
        is_smaller = now - self._missing_since > SMALLER_AFTER_S and driven <= wanted
        return wanted if is_smaller else None
