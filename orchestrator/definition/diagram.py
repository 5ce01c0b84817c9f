"""Diagrams of a workflow, drawn from the rows of its machine: Mermaid text, and SVG or PNG where Graphviz is installed."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator

import attrs

from orchestrator.definition.machine import (
    FAIL,
    FAILED,
    FINISH,
    PUT_BACK,
    RETRY,
    ROLL_BACK,
    ROLLBACK_FAILED,
    ROLLED_BACK,
    ROLLING_BACK,
    UNDO,
    Machine,
    Move,
)
from orchestrator.definition.workflow import AnyWorkflow
from orchestrator.errors import ConfigurationError

FORMATS = ("svg", "png")
ANY_STATE = "any_state"
"""Stands for each state of the workflow in the moves that the engine adds to all of them."""
_BACKWARD = 'style=dashed, constraint=false, color="#aa3333", fontcolor="#aa3333"'
_STATIONS = {
    ANY_STATE: '[label="any state", shape=plaintext, fillcolor="white", color="white"]',
    ROLLING_BACK: '[fillcolor="#fdf1e3", color="#b9772b"]',
    ROLLED_BACK: '[peripheries=2, fillcolor="#f3f4f6", color="#55606e"]',
    ROLLBACK_FAILED: '[peripheries=2, fillcolor="#fbe9e7", color="#aa3333"]',
    FAILED: '[label="failed (kept)", peripheries=2, fillcolor="#fbe9e7", color="#aa3333"]',
}
"""Style in Graphviz of each position that a workflow does not declare."""
_LABELS = {
    RETRY: "retry",
    FAIL: "fail (kept)",
    ROLL_BACK: "roll_back",
    UNDO: "undo, newest first",
    FINISH: "finish",
    PUT_BACK: "put_back (retry)",
}


@attrs.frozen
class Arrow:
    """The moves between two positions, as one arrow."""

    source: str
    target: str
    labels: tuple[str, ...]
    backward: bool


def arrows(machine: Machine) -> Iterator[Arrow]:
    """Every row of the machine as part of an arrow. Rows that the engine adds for each state are drawn once, from or to
    ``ANY_STATE``."""
    found: dict[tuple[str, str, bool], dict[str, None]] = {}
    for move in machine:
        source, target = (_drawn(position, machine, move) for position in (move.source, move.target))
        backward = move.back is not None or move.trigger.startswith(PUT_BACK)
        found.setdefault((source, target, backward), {})[_label(move)] = None
    for (source, target, backward), labels in found.items():
        yield Arrow(source, target, tuple(labels), backward)


def mermaid(workflow: AnyWorkflow) -> str:
    """A state diagram in the language of Mermaid."""
    lines = ["stateDiagram-v2", f"    [*] --> {workflow.initial}", f'    state "any state" as {ANY_STATE}']
    lines += [f"    {arrow.source} --> {arrow.target}: {', '.join(arrow.labels)}" for arrow in arrows(workflow.machine)]
    lines += [f"    {end} --> [*]" for end in (*workflow.ends, ROLLED_BACK)]
    return "\n".join(lines) + "\n"


def dot(workflow: AnyWorkflow) -> str:
    """A state diagram in the language of Graphviz: states in a column, those with a rollback marked."""
    lines = [
        "digraph machine {",
        '  graph [rankdir=TB, bgcolor="white", fontname="Helvetica", nodesep=0.35, ranksep=0.28, pad=0.2];',
        '  node [shape=box, style="rounded,filled", fillcolor="#eef3fb", color="#4a6fa5", height=0.32, margin="0.14,0.04"];',
        '  node [fontname="Helvetica", fontsize=11];',
        '  edge [fontname="Helvetica", fontsize=9, color="#55606e", fontcolor="#55606e", arrowsize=0.7];',
        '  start [shape=circle, label="", width=0.16, fillcolor="#33404f", color="#33404f"];',
        f'  start -> "{workflow.initial}";',
    ]
    for number, state in enumerate(workflow.states, start=1):
        undo = "  ⟲" if state.can_roll_back else ""
        fill = ', fillcolor="#fdf1e3", color="#b9772b"' if state.can_roll_back else ""
        lines.append(f'  "{state.name}" [label="{number}  {state.name}{undo}"{fill}];')
    lines += [f'  "{end}" [shape=box, peripheries=2, fillcolor="#e6f4ea", color="#3b7d4f"];' for end in workflow.ends]
    lines += [f'  "{name}" {style};' for name, style in _STATIONS.items()]
    for arrow in arrows(workflow.machine):
        # An arrow from an end back into the rollback must not move the end to the top of the column.
        style = f", {_BACKWARD}" if arrow.backward else ", constraint=false" if arrow.source in workflow.ends else ""
        lines.append(f'  "{arrow.source}" -> "{arrow.target}" [label=" {", ".join(arrow.labels)} "{style}];')
    return "\n".join((*lines, "}")) + "\n"


def picture(workflow: AnyWorkflow, form: str) -> bytes:
    """An SVG or PNG picture.

    Raises:
        ConfigurationError: Graphviz is not installed, or it fails.
    """
    program = shutil.which("dot")
    if program is None:
        raise ConfigurationError("a picture needs Graphviz, and its program `dot` is not installed; Mermaid text needs nothing")
    done = subprocess.run([program, f"-T{form}"], input=dot(workflow).encode(), capture_output=True, check=False)  # noqa: S603  # Graphviz, found by its name
    if done.returncode != 0:
        raise ConfigurationError(f"Graphviz failed: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


def _drawn(position: str, machine: Machine, move: Move) -> str:
    return ANY_STATE if move.by_engine and position in machine.states else position


def _label(move: Move) -> str:
    if not move.by_engine:
        return move.trigger
    prefix = next((prefix for prefix in (FINISH, PUT_BACK) if move.trigger.startswith(prefix)), move.trigger)
    return _LABELS[prefix]
