"""Pictures of a workflow's machine, drawn from its table: Mermaid text, and SVG or PNG where Graphviz is installed."""

from __future__ import annotations

import shutil
import subprocess
from typing import Any

from orchestrator.definition.machine import Move
from orchestrator.definition.workflow import Workflow
from orchestrator.errors import ConfigurationError

FORMATS = ("svg", "png")


def mermaid(workflow: Workflow[Any, Any]) -> str:
    """A state diagram in Mermaid's language. The way back, which leads from every state, is drawn once."""
    lines = ["stateDiagram-v2", f"    [*] --> {workflow.initial}"]
    lines += [f"    {move.source} --> {move.target}: {move.trigger}" for move in _drawn(workflow)]
    lines += [f"    {end} --> [*]" for end in workflow.ends]
    lines += [
        '    state "any state" as any_state',
        "    any_state --> rolling_back: roll_back",
        "    any_state --> failed: fail (kept)",
        "    rolling_back --> rolling_back: undo",
        "    rolling_back --> rolled_back: nothing left",
        "    rolling_back --> rollback_failed: leftovers",
        "    rolled_back --> [*]",
        "    failed --> any_state: put_back (retry)",
    ]
    return "\n".join(lines) + "\n"


def dot(workflow: Workflow[Any, Any]) -> str:
    """The same in Graphviz's language; states in columns, with what rolls back marked."""
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
    for move in _drawn(workflow):
        style = ', style=dashed, constraint=false, color="#aa3333", fontcolor="#aa3333"' if move.backward else ""
        lines.append(f'  "{move.source}" -> "{move.target}" [label=" {move.trigger} "{style}];')
    lines += [
        '  any [label="any state", shape=plaintext, fillcolor="white", color="white"];',
        '  rolling_back [fillcolor="#fdf1e3", color="#b9772b"];',
        '  rolled_back [peripheries=2, fillcolor="#f3f4f6", color="#55606e"];',
        '  rollback_failed [peripheries=2, fillcolor="#fbe9e7", color="#aa3333"];',
        '  failed [label="failed (kept)", peripheries=2, fillcolor="#fbe9e7", color="#aa3333"];',
        '  any -> rolling_back [label=" roll_back "];',
        '  any -> failed [label=" fail "];',
        '  failed -> any [label=" put_back ", style=dashed, constraint=false, color="#aa3333", fontcolor="#aa3333"];',
        '  rolling_back -> rolling_back [label=" undo, newest first "];',
        '  rolling_back -> rolled_back [label=" nothing left "];',
        '  rolling_back -> rollback_failed [label=" leftovers "];',
        "}",
    ]
    return "\n".join(lines) + "\n"


def picture(workflow: Workflow[Any, Any], form: str) -> bytes:
    """An SVG or PNG picture.

    Raises:
        ConfigurationError: Graphviz is not installed, or fails.
    """
    program = shutil.which("dot")
    if program is None:
        raise ConfigurationError("a picture needs Graphviz (its program `dot` is not installed); Mermaid text works without")
    done = subprocess.run([program, f"-T{form}"], input=dot(workflow).encode(), capture_output=True, check=False)  # noqa: S603
    if done.returncode != 0:
        raise ConfigurationError(f"Graphviz failed: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


def _drawn(workflow: Workflow[Any, Any]) -> list[Move]:
    """One arrow for moves between the same two places."""
    triggers: dict[tuple[str, str, bool], list[str]] = {}
    for move in workflow.machine.moves:
        triggers.setdefault((move.source, move.target, move.backward), []).append(move.trigger)
    return [Move(source, ", ".join(names), target, backward) for (source, target, backward), names in triggers.items()]
