"""Settings: one frozen object from flags, environment, TOML files and defaults, with the source of each value."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from types import UnionType
from typing import Any, Generic, TypeVar, Union, get_args, get_origin, get_type_hints, overload

import attrs
import platformdirs

from orchestrator.conversion import as_boolean, as_number, as_text, check_text, choice, parsable
from orchestrator.errors import SettingError, shortened
from orchestrator.secret import Secret

T = TypeVar("T")

APP = "orchestrator"
FORM = "form"
"""Source of a value that a user has filled in."""


def data_directory() -> Path:
    """The folder of the default store, the key file and the state of embedded sandboxes."""
    return Path(platformdirs.user_data_dir(APP, appauthor=False))


RUNS_AT_ONCE = 4
"""Runs that are driven at once when all unfinished ones are resumed."""
LEASE_S = 30.0
"""Default duration of a lease."""
GRACE_S = 10.0
"""Default grace period for attempts in flight after a request to stop."""
STORE_TIMEOUT_S = LEASE_S
"""How long a database that does not answer is awaited. After a lease, another process may have taken over."""


def default_store() -> str:
    """The store if none is named."""
    return f"sqlite:{data_directory() / 'runs.db'}"


def default_key_file() -> Path:
    """The key file if ``ORCHESTRATOR_KEY`` is not set."""
    return data_directory() / "key"


@overload
def setting(
    help: str,
    *,
    default: T,
    env: Iterable[str] = (),
    renewable: bool = False,
    group: str = "",
    parse: Callable[[str], T] | None = None,
    shown: str | None = None,
) -> T: ...
@overload
def setting(
    help: str,
    *,
    env: Iterable[str] = (),
    renewable: bool = False,
    group: str = "",
    parse: Callable[[str], object] | None = None,
    shown: str | None = None,
) -> None: ...
def setting(
    help: str,
    *,
    default: object = None,
    env: Iterable[str] = (),
    renewable: bool = False,
    group: str = "",
    parse: Callable[[str], object] | None = None,
    shown: str | None = None,
) -> Any:
    """A field of a settings class.

    Args:
        help: One line for ``--help`` and the README.
        env: Environment variables; the first that is set wins.
        renewable: A flag replaces the stored value when a run is continued.
        group: Heading under which ``--help`` shows it.
        parse: Text → value, if the type alone does not say how; raises ``ValueError``.
        shown: The default as people write it, if that differs.
    """
    metadata = {"help": help, "env": tuple(env), "renewable": renewable, "group": group, "parse": parse, "shown": shown}
    return attrs.field(default=default, metadata={"setting": metadata})


@attrs.frozen(kw_only=True)
class Setting:
    """One setting as the command line needs it."""

    name: str
    type: Any
    """Without ``None``."""
    default: Any
    help: str
    env: tuple[str, ...]
    renewable: bool
    group: str
    parse: Callable[[str], object] | None = None
    shown: str | None = None

    @property
    def many(self) -> bool:
        """Whether the flag can be repeated, and a TOML file has a list."""
        return get_origin(self.type) is tuple and self.parse is None

    @property
    def secret(self) -> bool:
        """Never given by a flag, because every user of the machine can read flags."""
        return self.type is Secret

    @property
    def flag(self) -> str:
        """The flag; a secret's names a file that holds it."""
        return "--" + self.name.replace("_", "-") + ("-file" if self.secret else "")


@attrs.frozen
class Resolved(Generic[T]):
    """Settings, and for each where its value came from: ``flag``, the variable, the file, or ``default``."""

    value: T
    sources: Mapping[str, str]


def settings_of(cls: object) -> list[Setting]:
    """The settings of a settings class, in order; empty for anything else."""
    if not isinstance(cls, type) or not attrs.has(cls):
        return []
    hints = get_type_hints(cls)
    found = []
    for field in attrs.fields(cls):
        data = field.metadata.get("setting")
        if data is not None:
            found.append(Setting(name=field.name, type=_bare(hints[field.name]), default=field.default, **data))
    return found


def resolve(
    cls: type[T],
    *,
    flags: Mapping[str, object],
    environ: Mapping[str, str],
    files: Sequence[tuple[str, Mapping[str, object]]],
    form: Mapping[str, object] | None = None,
) -> Resolved[T]:
    """The settings of ``cls``. Flags win over the environment, then come the TOML files in order, then the defaults.

    Args:
        form: Values that a user has filled in; they win over all others.

    Raises:
        SettingError: A value does not fit its type, or a table has an unknown key.
    """
    known = {s.name: s for s in settings_of(cls)}
    for file, table in files:
        _check_keys(file, table, known)
    values: dict[str, object] = {}
    sources: dict[str, str] = {}
    for name, s in known.items():
        raw, source = (form[name], FORM) if form and name in form else find(s, flags, environ, files)
        sources[name] = source
        if source != "default":
            values[name] = convert(s, raw, source)
    try:
        return Resolved(cls(**values), sources)
    except (ValueError, TypeError) as error:
        raise SettingError(cls.__name__, str(error)) from error


def read_table(path: Path) -> dict[str, Any]:
    """A TOML file.

    Raises:
        SettingError: It cannot be read, or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise SettingError("config", f"{shortened(str(path))} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingError("config", f"{path} is not text in UTF-8") from error
    except ValueError as error:
        raise SettingError("config", f"{path} is not valid TOML: {error}") from error


def _bare(hint: object) -> Any:
    if get_origin(hint) in (Union, UnionType):
        return next(arg for arg in get_args(hint) if arg is not type(None))
    return hint


def _check_keys(file: str, table: Mapping[str, object], known: Iterable[str]) -> None:
    given: set[str] = set()
    for key in table:
        name = key.replace("-", "_")
        if name not in known:
            raise SettingError(
                shortened(key)[1:-1], f"unknown setting; known: {', '.join(s.replace('_', '-') for s in known)}", file
            )
        if name in given:
            raise SettingError(key, "given twice, with - and with _", file)
        given.add(name)


def find(
    s: Setting, flags: Mapping[str, object], environ: Mapping[str, str], files: Sequence[tuple[str, Mapping[str, object]]]
) -> tuple[object, str]:
    """The raw value of a setting, and its source; ``None`` and ``default`` if it is given nowhere."""
    if flags.get(s.name) not in (None, []):
        return flags[s.name], s.flag
    for variable in s.env:
        if environ.get(variable):
            return environ[variable], variable
    for file, table in files:
        for key, value in table.items():
            if key.replace("-", "_") == s.name:
                return value, file
    return None, "default"


def convert(s: Setting, raw: object, source: str) -> Any:
    """A raw value converted to the type of the setting; for the flag of a secret it is a path. Raises ``SettingError``."""
    name = s.name.replace("_", "-")
    check_text(name, raw, source)
    try:
        if s.secret:
            if source == s.flag:
                return Secret(Path(str(raw)).expanduser().read_text("utf-8").strip())
            return Secret(str(raw))
        if s.many:
            return tuple(str(item) for item in (raw if isinstance(raw, list | tuple) else [raw]))
        if s.parse is not None:
            return s.parse(parsable(raw))
        if s.type is bool:
            return as_boolean(raw)
        if isinstance(s.type, type) and issubclass(s.type, Enum):
            return choice(s.type, raw)
        if s.type in (int, float):
            return as_number(s.type, raw)
        return as_text(s.type, raw)
    except (OSError, RuntimeError) as error:
        raise SettingError(
            name, f"{shortened(raw)} cannot be read: {getattr(error, 'strerror', None) or error}", source
        ) from error
    except (ValueError, TypeError) as error:
        problem = "is not usable" if s.secret else str(error)
        raise SettingError(name, problem, source) from error
