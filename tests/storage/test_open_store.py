"""The URL of a store."""

from __future__ import annotations

import pytest

from orchestrator import SettingError, open_store


async def test_an_unknown_scheme_is_refused() -> None:
    with pytest.raises(SettingError, match="neither a path"):
        async with open_store("mysql://x"):
            pass
