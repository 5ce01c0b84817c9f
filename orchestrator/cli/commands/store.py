"""The command ``store copy``."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import anyio
import attrs

from orchestrator.cli.console import stderr, stdout
from orchestrator.cli.interrupt import watch_signals
from orchestrator.cli.naming import parse_run
from orchestrator.copying import copy_run
from orchestrator.errors import OrchestratorError, RunExistsError, RunInUseError, SettingError
from orchestrator.inspection.stored_run import every_run
from orchestrator.lifecycle.events import Observer
from orchestrator.report.exit_codes import ExitCode
from orchestrator.storage import is_lasting, open_store
from orchestrator.storage.base import Store
from orchestrator.storage.url import has_password


async def command(
    observers: Sequence[Observer],
    source: str | None = None,
    target: str | None = None,
    *,
    run: Sequence[str] | None = None,
    json: bool = False,
) -> int:
    """Copy runs from one store to another, whole and unchanged.

    Each run appears in the target with its history, statistics and input rows, or not at all. A run that a process drives is not
    copied. Without --run, runs that the target has already are left out, so that an interrupted copy can be repeated. Secrets stay
    encrypted: to resume a run or to show its secrets, the target needs the same key. The source stays as it is; resume a run in
    one of the two stores only.

    Examples:
      orchestrator store copy runs.db postgresql:///?service=orch
      orchestrator store copy runs.db one.db --run 261123-k7m3qp
    """
    first, second = _checked(source, "SOURCE"), _checked(target, "TARGET")
    wanted = [parse_run(name) for name in run or ()]
    copies, scope = _Copies(quiet=json), anyio.CancelScope()
    problem: OrchestratorError | None = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(watch_signals, lambda name: scope.cancel(), lambda name: None))
        with scope:
            try:
                async with open_store(first, create=False) as old, open_store(second) as new:
                    await copies.make(old, new, wanted)
            except OrchestratorError as error:
                problem = error
        tasks.cancel_scope.cancel()
    if problem is not None:
        raise problem
    copies.show(as_json=json)
    if scope.cancelled_caught:
        stderr().print("interrupted: the run that was being copied is not in the target; repeat the command to copy the rest")
        return ExitCode.INTERRUPTED
    return ExitCode.USAGE if copies.in_use else ExitCode.SUCCESS


@attrs.define
class _Copies:
    """The runs of one command: copied (with their number of instances), already there, and in use (with the reason)."""

    quiet: bool
    copied: dict[str, int] = attrs.field(factory=dict)
    present: list[str] = attrs.field(factory=list)
    in_use: dict[str, str] = attrs.field(factory=dict)

    async def make(self, source: Store, target: Store, wanted: Sequence[str]) -> None:
        """Copy the wanted runs, or every run, the oldest first: a run may reuse an older one."""
        for run_id in wanted or [record.id async for record in every_run(source)][::-1]:
            try:
                count = self.copied[run_id] = await copy_run(source, target, run_id)
            except RunExistsError:
                if wanted:
                    raise
                self.present.append(run_id)
            except RunInUseError as error:
                if wanted:
                    raise
                self.in_use[run_id] = str(error)
            else:
                if not self.quiet:
                    stdout().print(f"{run_id}  {count} instance{'' if count == 1 else 's'}")

    def show(self, *, as_json: bool) -> None:
        """Print the result."""
        if as_json:
            from orchestrator.report.json import dumps  # noqa: PLC0415  # with all reports behind it

            stdout().print(dumps({"copied": self.copied, "present": self.present, "in_use": self.in_use}))
            return
        for problem in self.in_use.values():
            stderr().print(problem)
        parts = [f"{len(self.copied)} run{'' if len(self.copied) == 1 else 's'} copied"]
        if self.present:
            parts.append(f"{len(self.present)} already there")
        if self.in_use:
            parts.append(f"{len(self.in_use)} in use")
        stdout().print(", ".join(parts))


def _checked(url: str | None, name: str) -> str:
    if url is None:
        raise SettingError(name, "is missing: orchestrator store copy SOURCE TARGET")
    if has_password(url):
        raise SettingError(
            name,
            "every user of this machine can read a password on the command line; put it into PGPASSWORD, PGPASSFILE, ~/.pgpass "
            "or a service file",
        )
    if not is_lasting(url):
        raise SettingError(name, f"{url} ends with its process; name a file or a database")
    return url
