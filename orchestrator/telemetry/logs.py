"""Logs: each event of a run as a record of the standard library's logging, and the two formats of the command line.

An event holds no secrets: errors are masked where they enter the engine (:mod:`orchestrator.driving.attempt`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import orjson

from orchestrator.lifecycle.events import REQUESTED, Event, EventKind
from orchestrator.redaction import visible

INSTANCES = "orchestrator.instances"
"""Logger of instances: their events."""
FIELDS = "fields"
"""Attribute of a record that holds its fields."""

_LEVELS = {
    EventKind.ATTEMPT: logging.DEBUG,
    EventKind.ANSWER: logging.DEBUG,
    EventKind.RETRY: logging.WARNING,
    EventKind.LEFT_OVER: logging.ERROR,
    EventKind.FAILED: logging.ERROR,
}
"""Levels of events; of the others INFO."""
_SENTENCES = {
    EventKind.ATTEMPT: "{state}: {handler} begins, attempt {attempt}",
    EventKind.ANSWER: "{state}: {handler} ended{took}",
    EventKind.STARTED: "started",
    EventKind.MOVED: "{state}: {outcome}{how}{took}, to {target}",
    EventKind.RETRY: "{state}: attempt {attempt} failed{took}, another follows{why}",
    EventKind.NOT_FOUND: "{state}: recovery found no effect{took}",
    EventKind.ROLLING_BACK: "{state}: failed{took}, rolling back{why}",
    EventKind.UNDONE: "{state}: rolled back{took}",
    EventKind.LEFT_OVER: "{state}: left over{why}",
    EventKind.FAILED: "{state}: failed, the instance is kept{why}",
    EventKind.PUT_BACK: "{state}: put back, to be retried",
    EventKind.SUSPENDED: "{state}: suspended",
    EventKind.RESUMED: "{state}: resumed",
    EventKind.ENDED: "ended: {outcome}",
}
_NAMES = (
    *("state", "handler", "attempt", "outcome", "target", "duration_s", "waited_s", "total_s"),
    *("failure", "code", "error", "seq"),
)
"""Fields of an event that a record has if they are known."""


class EventLogger:
    """An observer that logs each event of a run.

    Args:
        level: Least level that is logged. At ``DEBUG`` the beginning and the end of each attempt are logged, too.
        trace_id: Instance → the id of its trace; ``None``: it has none.
    """

    def __init__(self, level: int = logging.INFO, trace_id: Callable[[Event], str | None] | None = None) -> None:
        self.stored_only = level > logging.DEBUG
        self._trace_id = trace_id
        self._logger = logging.getLogger(INSTANCES)
        self._shards: dict[str, int] = {}

    def note(self, run_id: str, shards: int) -> None:
        """The records of a run of several shards name the shard of the instance."""
        if shards > 1:
            self._shards[run_id] = shards

    def __call__(self, event: Event) -> None:
        level = level_of(event)
        if not self._logger.isEnabledFor(level):
            return
        fields: dict[str, object] = {"run": event.run_id, "instance": f"{event.run_id}-{event.number}", "event": event.kind.value}
        if (shards := self._shards.get(event.run_id)) is not None:
            fields["shard"] = event.number % shards
        for name in _NAMES:
            value = getattr(event, name)
            if value is not None:
                fields[name] = round(value, 6) if isinstance(value, float) else value
        if self._trace_id is not None and (trace_id := self._trace_id(event)) is not None:
            fields["trace_id"] = trace_id
        # Not by `Logger.log`, which looks for the line of code that calls it: a third of the time.
        record = logging.LogRecord(INSTANCES, level, __file__, 0, sentence(event), None, None)
        record.created = event.at
        setattr(record, FIELDS, fields)
        self._logger.handle(record)


def level_of(event: Event) -> int:
    """The level of an event. A rollback after a failure is a warning, a teardown is not."""
    if event.kind is EventKind.ROLLING_BACK and event.error is not None:
        return logging.WARNING
    return _LEVELS.get(event.kind, logging.INFO)


def sentence(event: Event) -> str:
    """An event in words, with its instance."""
    tears_down = event.kind is EventKind.ROLLING_BACK and event.error is None
    words = _SENTENCES[event.kind]
    if tears_down:
        words = "rollback requested" if event.outcome == REQUESTED else "tearing down"
    said = words.format(
        state=event.state,
        handler=event.handler,
        attempt=event.attempt,
        outcome=event.outcome,
        target=event.target,
        how=" (recovered)" if event.handler == "recover" else "",
        took=f" in {event.duration_s * 1000:.1f} ms" if event.duration_s is not None else "",
        why=f": {event.error}" if event.error else "",
    )
    return f"{event.run_id}-{event.number} {said}"


class JsonFormatter(logging.Formatter):
    """One JSON object per line: ``time``, ``level``, ``logger``, ``message``, then the fields of the record."""

    def format(self, record: logging.LogRecord) -> str:
        """See the base class."""
        found: dict[str, object] = {
            "time": _time_of(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_fields_of(record),
        }
        if record.exc_info:
            found["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(found, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


class TextFormatter(logging.Formatter):
    """One line per record, without control characters; a trace follows on lines of its own."""

    def format(self, record: logging.LogRecord) -> str:
        """See the base class."""
        trace_id = _fields_of(record).get("trace_id")
        line = f"{_time_of(record)} {record.levelname:<7} {visible(record.getMessage())}"
        if trace_id is not None:
            line += f" [trace {trace_id}]"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


def _fields_of(record: logging.LogRecord) -> Mapping[str, object]:
    found: Mapping[str, object] = getattr(record, FIELDS, {})
    return found


def _time_of(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
