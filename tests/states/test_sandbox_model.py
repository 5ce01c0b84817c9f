"""Bodies and updates of the sandbox's management API follow the vendor's data model; tests quote the rule that they check."""

from __future__ import annotations

from tests.support.caller import calling


async def test_an_environment_has_a_license() -> None:
    """Environments data model: ``license``, ``name``, ``region`` and ``type`` are required."""
    async with calling() as call:
        body = (await call("GET", "")).body
    assert body["id"] == call.emulator.environment.id
    assert body["license"]["id"]
    assert {"name", "region", "type"} <= set(body)
