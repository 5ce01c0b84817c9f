"""The command ``store copy``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orchestrator.cli.console import stderr, stdout
from orchestrator.cli.naming import parse_run
from orchestrator.copying import copy_run
from orchestrator.errors import RunExistsError, RunInUseError, SettingError
from orchestrator.inspection.stored_run import every_run
from orchestrator.lifecycle.events import Observer
from orchestrator.report.exit_codes import ExitCode
from orchestrator.storage import is_lasting, open_store
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
    copied: dict[str, int] = {}
    present: list[str] = []
    in_use: dict[str, str] = {}
    async with open_store(first, create=False) as old, open_store(second) as new:
        for run_id in wanted or [record.id async for record in every_run(old)][::-1]:
            try:
                copied[run_id] = await copy_run(old, new, run_id)
            except RunExistsError:
                if wanted:
                    raise
                present.append(run_id)
            except RunInUseError as error:
                if wanted:
                    raise
                in_use[run_id] = str(error)
            else:
                if not json:
                    stdout().print(f"{run_id}  {copied[run_id]} instance{'' if copied[run_id] == 1 else 's'}")
    _print(copied, present, in_use, as_json=json)
    return ExitCode.USAGE if in_use else ExitCode.SUCCESS


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


def _print(copied: Mapping[str, int], present: Sequence[str], in_use: Mapping[str, str], *, as_json: bool) -> None:
    if as_json:
        from orchestrator.report.json import dumps  # noqa: PLC0415  # with all reports behind it

        stdout().print(dumps({"copied": copied, "present": present, "in_use": in_use}))
        return
    for problem in in_use.values():
        stderr().print(problem)
    parts = [f"{len(copied)} run{'' if len(copied) == 1 else 's'} copied"]
    if present:
        parts.append(f"{len(present)} already there")
    if in_use:
        parts.append(f"{len(in_use)} in use")
    stdout().print(", ".join(parts))
