"""The audit: every call, existing objects, and objects that were created twice. Tests compare it with the engine's promises."""

from __future__ import annotations

from collections import Counter, deque

import attrs

from states.sandbox.json_types import JSONObject

CALLS_KEPT = 200_000


@attrs.frozen
class Seen:
    """One call: its operation, path and status (0 if a fault prevented its handling), and the fault that was played, if any."""

    at: float
    operation: str
    path: str
    status: int
    correlation_id: str
    fault: str | None = None


@attrs.define
class Audit:
    """Counts by kind. The kinds are ``application``, ``resource``, ``scope``, ``attribute``, ``grant``,
    ``sign_on_policy_assignment``, ``population``, ``user``."""

    calls: deque[Seen] = attrs.field(factory=lambda: deque(maxlen=CALLS_KEPT))
    call_counts: Counter[str] = attrs.field(factory=Counter)
    created: Counter[tuple[str, str]] = attrs.field(factory=Counter)
    """(kind, full name) → number of times that it was created."""
    deleted: Counter[str] = attrs.field(factory=Counter)

    def saw(self, call: Seen) -> None:
        """Record a call."""
        self.calls.append(call)
        self.call_counts[call.operation] += 1

    def report(self, existing: dict[str, list[str]]) -> JSONObject:
        """The report of the audit endpoint.

        Args:
            existing: Kind → full names of the existing objects.
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
