"""Secrets in the errors and the traces of handlers."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote_plus

from orchestrator import (
    PermanentError,
    Redactor,
    Secret,
    Status,
    Vault,
    record_exchange,
)
from orchestrator.storage.memory import MemoryStore
from tests.support.runs import finish
from tests.support.toy import Ledger, toy


async def test_a_bug_keeps_the_instance_and_shows_its_trace_without_secrets(store: MemoryStore, vault: Vault) -> None:
    def bug(step: Any) -> None:
        raise ValueError(f"cannot parse {step.context.secret.reveal()}")

    ledger = Ledger(script={"run two": [bug]})
    instance, result = await finish(toy(ledger), store, vault)
    assert instance.status is Status.FAILED
    assert instance.failure.kind == "bug"
    assert "ValueError" in instance.failure.trace
    assert "toy-secret-value" not in instance.failure.trace + instance.failure.message
    assert all("toy-secret-value" not in str(event) for event in await store.events(result.run_id, 0))
    assert ledger.existing == ["one:0"]


async def test_a_secret_in_a_step_error_is_masked(store: MemoryStore, vault: Vault) -> None:
    ledger = Ledger(script={"run one": [PermanentError("refused toy-secret-value")]})
    instance, result = await finish(toy(ledger), store, vault)
    assert instance.failure.message == "refused ********"
    assert all("toy-secret" not in str(event) for event in await store.events(result.run_id, 0))


async def test_text_from_outside_is_masked_in_message_and_code_made_visible_and_cut(store: MemoryStore, vault: Vault) -> None:
    said = "\x1b[2J" + quote_plus("toy-secret-value") + "\u202e" + "x" * 9000
    ledger = Ledger(script={"run one": [PermanentError(said, code="toy%2Dsecret-value\x07" + "y" * 9000)]})
    instance, result = await finish(toy(ledger), store, vault)
    assert instance.failure.message.startswith("␛[2J********\\u202exxx")
    assert instance.failure.code.startswith("********␇yyy")
    assert (len(instance.failure.message), len(instance.failure.code)) == (2001, 101)
    assert all("secret-value" not in str(event) for event in await store.events(result.run_id, 0))


async def test_secrets_of_a_request_are_masked_in_errors_and_traces(store: MemoryStore, vault: Vault) -> None:
    class Sent:
        def secrets(self) -> list[Secret]:
            return [Secret("a-bearer-token")]

        def entry(self, secrets: Redactor) -> dict[str, str]:
            return {"said": secrets.redact("a%2Dbearer-token")}

    def bug(step: Any) -> None:
        record_exchange(Sent())
        raise ValueError("cannot parse 'a-bearer-token\x1b'")

    def refused(step: Any) -> None:
        record_exchange(Sent())
        raise PermanentError("a+bearer-token is refused", code="a-bearer-token")

    for fails in (bug, refused):
        instance, result = await finish(toy(Ledger(script={"run two": [fails]})), store, vault)
        failure = instance.failure or [event for event in await store.events(result.run_id, 0) if event.error][-1]
        assert "bearer" not in str(failure)
        assert "\x1b" not in str(failure)
        (body,) = await store.evidence(result.run_id, 0)
        assert b"bearer" not in vault.open(body, f"{result.run_id}-0 evidence".encode())
