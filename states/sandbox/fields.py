"""Fields of a JSON body, checked and typed. All raise ``ApiError`` 400; ``null`` counts as absent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from states.sandbox.errors import invalid
from states.sandbox.json_types import JSONObject

Data = Mapping[str, object]


def text(data: Data, name: str, *, longest: int = 256) -> str | None:
    """An optional string, at most ``longest`` characters long."""
    value = data.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise invalid("INVALID_VALUE", name, f"{name} must be a string")
    if len(value) > longest:
        raise invalid("SIZE_LIMIT_EXCEEDED", name, f"{name} may have at most {longest} characters", maximumValue=longest)
    return value


def required_text(data: Data, name: str, *, longest: int = 256) -> str:
    """A required string, which must not be blank."""
    value = text(data, name, longest=longest)
    if value is None:
        raise invalid("REQUIRED_VALUE", name, f"{name} is required")
    if not value.strip():
        raise invalid("EMPTY_VALUE", name, f"{name} must not be empty")
    return value


def flag(data: Data, name: str, default: bool) -> bool:
    """``true`` or ``false``."""
    value = data.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise invalid("INVALID_VALUE", name, f"{name} must be true or false")
    return value


def required_flag(data: Data, name: str) -> bool:
    """A required ``true`` or ``false``."""
    if data.get(name) is None:
        raise invalid("REQUIRED_VALUE", name, f"{name} is required")
    return flag(data, name, False)


def whole(data: Data, name: str, default: int, least: int, most: int) -> int:
    """A number between ``least`` and ``most``. The vendor truncates fractions."""
    value = data.get(name)
    if value is None:
        return default
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise invalid("INVALID_VALUE", name, f"{name} must be a number")
    if not least <= int(value) <= most:
        raise invalid("OUT_OF_RANGE", name, f"{name} is out of range", rangeMinimumValue=least, rangeMaximumValue=most)
    return int(value)


def choice(data: Data, name: str, allowed: Sequence[str], default: str | None = None) -> str:
    """One of ``allowed``; required if there is no default."""
    value = data.get(name)
    if value is None:
        if default is None:
            raise invalid("REQUIRED_VALUE", name, f"{name} is required")
        return default
    if value not in allowed:
        raise invalid("INVALID_VALUE", name, f"{name} must be one of {', '.join(allowed)}", allowedValues=list(allowed))
    return str(value)


def texts(data: Data, name: str, allowed: Sequence[str] | None = None) -> list[str]:
    """A list of strings, empty if it is absent."""
    value = data.get(name)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        raise invalid("INVALID_VALUE", name, f"{name} must be a list of strings")
    for entry in value:
        if allowed is not None and entry not in allowed:
            raise invalid("INVALID_VALUE", name, f"'{entry}' is not allowed", allowedValues=list(allowed))
    return value


def mapping(data: Data, name: str) -> JSONObject | None:
    """A JSON object."""
    value = data.get(name)
    if value is not None and not isinstance(value, dict):
        raise invalid("INVALID_VALUE", name, f"{name} must be an object")
    return value


def reference(data: Data, name: str) -> str | None:
    """The id of ``{"id": …}``."""
    value = mapping(data, name)
    if value is None:
        return None
    if not isinstance(value.get("id"), str):
        raise invalid(
            "INVALID_VALUE" if "id" in value else "REQUIRED_VALUE", f"{name}.id", f"{name}.id must be the id of an object"
        )
    return str(value["id"])


def required_reference(data: Data, name: str) -> str:
    """Like :func:`reference`, but required."""
    id = reference(data, name)
    if id is None:
        raise invalid("REQUIRED_VALUE", f"{name}.id", f"{name}.id is required")
    return id
