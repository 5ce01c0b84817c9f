"""Makes the flags of a command, with their help, of the fields of settings classes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from cyclopts import Group, Parameter

from orchestrator.cli.resolver import CONFIG_FILE, CONFIG_VARIABLE
from orchestrator.settings import Setting, settings_of

Annotation: TypeAlias = Any
"""The annotation of a parameter. Python has no type for ``Annotated[…]``."""
Leading: TypeAlias = tuple[Annotation, object]
"""Annotation and default of a parameter."""


def with_settings(
    command: Callable[..., int], *classes: object, leading: Mapping[str, Leading] | None = None
) -> Callable[..., int]:
    """``command``, which takes keyword arguments, with the flags of these settings classes as its signature.

    Args:
        leading: Positional parameters and further flags: name → (annotation, default).
    """
    parameters: list[inspect.Parameter] = []
    annotations: dict[str, Annotation] = {}
    for name, (annotation, default) in (leading or {}).items():
        kind = inspect.Parameter.POSITIONAL_ONLY if _is_argument(annotation) else inspect.Parameter.KEYWORD_ONLY
        parameters.append(inspect.Parameter(name, kind, default=default, annotation=annotation))
        annotations[name] = annotation
    for cls in classes:
        for s in cls.settings() if isinstance(cls, Renewable | Without) else settings_of(cls):
            annotation = _annotation(s)
            parameters.append(inspect.Parameter(s.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation))
            annotations[s.name] = annotation
    parameters.sort(key=lambda p: p.kind)

    def call(*args: object, **kwargs: object) -> int:
        bound = inspect.Signature(parameters).bind(*args, **kwargs)
        return command(**bound.arguments)

    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # read by `inspect.signature`
    call.__annotations__ = annotations
    call.__doc__ = command.__doc__
    return call


class Renewable:
    """The renewable settings of a class, as flags of the commands that continue a stored run."""

    def __init__(self, cls: object) -> None:
        self._cls = cls

    def settings(self) -> list[Setting]:
        """The settings that may be replaced when a run is continued."""
        return [s for s in settings_of(self._cls) if s.renewable]


class Without:
    """A settings class without some of its settings, for commands that do not use them."""

    def __init__(self, cls: object, *names: str) -> None:
        self._cls = cls
        self._names = names

    def settings(self) -> list[Setting]:
        """The others."""
        return [s for s in settings_of(self._cls) if s.name not in self._names]


def argument(help: str) -> Annotation:
    """Annotation of an optional positional argument."""
    return Annotated[str | None, Parameter(help=help, allow_leading_hyphen=False)]


def flag(kind: Annotation, name: str, help: str) -> Annotation:
    """Annotation of a flag that is not a setting."""
    return Annotated[kind, Parameter(name=[name], help=help, negative=(), show_default=False)]


JSON_FLAG = flag(bool, "--json", "One JSON document on stdout, and nothing else there.")
CONFIG_FLAG = flag(Path | None, "--config", f"TOML file with settings. [env: {CONFIG_VARIABLE}] [default: ./{CONFIG_FILE}]")


def _is_argument(annotation: Annotation) -> bool:
    return all(parameter.name is None or not parameter.name for parameter in annotation.__metadata__)


def _annotation(s: Setting) -> Annotation:
    # Flags arrive as text, so that `convert` reads flags, variables and files alike, with the same error messages.
    kind: Annotation = bool if s.type is bool else list[str] if s.many else str
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
    annotation = Annotated[kind | None, Parameter(name=[s.flag], help=text, negative=(), show_default=False)]
    # Given as None, the group would hide the flag from the help.
    return Annotated[annotation, Parameter(group=Group(s.group))] if s.group else annotation
