"""Scenario: how the instances of a run are admitted. Pure: no clock of its own, no I/O."""

from __future__ import annotations

import attrs

from orchestrator.errors import SettingError


@attrs.frozen(kw_only=True)
class Scenario:
    """``instances`` in all, ``concurrency`` at once (a closed scenario)."""

    instances: int = 1
    concurrency: int = 1

    def __attrs_post_init__(self) -> None:
        for name in ("instances", "concurrency"):
            if getattr(self, name) < 1:
                raise SettingError(name, f"{getattr(self, name)} is less than 1")
