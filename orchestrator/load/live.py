"""Live: the numbers of a run at one moment, for displays. Those of several processes can be merged, and are sent as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

import attrs
import orjson

from orchestrator.definition.machine import ROLLING_BACK
from orchestrator.definition.workflow import AnyWorkflow
from orchestrator.json_types import JSONObject
from orchestrator.load import series
from orchestrator.load.collector import Collector
from orchestrator.load.latency import Latency
from orchestrator.load.window import ErrorKey, ErrorTally, Window


@attrs.frozen
class StateNow:
    """A state at one moment."""

    here: int = 0
    """Instances in it."""
    oldest_s: float | None = None
    """Seconds that the oldest of them has been in it."""
    done: int = 0
    """How often it has ended with an outcome."""
    retried: int = 0
    failed: int = 0

    def beside(self, other: StateNow) -> StateNow:
        """The same state in two processes."""
        oldest = [seconds for seconds in (self.oldest_s, other.oldest_s) if seconds is not None]
        return StateNow(
            self.here + other.here,
            max(oldest, default=None),
            self.done + other.done,
            self.retried + other.retried,
            self.failed + other.failed,
        )


@attrs.frozen(kw_only=True)
class Live:
    """The numbers of a run, or of a part of it. Counts are over all processes that have driven this part."""

    elapsed: float = 0.0
    """Seconds of the scenario."""
    started: int = 0
    """Instances that were admitted."""
    active: int = 0
    """Instances that are being driven."""
    wanted: int = 0
    """The load that a closed scenario wants now, in running instances."""
    offered: int = 0
    """Instances that make load now."""
    held_back: int = 0
    """Places of a soak that wait to be refilled, because several instances in a row failed there."""
    counters: Mapping[str, int] = attrs.field(factory=dict)
    """The counters of the run as a whole (see :mod:`orchestrator.load.series`)."""
    states: Mapping[str, StateNow] = attrs.field(factory=dict)
    """Every state of the workflow, and ``ROLLING_BACK``."""
    errors: Mapping[ErrorKey, ErrorTally] = attrs.field(factory=dict)
    recent: Window = attrs.field(factory=lambda: Window(at=0.0, elapsed=0.0))
    """The measurements between the last two ticks."""

    def count(self, name: str) -> int:
        """A counter of the run."""
        return self.counters.get(name, 0)

    def latency(self, name: str) -> Latency | None:
        """The latency of a series in the last two seconds."""
        return self.recent.latencies.get(name)

    def dumps(self) -> bytes:
        """As JSON."""
        data = attrs.asdict(self, recurse=False) | {
            "states": {name: attrs.astuple(state) for name, state in self.states.items()},
            "errors": [[*attrs.astuple(key), tally.count, tally.example] for key, tally in self.errors.items()],
            "recent": self.recent.dumps().decode(),
        }
        return orjson.dumps(data)

    @classmethod
    def loads(cls, text: bytes | str) -> Live:
        """The inverse of :meth:`dumps`."""
        data: JSONObject = orjson.loads(text)
        return cls(
            **data
            | {
                "states": {name: StateNow(*numbers) for name, numbers in data["states"].items()},
                "errors": {ErrorKey(state, kind, code): ErrorTally(n, text) for state, kind, code, n, text in data["errors"]},
                "recent": Window.loads(data["recent"].encode()),
            }
        )


def live_of(
    collector: Collector, workflow: AnyWorkflow, *, elapsed: float, started: int, wanted: int = 0, held_back: int = 0
) -> Live:
    """The numbers of a collector, with those that only the admission knows."""
    here: Counter[str] = Counter()
    since: dict[str, float] = {}
    for state, entered in list(collector.recorder.place.values()):
        here[state] += 1
        since[state] = min(entered, since.get(state, entered))
    now = collector.steady()

    def state_now(name: str, outcomes: Iterable[str]) -> StateNow:
        oldest = now - since[name] if name in since else None
        if name not in collector.recorder.tallies:
            return StateNow(here[name], oldest)
        so_far = collector.recorder.tallies[name].so_far
        done = sum(so_far(series.moved(name, outcome)) for outcome in outcomes)
        return StateNow(here[name], oldest, done, so_far(series.retried(name)), so_far(series.failed(name)))

    return Live(
        active=len(collector.recorder.place),
        offered=collector.offered,
        counters=dict(collector.counters),
        states={state.name: state_now(state.name, state.outcomes) for state in workflow.states}
        | {ROLLING_BACK: state_now(ROLLING_BACK, ())},
        errors=dict(collector.recorder.errors),
        recent=collector.recent,
        elapsed=elapsed,
        started=started,
        wanted=wanted,
        held_back=held_back,
    )


def merged(parts: Iterable[Live]) -> Live:
    """The numbers of parts that are driven at the same time, as those of one run."""
    counters: Counter[str] = Counter()
    states: dict[str, StateNow] = {}
    all_errors, recent = Window(at=0.0, elapsed=0.0), Window(at=0.0, elapsed=0.0)
    parts = list(parts)
    for part in parts:
        counters.update(part.counters)
        for name, state in part.states.items():
            states[name] = states[name].beside(state) if name in states else state
        for key, tally in part.errors.items():
            all_errors.count_error(key, tally.example, tally.count)
        recent.add(part.recent)
    recent.read_off()
    return Live(
        elapsed=max((part.elapsed for part in parts), default=0.0),
        started=sum(part.started for part in parts),
        active=sum(part.active for part in parts),
        wanted=sum(part.wanted for part in parts),
        offered=sum(part.offered for part in parts),
        held_back=sum(part.held_back for part in parts),
        counters=counters,
        states=states,
        errors=all_errors.errors,
        recent=recent,
    )
