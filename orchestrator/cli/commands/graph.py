"""The command ``graph``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import anyio.to_thread

from orchestrator.cli.console import stdout
from orchestrator.cli.naming import default_workflow
from orchestrator.definition.diagram import FORMATS, mermaid, picture
from orchestrator.definition.registry import find_workflow
from orchestrator.errors import ConfigurationError
from orchestrator.lifecycle.events import Observer
from orchestrator.report.exit_codes import ExitCode


async def command(observers: Sequence[Observer], *, workflow: str | None = None, output: Path | None = None) -> int:
    """Draw the state machine of a workflow: Mermaid text on stdout, or an image (needs Graphviz).

    Examples:
      orchestrator graph
      orchestrator graph token-fulfillment --output machine.svg    (SVG or PNG, by the name of the file)
    """
    found = find_workflow(workflow or default_workflow())
    if output is None:
        stdout().print(mermaid(found), end="")
        return ExitCode.SUCCESS
    form = output.suffix.lstrip(".").lower()
    if form in ("mmd", "mermaid"):
        data = mermaid(found).encode()
    elif form in FORMATS:
        data = picture(found, form)
    else:
        raise ConfigurationError(f"output: {output} ends with none of .mmd, {', '.join('.' + f for f in FORMATS)}")
    try:
        await anyio.to_thread.run_sync(output.write_bytes, data)
    except OSError as error:
        raise ConfigurationError(f"output: {output} cannot be written: {error.strerror}") from error
    stdout().print(f"{output} written")
    return ExitCode.SUCCESS
