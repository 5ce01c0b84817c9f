"""A summary as JSON data for programs."""

from __future__ import annotations

from typing import Any

import attrs
import orjson

from orchestrator.report.summary import Summary
from orchestrator.report.text import next_commands


def document(summary: Summary, exit_code: int, suffix: str = "") -> dict[str, Any]:
    """The whole summary; keys are stable."""
    return {
        "run": summary.run_id,
        "workflow": summary.workflow,
        "status": summary.status.value,
        "exit_code": exit_code,
        "counts": {status.value: number for status, number in summary.counts.items()},
        "proofs": {instance: dict(facts) for instance, facts in summary.proofs.items()},
        "existing": dict(summary.existing),
        "effects": [attrs.asdict(item.effect) | {"instance": item.instance, "state": item.state} for item in summary.standing],
        "leftovers": [attrs.asdict(left) | {"instance": instance} for instance, left in summary.leftovers],
        "failures": [attrs.asdict(failure) | {"instance": instance} for instance, failure in summary.failures],
        "next": [command for command, _ in next_commands(summary, suffix)],
    }


def dumps(data: Any) -> str:
    """Indented JSON text."""
    return orjson.dumps(data, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS).decode()
