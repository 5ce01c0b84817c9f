"""The last exchanges of a failed instance are stored, encrypted."""

from __future__ import annotations

from orchestrator import Status, Vault, open_store
from orchestrator.storage.checkpoint import Codec
from states.token_fulfillment import WORKFLOW
from tests.support.tenant import run_once, sandbox


async def test_a_failed_instance_keeps_its_last_exchanges_sealed(vault: Vault) -> None:
    async with sandbox("token:400") as emulator, open_store("memory:") as store:
        _, instance = await run_once(emulator, store, vault)
        assert instance.status is Status.ROLLED_BACK
        bodies = await store.evidence(instance.run_id, 0)
        assert bodies
        assert b"POST" not in bodies[0]
        entries = Codec(WORKFLOW, vault).evidence(instance.id, bodies)
        assert entries[-1]["request"]["url"].endswith("/as/token")
        assert entries[-1]["response"]["status"] == 400
        assert 1 < len(entries) <= 8


async def test_an_instance_that_completes_keeps_none(vault: Vault) -> None:
    async with sandbox("create_user:503*1") as emulator, open_store("memory:") as store:
        _, instance = await run_once(emulator, store, vault)
        assert instance.status is Status.COMPLETED
        assert await store.evidence(instance.run_id, 0) == []
