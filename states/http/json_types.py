"""JSON data as types."""

from __future__ import annotations

from typing import Any, TypeAlias

JSONObject: TypeAlias = dict[str, Any]
"""A JSON object as it is parsed or built. A reader checks the type of each value."""
