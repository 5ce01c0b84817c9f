"""What the sandbox saw: every call, what exists, what was created twice. The other side of the promises."""

from __future__ import annotations

from collections import Counter, deque
from typing import Any

import attrs

CALLS_KEPT = 200_000


@attrs.frozen
class Seen:
    """One call: its operation, the path, the status of its handling (0: it was not handled), and the fault that was
    played, if any."""

    at: float
    operation: str
    path: str
    status: int
    correlation_id: str
    fault: str | None = None


@attrs.define
class Audit:
    """Counts by kind; kinds are ``application``, ``resource``, ``scope``, ``attribute``, ``grant``,
    ``sign_on_policy_assignment``, ``population``, ``user``."""

    calls: deque[Seen] = attrs.field(factory=lambda: deque(maxlen=CALLS_KEPT))
    call_counts: Counter[str] = attrs.field(factory=Counter)
    created: Counter[tuple[str, str]] = attrs.field(factory=Counter)
    """(kind, full name) → how often it was created."""
    deleted: Counter[str] = attrs.field(factory=Counter)

    def saw(self, call: Seen) -> None:
        """Remember a call."""
        self.calls.append(call)
        self.call_counts[call.operation] += 1

    def report(self, existing: dict[str, list[str]]) -> dict[str, Any]:
        """The whole, as the audit endpoint sends it.

        Args:
            existing: Kind → full names of what exists now.
        """
        created: Counter[str] = Counter()
        for (kind, _), times in self.created.items():
            created[kind] += times
        return {
            "existing": {kind: len(names) for kind, names in existing.items()},
            "existing_names": existing,
            "created": dict(created),
            "created_twice": sorted(f"{kind} {name}" for (kind, name), times in self.created.items() if times > 1),
            "deleted": dict(self.deleted),
            "calls": dict(self.call_counts),
        }
