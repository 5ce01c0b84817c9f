"""A summary as JSON data for programs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import attrs
import orjson

from orchestrator.inspection.rows import StateRow
from orchestrator.inspection.summary import Summary
from orchestrator.json_types import JSONObject
from orchestrator.load.latency import PERCENTILES, Latency
from orchestrator.load.series import HELD_BACK, LATE, REPLACED, ROUND_DONE, ROUND_FAILED
from orchestrator.report.text import next_commands


def document(summary: Summary, exit_code: int, suffix: str | None = "") -> JSONObject:
    """The whole summary; keys are stable."""
    return {
        "run": summary.run_id,
        "workflow": summary.workflow,
        "status": summary.status.value,
        "exit_code": exit_code,
        "scenario": summary.scenario.describe(),
        "thresholds": [attrs.asdict(verdict) for verdict in summary.verdicts],
        "admitted": summary.admitted,
        "missed": summary.missed,
        "counts": {status.value: number for status, number in summary.counts.items()},
        "statistics": statistics(summary),
        "proofs": {instance: dict(facts) for instance, facts in summary.proofs.items()},
        "existing": dict(summary.existing),
        "effects": [attrs.asdict(item.effect) | {"instance": item.instance, "state": item.state} for item in summary.standing],
        "leftovers": [attrs.asdict(left) | {"instance": instance} for instance, left in summary.leftovers],
        "failures": [attrs.asdict(failure) | {"instance": instance} for instance, failure in summary.failures],
        "failures_total": summary.failed,
        "aborted": summary.aborted,
        "next": [] if suffix is None else [command for command, _ in next_commands(summary, suffix)],
    }


def statistics(summary: Summary) -> JSONObject:
    """The measurements; latencies in seconds. Percentiles are over ``count`` entries, the rate over ``ended``."""
    total, measured = summary.statistics.total, summary.statistics.measured()
    return {
        "seconds": summary.statistics.seconds,
        "elapsed": summary.statistics.elapsed,
        "unmeasured": summary.unmeasured,
        "ended_in_warm_up": summary.ended_in_warm_up,
        "late": total.counters[LATE],
        "rounds": {"done": total.counters[ROUND_DONE], "failed": total.counters[ROUND_FAILED]},
        "load": {
            "wanted": measured.wanted,
            "offered": measured.offered,
            "replaced": total.counters[REPLACED],
            "held_back": total.counters[HELD_BACK],
        },
        "memory_bytes": total.memory,
        "gaps": [{"at": at, "seconds": seconds} for at, seconds in summary.statistics.gaps],
        "states": [_state(row) for row in summary.states],
        "segments": {
            name: latency_data(latency) | {"ended": summary.statistics.ended(name), "rate": summary.statistics.rate(name)}
            for name, latency in summary.segments
        },
        "errors": [attrs.asdict(row.key) | attrs.asdict(row.tally) for row in summary.errors],
        "shards": [
            attrs.asdict(row) | {"gaps": [{"at": at, "seconds": seconds} for at, seconds in row.gaps]} for row in summary.shards
        ],
    }


def _state(row: StateRow) -> JSONObject:
    data: JSONObject = {
        "state": row.state,
        "ok": row.ok,
        "retried": row.retried,
        "recovered": row.recovered,
        "failed": row.failed,
    }
    data |= {"rollback_retried": row.rollback_retried, "rollback_failed": row.rollback_failed}
    series = {"whole": row.whole, "attempt": row.attempt, "recover": row.recover, "rollback": row.rollback}
    return data | {name: latency_data(latency) for name, latency in series.items() if latency}


def latency_data(latency: Latency) -> JSONObject:
    """Count, minimum, percentiles and maximum."""
    percentiles = {f"p{percentile:g}": value for percentile, value in zip(PERCENTILES, latency.percentiles, strict=True)}
    return {"count": latency.count, "min": latency.min, **percentiles, "max": latency.max}


def har(exchanges: Iterable[Mapping[str, object]]) -> str:
    """Exchanges as an HTTP archive (HAR 1.2)."""
    return dumps(
        {
            "log": {
                "version": "1.2",
                "creator": {"name": "orchestrator", "version": "1"},
                "entries": [one for one in exchanges if "request" in one],
            }
        }
    )


def dumps(data: object) -> str:
    """Indented JSON text."""
    return orjson.dumps(data, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS).decode()
