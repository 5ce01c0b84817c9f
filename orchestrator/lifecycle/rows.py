"""Rows: the input of instances, one row for each. They are stored with the run."""

from __future__ import annotations

import attrs


@attrs.frozen(kw_only=True)
class Rows:
    """The rows of a run, as its record names them. The store holds them sealed, under ``key``."""

    key: str
    """Unique over all starts, so that two starts of one run never mix their rows."""
    count: int
    repeat: bool = False
    """Whether instances after the last row begin again with the first; else that row belongs to the last instance."""
    digest: str
    """Sealed hash of all rows: a second start of the same run is compared with it."""

    def number_of(self, instance: int) -> int:
        """The number of the row that belongs to an instance."""
        return instance % self.count if self.repeat else instance
