"""Runs that are refused before anything happens."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from orchestrator import (
    PermanentError,
    ServicesError,
    UnknownRunError,
    Vault,
    cleanup,
    resume,
)
from orchestrator.storage.encryption import find_key, new_key
from orchestrator.storage.memory import MemoryStore
from tests.support.runs import finish
from tests.support.toy import Ledger, fast, toy


async def test_services_that_do_not_open_leave_no_run_behind(store: MemoryStore, vault: Vault) -> None:
    from contextlib import asynccontextmanager

    @asynccontextmanager
    async def refuse(settings: object, opening: object) -> Any:
        raise ServicesError("wrong credentials")
        yield

    workflow = attrs.evolve(toy(Ledger()), open_services=refuse)
    with pytest.raises(ServicesError, match="wrong credentials"):
        await finish(workflow, store, vault)
    assert (await store.runs()).runs == ()


async def test_a_wrong_key_is_refused_before_anything_happens(store: MemoryStore, vault: Vault) -> None:
    from orchestrator import EncryptionKeyError

    ledger = Ledger(script={"run two": [PermanentError("no")]})
    _, result = await finish(toy(ledger), store, vault, on_failure="keep")
    other = find_key({"ORCHESTRATOR_KEY": new_key()}, None)
    with pytest.raises(EncryptionKeyError, match="ORCHESTRATOR_KEY"):
        async with cleanup(toy(ledger), result.run_id, store=store, options=fast(other)):
            pass
    assert ledger.existing == ["one:0"]


async def test_a_run_that_is_not_there_is_named(store: MemoryStore, vault: Vault) -> None:
    with pytest.raises(UnknownRunError, match="261123-zzzzzz"):
        async with resume(toy(Ledger()), "261123-zzzzzz", store=store, options=fast(vault)):
            pass
