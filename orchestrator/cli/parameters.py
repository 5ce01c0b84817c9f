"""Settings classes as parameters of commands: flags, help and the way to resolved settings, from the same fields."""

from __future__ import annotations

import inspect
import os
import re
import shlex
from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import attrs
from cyclopts import Group, Parameter

from orchestrator.definition.registry import workflow_names
from orchestrator.definition.workflow import Workflow
from orchestrator.errors import ConfigurationError, SettingError, shortened
from orchestrator.lifecycle.decision import OnFailure, OnSuccess
from orchestrator.lifecycle.run import Recorded, parse_id
from orchestrator.lifecycle.scenario import (
    ENDLESS,
    FASTEST,
    LEAST_RATE,
    RATES_SHOWN,
    Scenario,
    Stage,
    ThinkTime,
    parse_duration,
    parse_stages,
    parse_think_time,
)
from orchestrator.settings import (
    Resolved,
    Setting,
    convert,
    data_directory,
    default_key_file,
    default_store,
    read_table,
    resolve,
    setting,
    settings_of,
)
from orchestrator.storage import is_lasting
from orchestrator.storage.encryption import KEY_VARIABLE, Vault, find_key

CONFIG_FILE = Path("orchestrator.toml")
"""Read when it is there and no other is named."""
CONFIG_VARIABLE = "ORCHESTRATOR_CONFIG"

ENGINE_TABLE = "orchestrator"
RUN_TABLE = "run"
LOAD_TABLE = "load"

LEAST_LEASE_S = 1.0
"""One that a busy moment of the machine outlasts ends the run."""
MAX_SECONDS = 86_400
"""A day: a lease that never ran out could not be taken over from a machine that is gone."""


@attrs.frozen(kw_only=True)
class EngineSettings:
    """Where runs live, and how this process drives them; the table ``[orchestrator]``."""

    store: str | None = setting("Where runs are stored: a path, sqlite:PATH or memory:.", env=["ORCHESTRATOR_STORE"])
    lease: float = setting("Seconds that a run stays ours without renewal.", default=30.0, env=["ORCHESTRATOR_LEASE"])
    grace: float = setting(
        "Seconds that attempts in flight may take after the first Ctrl-C.", default=10.0, env=["ORCHESTRATOR_GRACE"]
    )

    def __attrs_post_init__(self) -> None:
        if not LEAST_LEASE_S <= self.lease <= MAX_SECONDS:
            raise SettingError("lease", f"{self.lease:g} is not between {LEAST_LEASE_S:g} and {MAX_SECONDS} seconds")
        if not 0 <= self.grace <= MAX_SECONDS:
            raise SettingError("grace", f"{self.grace:g} is not between 0 and {MAX_SECONDS} seconds")

    @property
    def url(self) -> str:
        """The store, the default one if none was named."""
        return default_store() if self.store is None else self.store


def parse_rates(text: str) -> dict[str, float]:
    """Rate group → attempts per second, of ``configuration=3.5,directory=10``; ``none``: no limits. Raises ``ValueError``."""
    if text.strip().lower() == "none":
        return {}
    rates: dict[str, float] = {}
    for part in text.split(","):
        group, _, rate = part.partition("=")
        try:
            per_second = float(rate)
        except ValueError:
            raise ValueError(f"{shortened(part.strip())} is not of the form GROUP=PER_SECOND") from None
        if not LEAST_RATE <= per_second <= FASTEST:
            raise ValueError(
                f"{shortened(part.strip())}: the rate is not between {RATES_SHOWN} a second; leave the group out for no limit"
            )
        if group.strip() in rates:
            raise ValueError(f"the group {group.strip()!r} is given twice")
        rates[group.strip()] = per_second
    return rates


def parse_rounds(text: str) -> int:
    """A number, or ``endless``. Raises ``ValueError``."""
    if text.strip().lower() == "endless":
        return ENDLESS
    if not re.fullmatch(r"0*[1-9][0-9]{0,17}", text.strip()):
        raise ValueError(f"must be a whole number from 1 on, or 'endless', not {shortened(text)}")
    return int(text)


_RECORD_HELP = (
    "Whose requests are stored, masked, for `show INSTANCE`: the last ones of instances that fail, or all of every instance."
)
_RATES_HELP = "Attempts per second by rate group, e.g. configuration=3.5,directory=10; 'none' for no limits."


@attrs.frozen(kw_only=True)
class OutputSettings:
    """Reports that are written when a run ends. They are stored with the run, so whatever command ends it writes them."""

    report: str | None = setting("Write the HTML report here when the run ends.", group="Output")
    csv: str | None = setting("Write states.csv, timeline.csv and errors.csv into this folder when the run ends.", group="Output")
    junit: str | None = setting(
        "Write thresholds, and states or failed instances, as JUnit XML here when the run ends.", group="Output"
    )


@attrs.frozen(kw_only=True)
class RunSettings(OutputSettings):
    """What a run is; the table ``[run]``."""

    instances: int = setting("How many instances.", default=1)
    concurrency: int = setting("How many at once.", default=1)
    rounds: int = setting("How often each instance goes round, e.g. signs on.", default=1)
    on_failure: OnFailure = setting("What happens to an instance that cannot go on.", default=OnFailure.ROLLBACK)
    on_success: OnSuccess = setting("What happens to what a completed instance made.", default=OnSuccess.KEEP)
    rates: Mapping[str, float] | None = setting(_RATES_HELP, parse=parse_rates)
    record: Recorded = setting(_RECORD_HELP, default=Recorded.FAILED)

    def scenario(self) -> Scenario:
        """The scenario. Raises ``SettingError``."""
        if self.rounds < 1:
            raise SettingError("rounds", f"{self.rounds} is less than 1")
        return Scenario(instances=self.instances, concurrency=self.concurrency, rounds=self.rounds)


@attrs.frozen(kw_only=True)
class LoadSettings(OutputSettings):
    """A scenario of load; the table ``[load]``. Durations are written like 30s, 2m or 1h30m."""

    instances: int | None = setting(
        "How many instances in all; as many as the time allows by default. With endless rounds: how many at once.", group="Closed"
    )
    concurrency: int | None = setting("How many at once; 1, or 1000 for arrivals, by default.", group="Closed")
    stages: tuple[Stage, ...] = setting(
        "Concurrency over time, as straight lines: DURATION:TARGET,…, e.g. 30s:10,2m:50,30s:0.",
        default=(),
        group="Closed",
        parse=parse_stages,
    )
    rate: float | None = setting("Arrivals per second, whatever the answers take.", group="Open")
    rate_stages: tuple[Stage, ...] = setting(
        "Arrivals per second over time, e.g. 1m:20,5m:20.", default=(), group="Open", parse=parse_stages
    )
    duration: float | None = setting("How long to admit, and to begin rounds.", group="Time", parse=parse_duration)
    warm_up: float = setting(
        "Measured in the beginning, and not counted.", default=0.0, group="Time", parse=parse_duration, shown="0s"
    )
    graceful_stop: float = setting(
        "How long what is under way at the end may go on; the rest is rolled back.",
        default=30.0,
        group="Time",
        parse=parse_duration,
        shown="30s",
    )
    rounds: int = setting(
        "How often each instance goes round, e.g. signs on: a number, or 'endless' (until the time is over).",
        default=1,
        group="Soak",
        parse=parse_rounds,
        shown="1",
    )
    think_time: ThinkTime | None = setting(
        "Pause between rounds: 2s (constant), 1s-3s (uniform) or ~2s (exponential).", group="Soak", parse=parse_think_time
    )
    reuse: str | None = setting("Run whose kept instances are used again, so that nothing is configured.", group="Soak")
    seed: int = setting("Of the pauses.", default=0, group="Soak")
    on_failure: OnFailure = setting("What happens to an instance that cannot go on.", default=OnFailure.ROLLBACK)
    on_success: OnSuccess = setting("What happens to what a completed instance made.", default=OnSuccess.TEARDOWN)
    rates: Mapping[str, float] | None = setting(_RATES_HELP, parse=parse_rates)
    record: Recorded = setting(_RECORD_HELP, default=Recorded.FAILED)
    threshold: tuple[str, ...] = setting(
        "What the run has to keep to, e.g. 'exchange_token.p95 < 500ms' or 'failed < 1%'; any number of times.",
        default=(),
        group="Verdict",
    )
    abort: bool = setting("End the scenario once a threshold is broken beyond doubt.", default=False, group="Verdict")

    def scenario(self) -> Scenario:
        """The scenario. Raises ``SettingError``."""
        same = [field.name for field in attrs.fields(Scenario) if field.init]
        return Scenario(**{name: getattr(self, name) for name in same})


def with_settings(command: Callable[..., Any], *classes: Any, leading: Mapping[str, Any] | None = None) -> Callable[..., Any]:
    """``command``, which takes keyword arguments, with the flags of these settings classes as its signature.

    Args:
        leading: Positional parameters and further flags: name → (annotation, default).
    """
    parameters, annotations = [], {}
    for name, (annotation, default) in (leading or {}).items():
        kind = inspect.Parameter.POSITIONAL_ONLY if _is_argument(annotation) else inspect.Parameter.KEYWORD_ONLY
        parameters.append(inspect.Parameter(name, kind, default=default, annotation=annotation))
        annotations[name] = annotation
    for cls in classes:
        for s in cls.settings() if isinstance(cls, Renewable) else settings_of(cls):
            annotation = _annotation(s)
            parameters.append(inspect.Parameter(s.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation))
            annotations[s.name] = annotation
    parameters.sort(key=lambda p: p.kind)

    def call(*args: Any, **kwargs: Any) -> Any:
        bound = inspect.Signature(parameters).bind(*args, **kwargs)
        return command(**bound.arguments)

    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = annotations
    call.__doc__ = command.__doc__
    return call


class Renewable:
    """The renewable settings of a class, as flags of the commands that take up a stored run."""

    def __init__(self, cls: Any) -> None:
        self._cls = cls

    def settings(self) -> list[Setting]:
        """Those of them that may be renewed."""
        return [s for s in settings_of(self._cls) if s.renewable]


def argument(help: str) -> Any:
    """Annotation of an optional positional argument."""
    return Annotated[str | None, Parameter(help=help, allow_leading_hyphen=False)]


def flag(kind: Any, name: str, help: str) -> Any:
    """Annotation of a further flag."""
    return Annotated[kind, Parameter(name=[name], help=help, negative=(), show_default=False)]


JSON_FLAG = flag(bool, "--json", "One JSON document on stdout, and nothing else there.")
CONFIG_FLAG = flag(Path | None, "--config", f"TOML file with settings. [env: {CONFIG_VARIABLE}] [default: ./{CONFIG_FILE}]")


class Resolver:
    """Resolves settings classes from the flags of a command, the environment and the TOML file."""

    def __init__(
        self,
        flags: Mapping[str, Any],
        config: Path | None,
        environ: Mapping[str, str] | None = None,
        *,
        scenario: Path | None = None,
    ) -> None:
        self._flags = flags
        self._environ = os.environ if environ is None else environ
        usual = Path(self._environ[CONFIG_VARIABLE]) if self._environ.get(CONFIG_VARIABLE) else None
        usual = usual or (CONFIG_FILE if CONFIG_FILE.exists() else None)
        self._usual = str(usual)
        """The file that the next command reads, too."""
        self._scenario = str(scenario)
        files = [file for file in (scenario, config or usual) if file is not None]
        self._files = [(str(file), read_table(file)) for file in files]
        """Each with its tables; the first that has a key wins."""

    def check_tables(self) -> None:
        """Refuse a table that no command reads. Raises ``SettingError``."""
        known = (ENGINE_TABLE, RUN_TABLE, LOAD_TABLE, *workflow_names())
        for file, tables in self._files:
            for name in tables:
                if name not in known:
                    raise SettingError(name, f"unknown table; known: {', '.join(f'[{k}]' for k in known)}", file)

    def engine(self) -> Resolved[EngineSettings]:
        """The table ``[orchestrator]``."""
        return self._resolve(EngineSettings, ENGINE_TABLE)

    def run(self) -> Resolved[RunSettings]:
        """The table ``[run]``."""
        return self._resolve(RunSettings, RUN_TABLE)

    @property
    def has_load(self) -> bool:
        """Whether the scenario's file has the table ``[load]``."""
        return any(LOAD_TABLE in tables for file, tables in self._files if file == self._scenario)

    @property
    def suffix(self) -> str | None:
        """What the commands that come next need to find this store again; ``None``: they cannot, for it is in memory."""
        engine = self.engine()
        if not self.is_lasting:
            return None
        found_again = ("default", "ORCHESTRATOR_STORE", self._usual)
        return "" if engine.sources["store"] in found_again else f" --store {shlex.quote(engine.value.url)}"

    def load(self) -> Resolved[LoadSettings]:
        """The table ``[load]``."""
        return self._resolve(LoadSettings, LOAD_TABLE)

    def workflow(self, workflow: Workflow[Any, Any]) -> Resolved[Any]:
        """The table named like the workflow."""
        if not isinstance(workflow.settings, type):
            return Resolved(None, {})
        return self._resolve(workflow.settings, workflow.name)

    def renewed(self, workflow: Workflow[Any, Any]) -> dict[str, Any]:
        """Settings of a stored run that flags of this command replace, e.g. credentials that were changed meanwhile."""
        known = settings_of(workflow.settings)
        return {
            s.name: convert(s, self._flags[s.name], s.flag) for s in known if s.renewable and self._flags.get(s.name) is not None
        }

    def vault(self, *, create: bool = False) -> Vault:
        """The user's key; ``create``: made if there is none. A store in memory needs none, and has one that ends with it."""
        if not self.is_lasting:
            return Vault(os.urandom(32), "this process")
        return find_key(self._environ, default_key_file(), create=create)

    @property
    def is_lasting(self) -> bool:
        """Whether another process finds the store of these settings."""
        return is_lasting(self.engine().value.url)

    @property
    def has_key(self) -> bool:
        """Whether there is a key, or something in its place."""
        return bool(self._environ.get(KEY_VARIABLE)) or default_key_file().exists()

    @property
    def directory(self) -> Path | None:
        """Where services keep files of their own; ``None``: nowhere, since nothing outlives a store in memory."""
        return data_directory() if self.is_lasting else None

    def _resolve(self, cls: Any, table: str) -> Resolved[Any]:
        for file, tables in self._files:
            if not isinstance(tables.get(table, {}), dict):
                raise SettingError(table, "is not a table", file)
        files = [(file, tables.get(table, {})) for file, tables in self._files]
        return resolve(cls, flags=self._flags, environ=self._environ, files=files)


def parse_instance(given: str) -> tuple[str, int | None]:
    """The run that an id names, and the number of the instance if it is one of an instance. Raises ``ConfigurationError``."""
    try:
        return parse_id(given)
    except ValueError as error:
        raise ConfigurationError(str(error)) from error


def parse_run(given: str) -> str:
    """The run that an id names; that of an instance will do. Raises ``ConfigurationError``."""
    return parse_instance(given)[0]


def _is_argument(annotation: Any) -> bool:
    return all(parameter.name is None or not parameter.name for parameter in annotation.__metadata__)


def _annotation(s: Setting) -> Any:
    # Numbers arrive as text, too: `convert` reads flags, variables and files alike, and refuses in the same words.
    kind: Any = bool if s.type is bool else list[str] if s.many else str
    text = s.help
    if s.secret:
        text = f"File that holds it: {text[0].lower()}{text[1:]}"
    elif isinstance(s.type, type) and issubclass(s.type, Enum):
        text += f" [choices: {', '.join(str(m.value) for m in s.type)}]"
    if s.env:
        text += f" [env: {', '.join(s.env)}]"
    default = s.shown or (s.default.value if isinstance(s.default, Enum) else s.default)
    if default not in (None, "", (), False):
        text += f" [default: {default:g}]" if isinstance(default, float) else f" [default: {default}]"
    more: dict[str, Any] = {"group": Group(s.group)} if s.group else {}
    return Annotated[kind | None, Parameter(name=[s.flag], help=text, negative=(), show_default=False, **more)]
