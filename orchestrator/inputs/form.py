"""The form of a row: its fields become columns, checked and converted one by one."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Generic, TypeVar, get_type_hints

import attrs
import cattrs
import orjson

from orchestrator.conversion import as_boolean, as_number, as_text
from orchestrator.errors import CheckpointError, DefinitionError, SettingError, shortened
from orchestrator.inputs.reading import Line, row_error
from orchestrator.secret import Secret
from orchestrator.storage.checkpoint import make_converter

R = TypeVar("R")


class RowForm(Generic[R]):
    """Converts lines to objects of a workflow's row class, and these to and from stored rows.

    Raises:
        DefinitionError: It is not an attrs class.
    """

    def __init__(self, workflow: str, cls: type[R]) -> None:
        if not attrs.has(cls):
            raise DefinitionError(workflow, f"its row class {cls.__name__} is not an attrs class")
        self._workflow = workflow
        self._cls: Any = cls
        self._types = get_type_hints(cls)
        self._optional = {field.name: field.default is not attrs.NOTHING for field in attrs.fields(cls)}
        self._strict = _strict_converter()
        self._stored = make_converter()
        self._stored.register_unstructure_hook(Secret, lambda secret: secret.reveal())
        self._is_proven = False

    def row(self, line: Line) -> R:
        """The row of a line. Raises ``SettingError``, which names the line and the column."""
        values: dict[str, object] = {}
        for column, value in line.fields.items():
            name = str(column).replace("-", "_")
            if name not in self._optional:
                raise row_error(
                    line.header or line.place, f"unknown column {shortened(column)}; known: {', '.join(self._optional)}"
                )
            if name in values:
                raise row_error(line.header or line.place, f"the column {name!r} is given twice, with - and with _")
            if value is not None and not (line.is_text and value == ""):
                values[name] = self._value(line, name, value)
        for name, optional in self._optional.items():
            if name not in values and not optional:
                # Hyphens were replaced, so a column that is there, but empty, may have another spelling.
                if any(str(column).replace("-", "_") == name for column in line.fields):
                    raise row_error(line.place, f"the column {name!r} is empty")
                raise row_error(line.header or line.place, f"the column {name!r} is missing")
        try:
            row: R = self._cls(**values)
        except (ValueError, TypeError, SettingError) as error:
            raise row_error(line.place, str(error)) from error
        return row

    def _value(self, line: Line, name: str, value: object) -> object:
        try:
            return self._strict.structure(value, self._types[name])
        except Exception as error:
            secret = Secret in (self._types[name], *getattr(self._types[name], "__args__", ()))
            problem = "is not usable" if secret else _problem(error)
            raise row_error(line.place, f"column {name!r}: {problem}") from error

    def dumps(self, row: R) -> bytes:
        """As JSON with its secrets in clear: seal it. Raises ``DefinitionError`` if it cannot be read back."""
        data = orjson.dumps(self._stored.unstructure(row))
        if not self._is_proven:
            # Once: an error in it concerns every row.
            if self._structured(data) != row:
                raise DefinitionError(self._workflow, f"its row class {self._cls.__name__} is not read back as it was stored")
            self._is_proven = True
        return data

    def loads(self, data: bytes, instance: str) -> R:
        """A stored row. Raises ``CheckpointError``: the row class has changed since."""
        try:
            return self._structured(data)
        except Exception as error:
            raise CheckpointError(
                f"instance {instance}: its row does not fit {self._cls.__name__} any more ({_problem(error)}); resume with the "
                "version that started the run"
            ) from error

    def _structured(self, data: bytes) -> R:
        row: R = self._stored.structure(orjson.loads(data), self._cls)
        return row


def _strict_converter() -> cattrs.Converter:
    """A strict converter: cattrs alone would turn any value into a number or a text."""
    converter = make_converter()
    hooks: dict[type, Callable[[object], object]] = {
        str: _text,
        int: lambda value: as_number(int, value),
        float: lambda value: _finite(as_number(float, value)),
        bool: as_boolean,
    }
    for base, hook in hooks.items():
        converter.register_structure_hook(base, partial(_converted, hook))
    converter.register_structure_hook(Secret, lambda value, _: value if isinstance(value, Secret) else Secret(_text(value)))
    return converter


def _converted(hook: Callable[[object], object], value: object, kind: Callable[[object], object]) -> object:
    found = hook(value)
    # cattrs uses the hook of ``str`` for its subclasses, too: enums.
    return found if type(found) is kind else kind(found)


def _text(value: object) -> str:
    """Neither store nor server accepts NUL and lone surrogates."""
    found = as_text(str, value)
    if "\0" in found or found != found.encode(errors="replace").decode():
        raise ValueError("is not text in UTF-8")
    return found


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError(f"{value:g} is not a finite number")
    return value


def _problem(error: Exception) -> str:
    if isinstance(error, cattrs.BaseValidationError):
        return "; ".join(cattrs.transform_error(error))
    return str(error)
