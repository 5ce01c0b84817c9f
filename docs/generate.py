"""Write the reference pages from the code: ``python docs/generate.py``; with ``--check``, only say which are out of date.

Commands come from the command line itself, settings and exit codes from their classes, thresholds from the docstring of
their module, the API from the exports of ``orchestrator`` (read by griffe).
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Callable, Iterable
from enum import Enum
from pathlib import Path
from typing import Any

import griffe

import orchestrator
from orchestrator.cli import SUMMARIES, build_app
from orchestrator.cli.run_settings import LoadSettings, RunSettings
from orchestrator.cli.settings import EngineSettings, TelemetrySettings
from orchestrator.definition import registry
from orchestrator.load import thresholds
from orchestrator.report.exit_codes import ExitCode
from orchestrator.settings import Setting, settings_of
from orchestrator.web.settings import WebSettings
from states.token_fulfillment import TokenFulfillmentSettings

PAGES = Path(__file__).parent / "reference"
NOTICE = "<!-- Written by docs/generate.py. Change the code, then run it. -->\n\n"

SETTINGS_INTRO = """# Settings

A flag wins over an environment variable, which wins over the TOML file (`--config`, `ORCHESTRATOR_CONFIG`, or
`./orchestrator.toml`), which wins over the default. `load FILE` reads FILE before the others. In the file, a key is the
flag without its dashes. A run stores its settings, so `resume` needs none; credentials that were renewed can be given to it.
"""

TABLES: dict[str, tuple[type[Any], str]] = {
    "orchestrator": (EngineSettings, "The store of the runs, and options of the process that drives them."),
    "run": (RunSettings, "The settings of `orchestrator run`."),
    "load": (LoadSettings, "The scenario of `orchestrator load`. Durations are written like `30s`, `2m` or `1h30m`."),
    "telemetry": (TelemetrySettings, "The telemetry of a process that drives a run. It is not stored with the run."),
    "web": (WebSettings, "The address and the rights of the web page (`orchestrator web`, and `--web` of other commands)."),
    "token-fulfillment": (
        TokenFulfillmentSettings,
        "The tenant and the workflow. A secret is given by a variable or a file, never by a flag that others can see.",
    ),
}

API: dict[str, tuple[str, ...]] = {
    "Define a workflow": (
        "Workflow", "State", "state", "Step", "Outcome", "done", "Recovery", "Repeat", "Back", "NextRound", "Effect", "RetryPolicy", "Secret",
        "ServiceContext", "Quota", "Segment", "Proof", "setting", "DONE", "RequestTracer", "TracedRequest", "record_exchange", "Exchange", "Redactor", "visible",
    ),
    "Run it": (
        "start", "resume", "resume_all", "Resumption", "Resumed", "retry", "cleanup", "dask_cluster", "Run", "RunResult", "Options", "WorkerTraces", "Scenario", "Stage", "ThinkTime", "ThinkTimeKind",
        "ENDLESS", "OnFailure", "OnSuccess", "Observer", "Event", "EventKind", "EventStream", "Clock", "SystemClock",
    ),
    "Read a store": (
        "open_store", "Store", "Shard", "Checkpoint", "Instance", "Status", "TERMINAL", "RESUMABLE", "Failure", "Leftover", "RunRecord", "RunStatus",
        "copy_run", "prune", "PruneResult", "RunFilter", "RunPage", "RunCursor", "RunUsage", "Vault", "find_key", "new_key",
    ),
}  # fmt: skip
"""Heading → exported names. Every name that is left is an error, or belongs under one of these: see `_api`."""


def commands() -> str:
    """Every command with its flags."""
    page = "# Commands" + build_app([*SUMMARIES, *registry.commands()]).generate_docs(
        output_format="markdown", recursive=True, include_hidden=False
    ).removeprefix("# orchestrator")
    # The examples of a command are a paragraph that begins with "Try": a block of code here.
    return re.sub(r"^Try\n((?:  .*\n?)+)", lambda m: f"```sh\n{inspect.cleandoc(m[1])}\n```\n", page, flags=re.MULTILINE)


def settings() -> str:
    """Every setting by its table in the TOML file."""
    parts = [SETTINGS_INTRO]
    for table, (cls, about) in TABLES.items():
        rows = [_setting_row(one) for one in settings_of(cls)]
        parts.append(
            f"## `[{table}]`\n\n{about}\n\n| flag | variable | default | meaning |\n| --- | --- | --- | --- |\n" + "\n".join(rows)
        )
    return "\n\n".join(parts) + "\n"


def _setting_row(one: Setting) -> str:
    default = one.default.value if isinstance(one.default, Enum) else one.default
    shown = one.shown or ("" if default in (None, "", ()) or one.secret else str(default))
    choices = ""
    if isinstance(one.type, type) and issubclass(one.type, Enum):
        choices = " One of " + ", ".join(f"`{member.value}`" for member in one.type) + "."
    variables = ", ".join(f"`{name}`" for name in one.env)
    return f"| `{one.flag}` | {variables} | {f'`{shown}`' if shown else ''} | {one.help}{choices} |"


def exit_codes() -> str:
    """The exit codes, with the docstrings of their members."""
    said = _member_docs(ExitCode)
    rows = [f"| {code.value} | {code.name} | {_plain(' '.join(said.get(code.name, 'Success.').split()))} |" for code in ExitCode]
    return (
        "# Exit codes\n\n| code | name | meaning |\n| --- | --- | --- |\n" + "\n".join(rows) + "\n\n"
        "If several apply, 130 comes before 3, 3 before 4, and 4 before 1.\n"
    )


def _member_docs(cls: type[Enum]) -> dict[str, str]:
    """Member → the string under it."""
    body = ast.parse(inspect.getsource(cls)).body[0]
    assert isinstance(body, ast.ClassDef)
    found = {}
    for node, after in zip(body.body, body.body[1:], strict=False):
        said = after.value if isinstance(after, ast.Expr) else None
        if isinstance(node, ast.Assign) and isinstance(said, ast.Constant) and isinstance(node.targets[0], ast.Name):
            found[node.targets[0].id] = str(said.value)
    return found


def threshold_language() -> str:
    """The threshold language, from the docstring of its module."""
    first, _, rest = inspect.cleandoc(thresholds.__doc__ or "").partition("\n")
    code = re.sub(
        r"^::\n\n((?:    .*\n?|\n)+)", lambda m: f"```text\n{inspect.cleandoc(m[1])}\n```\n\n", rest.strip(), flags=re.MULTILINE
    )
    return f"# Thresholds\n\n{first.removeprefix('Thresholds: ').capitalize()}\n\n{_plain(code)}\n"


def api() -> str:
    """The public names, with their signatures and docstrings."""
    package = griffe.load("orchestrator", resolve_aliases=True, resolve_external=False)
    known = {name for names in API.values() for name in names}
    errors = [name for name in orchestrator.__all__ if name not in known and name.endswith("Error")]
    left = set(orchestrator.__all__) - known - set(errors)
    if left:
        sys.exit(f"docs/generate.py: no heading for {', '.join(sorted(left))}; add it to API")
    if gone := known - set(orchestrator.__all__):
        sys.exit(f"docs/generate.py: {', '.join(sorted(gone))} is not exported any more; take it out of API")
    parts = ["# API\n\nThese names can be imported from `orchestrator`. Stores are in `orchestrator.storage`.\n"]
    for heading, names in {**API, "Errors": tuple(errors)}.items():
        parts.append(f"## {heading}\n")
        parts += [_documented(name, package[name]) for name in names]
    return "\n".join(parts)


def _documented(name: str, alias: griffe.Object | griffe.Alias) -> str:
    thing = alias.final_target if isinstance(alias, griffe.Alias) else alias
    lines = [f"### {name}\n"]
    if isinstance(thing, griffe.Function):
        lines.append(f"```python\n{_signature(thing)}\n```\n")
    if thing.docstring:
        lines.append(_plain(thing.docstring.value) + "\n")
    if isinstance(thing, griffe.Class) and len(members := list(_members(thing))) > 2:
        lines += members
    return "\n".join(lines)


def _members(cls: griffe.Class) -> Iterable[str]:
    """Public fields and methods that have a docstring, or a type."""
    yield "**Members**\n"
    for name, member in cls.members.items():
        if name.startswith("_") or isinstance(member, griffe.Alias):
            continue
        said = " ".join(_plain(member.docstring.value).split("\n\n")[0].split()) if member.docstring else ""
        if isinstance(member, griffe.Function) and said:
            yield f"* `{_signature(member, method=True)}`: {said}"
        elif isinstance(member, griffe.Attribute):
            kind = f": {member.annotation}" if member.annotation else ""
            yield f"* `{name}{kind}`{f': {said}' if said else ''}"
    yield ""


def _signature(function: griffe.Function, *, method: bool = False) -> str:
    shown = [_parameter(p) for p in function.parameters if not (method and p.name in ("self", "cls"))]
    first_named = next((i for i, p in enumerate(function.parameters) if p.kind is griffe.ParameterKind.keyword_only), None)
    if first_named is not None:
        shown.insert(first_named - (len(function.parameters) - len(shown)), "*")
    word = "async def " if "async" in function.labels else "def "
    returns = f" -> {function.returns}" if function.returns else ""
    return f"{'' if method else word}{function.name}({', '.join(shown)}){returns}"


def _parameter(p: griffe.Parameter) -> str:
    kind = f": {p.annotation}" if p.annotation else ""
    return f"{p.name}{kind}{f' = {p.default}' if p.default is not None else ''}"


def _plain(text: str) -> str:
    """A docstring as Markdown: roles and double back-ticks become code, sections become lists."""
    text = re.sub(r":\w+:`~?(?:[\w.]+\.)?([\w]+)`", r"`\1`", inspect.cleandoc(text))
    text = re.sub(r"(?<!`)``(?!`)", "`", text)
    text = re.sub(r"^(Args|Raises|Returns):\n", r"**\1**\n\n", text, flags=re.MULTILINE)
    return re.sub(r"^    (\w[\w, ]*): ", r"* `\1`: ", text, flags=re.MULTILINE)


def main(argv: list[str]) -> int:
    """Write the pages, or check them."""
    pages: dict[str, Callable[[], str]] = {
        "commands": commands,
        "settings": settings,
        "thresholds": threshold_language,
        "exit-codes": exit_codes,
        "api": api,
    }
    PAGES.mkdir(exist_ok=True)
    stale = []
    for name, made in pages.items():
        path, text = PAGES / f"{name}.md", NOTICE + made().rstrip() + "\n"
        if not path.exists() or path.read_text("utf-8") != text:
            stale.append(path.name)
            if "--check" not in argv:
                path.write_text(text, "utf-8")
    if stale and "--check" in argv:
        print(f"out of date: {', '.join(stale)}; run python docs/generate.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
