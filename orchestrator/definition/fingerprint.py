"""Fingerprints: short hashes that tell whether a stored instance fits the definition that is installed.

A state's fingerprint covers its name and version, its rows in the machine, how it may be repeated, which handlers it has, and
the data that the state object holds. It leaves out its tuning (retry policies, time-out, rate group): an instance can
continue under another one.
"""

from __future__ import annotations

import enum
import functools
import hashlib
from collections.abc import Iterable, Mapping, Set
from datetime import date, timedelta
from pathlib import PurePath
from typing import get_args, get_type_hints

import orjson

from orchestrator.definition.machine import Move
from orchestrator.definition.state import AnyState
from orchestrator.secret import Secret, fields_of

CONTEXT = "context"
"""Key of the context class's fingerprint beside those of the states."""
_TUNING = frozenset({"retry", "rollback_retry", "timeout", "rate_group"})
_COVERED = frozenset({"name", "version", "transitions", "outcomes", "repeat"})


def fingerprints(states: Iterable[AnyState], moves: Iterable[Move], context: type) -> dict[str, str]:
    """State → fingerprint; under ``CONTEXT`` that of the context class."""
    rows: dict[str, list[list[object]]] = {}
    for move in moves:
        bound = [] if move.back is None else [move.back.at_most]
        rows.setdefault(move.source, []).append([move.trigger, move.target, *bound])
    found = {state.name: _fingerprint(state, sorted(rows.get(state.name, []), key=str)) for state in states}
    return {**found, CONTEXT: digest(shape(context))}


def digest(data: object) -> str:
    """Twelve hexadecimal digits that follow from JSON data."""
    return hashlib.sha256(orjson.dumps(data, option=orjson.OPT_SORT_KEYS)).hexdigest()[:12]


def shape(kind: object, seen: tuple[object, ...] = ()) -> list[object]:
    """The names and types of a context's fields, recursively through classes with fields."""
    names = fields_of(kind) if isinstance(kind, type) and kind not in seen else None
    if names is not None:
        hints = get_type_hints(kind)
        return [[name, shape(hints.get(name), (*seen, kind))] for name in names]
    name = kind.__qualname__ if isinstance(kind, type) else str(kind)
    return [name, *(shape(inner, seen) for inner in get_args(kind))]


def _fingerprint(state: AnyState, rows: list[list[object]]) -> str:
    data = {name: value for name, value in data_of(state).items() if name not in _TUNING | _COVERED}
    return digest([state.name, state.version, rows, state.repeat.value, state.can_recover, state.can_roll_back, _plain(data, ())])


def data_of(value: object) -> dict[str, object]:
    """The attributes that an object holds itself, in its dictionary or its slots."""
    held: dict[str, object] = {}
    for cls in type(value).__mro__:
        slots = cls.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__") and hasattr(value, name):
                held[name] = getattr(value, name)
    return {**held, **getattr(value, "__dict__", {})}


def _plain(value: object, inside: tuple[int, ...]) -> object:
    """``value`` as JSON data that is the same in every process. A secret, and an object inside itself, count as their type."""
    if isinstance(value, enum.Enum | date | timedelta | PurePath | bool | int | float | bytes):
        return [type(value).__qualname__, str(value)]
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, Secret) or id(value) in inside:
        return type(value).__qualname__
    inside = (*inside, id(value))
    if isinstance(value, Mapping):
        return [[_plain(key, inside), _plain(item, inside)] for key, item in sorted(value.items(), key=lambda pair: str(pair[0]))]
    if isinstance(value, Set):
        return sorted((_plain(item, inside) for item in value), key=str)
    if isinstance(value, list | tuple):
        return [_plain(item, inside) for item in value]
    if isinstance(value, functools.partial):
        return [_plain(value.func, inside), _plain(value.args, inside), _plain(value.keywords, inside)]
    if (name := getattr(value, "__qualname__", None)) is not None:  # a class or a function
        return [getattr(value, "__module__", None), name]
    return [type(value).__qualname__, _plain(data_of(value), inside)]
