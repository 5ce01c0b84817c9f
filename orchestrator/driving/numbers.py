"""The numbers of the instances that a process has not admitted yet."""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.lifecycle.share import Share


class Numbers:
    """Gives out numbers in order: first the gaps that earlier processes left, then those behind them.

    Args:
        gaps: Numbers that were passed over.
        share: The part of the run that the numbers belong to; ``None``: only the gaps.
        begun: How many numbers of the share the gaps cover, together with the instances that were admitted.
    """

    def __init__(self, gaps: Iterable[int], share: Share | None = None, begun: int = 0) -> None:
        self._gaps = iter(gaps)
        self._share = share
        self._begun = begun

    def next(self, total: int) -> int | None:
        """The next number; ``None``: there is none below ``total``, which a change of the scenario may raise."""
        gap = next(self._gaps, None)
        if gap is not None or self._share is None:
            return gap
        number = self._share.nth(self._begun)
        if number >= total:
            return None
        self._begun += 1
        return number
