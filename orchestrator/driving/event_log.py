"""EventLog: makes the events of one instance, numbers the stored ones, and calls the observers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic

from orchestrator.definition.state import C, S
from orchestrator.driving.attempt import Attempt
from orchestrator.driving.drive_context import DriveContext
from orchestrator.lifecycle.events import Event, EventKind
from orchestrator.lifecycle.instance import Failure, Instance


class EventLog(Generic[C, S]):
    """The events of one instance.

    Args:
        count: Number of events in its stored history.
    """

    def __init__(self, drive: DriveContext[C, S], count: int) -> None:
        self._drive = drive
        self.count = count

    def make(
        self,
        kind: EventKind,
        here: Instance[C],
        attempt: Attempt[C, S] | None = None,
        *,
        state: str | None = None,
        outcome: str | None = None,
        target: str | None = None,
        failure: Failure | None = None,
        waited_s: float | None = None,
    ) -> Event:
        """An event of the stored history.

        Args:
            here: The instance before the event.
            attempt: The attempt that led to the event.
        """
        self.count += 1
        made = attempt if attempt and attempt.made else None
        return Event(
            run_id=here.run_id,
            number=here.number,
            kind=kind,
            at=self._drive.clock.now(),
            state=state or (made.state.name if made else here.position),
            handler=made.handler if made else None,
            attempt=here.failures + 1 if made else None,
            outcome=outcome,
            target=target,
            duration_s=made.ended - made.began if made else None,
            error=failure.message if failure else None,
            failure=failure.kind if failure else None,
            code=failure.code if failure else None,
            waited_s=made.waited_s if made else waited_s,
            total_s=made.ended - made.due_at if made and not made.is_rollback else None,
            created_at=here.created_at,
            again=here.again,
            seq=self.count,
        )

    def attempt_begins(self, here: Instance[C], attempt: Attempt[C, S]) -> None:
        """Call the observers of attempts; the event is not stored."""
        if self._drive.observers.observe_attempts:
            self._observe_attempt(EventKind.ATTEMPT, here, attempt, attempt=here.failures + 1)

    def attempt_ended(self, here: Instance[C], attempt: Attempt[C, S]) -> None:
        """Call the observers of attempts; the event is not stored."""
        if self._drive.observers.observe_attempts:
            self._observe_attempt(EventKind.ANSWER, here, attempt, duration_s=attempt.ended - attempt.began)

    def publish(self, events: Iterable[Event]) -> None:
        """Call the observers with events that are durable."""
        self._drive.observers.publish(events)

    def _observe_attempt(
        self,
        kind: EventKind,
        here: Instance[C],
        made: Attempt[C, S],
        *,
        attempt: int | None = None,
        duration_s: float | None = None,
    ) -> None:
        event = Event(
            run_id=here.run_id,
            number=here.number,
            kind=kind,
            at=self._drive.clock.now(),
            state=made.state.name,
            handler=made.handler,
            attempt=attempt,
            duration_s=duration_s,
        )
        self._drive.observers.publish_attempt(event)
