"""The use of a stored run: whether anything still needs it, so that it must not be deleted."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from orchestrator.lifecycle.run import RunStatus


@attrs.frozen(kw_only=True)
class RunUsage:
    """The use of a run, read in one transaction. A run without use may be deleted."""

    run_id: str
    status: RunStatus
    drivers: tuple[str, ...] = ()
    """The processes that drive it."""
    with_effects: int = 0
    """Instances that have effects, or may have: those that a failed instance kept and leftovers are among them."""
    reused_by: tuple[str, ...] = ()
    """Stored runs that reuse its instances."""

    def obstacle(self, deleted: Iterable[str] = ()) -> str | None:
        """Why the run must not be deleted, for people; ``None``: it may be.

        Args:
            deleted: Runs that are deleted before it, and so need it no more.
        """
        if self.drivers:
            return f"{', '.join(self.drivers)} drives it"
        if self.status is not RunStatus.FINISHED:
            return f"it is {self.status.value.replace('_', ' ')}; resume it, or clean it up"
        if self.with_effects:
            some = "1 instance has" if self.with_effects == 1 else f"{self.with_effects} instances have"
            return f"{some} effects that may exist; `orchestrator cleanup {self.run_id}` removes them"
        reusing = [run for run in self.reused_by if run not in set(deleted)]
        return f"run {', '.join(reusing[:3])}{' …' if len(reusing) > 3 else ''} reuses its instances" if reusing else None
