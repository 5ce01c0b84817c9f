"""The workflow with rows: users by name, and users who were there before."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator import Options, RunResult, SettingError, Status, Vault, start
from orchestrator.storage.memory import MemoryStore
from states.sandbox import Sandbox
from states.token_fulfillment import WORKFLOW
from tests.support.tenant import KINDS, assert_each_once, assert_nothing_left, sandbox, settings_for
from tests.support.toy import fast

ADA = {"username": "ada", "email": "ada@example.org", "given_name": "Ada", "value": "v-ada", "password": "Hidden-pass-1!"}


async def run(emulator: Sandbox, vault: Vault, *rows: dict[str, Any], **more: Any) -> tuple[RunResult, list[Any]]:
    options: Options = fast(vault)
    async with start(WORKFLOW, settings_for(emulator), store=MemoryStore(), data=rows, options=options, **more) as live:
        result = await live.wait()
        return result, [await live.instance(number) for number in range(result.total)]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"email": "ada"}, "row 1: column 'email': 'ada' is not an email address"),
        ({"username": "x" * 129}, "row 1: "),
        ({"user": "ada"}, "unknown column 'user'; known: username, email, given_name, family_name, password, value"),
    ],
)
async def test_a_wrong_row_is_refused(row: dict[str, Any], message: str, vault: Vault) -> None:
    async with sandbox() as emulator:
        with pytest.raises(SettingError, match=message):
            await run(emulator, vault, row)


@pytest.mark.parametrize("faults", ["", "create_user:reset_after*1 set_password:reset_after*1"])
async def test_a_user_is_as_its_row_says_and_signs_on(faults: str, vault: Vault) -> None:
    async with sandbox(faults) as emulator:
        result, instances = await run(emulator, vault, ADA, {"value": None})
        assert result.counts == {Status.COMPLETED: 2}
        assert_each_once(emulator, 2)
        users = {user.username: user for user in emulator.environment.users.rows.values()}
        default = f"tf-{result.run_id}-1-user"
        assert {name: user.email for name, user in users.items()} == {
            "ada": "ada@example.org",
            default: f"tf-{result.run_id}-1@example.com",
        }
        found = [instance.context.verified.found for instance in instances]
        assert found == ["v-ada", f"customValue-{result.run_id}-1"]


@pytest.mark.parametrize("faults", ["", "create_user:500_after*1"])
async def test_a_user_who_was_there_before_is_neither_adopted_nor_deleted(faults: str, vault: Vault) -> None:
    async with sandbox(faults) as emulator:
        await run(emulator, vault, ADA)
        (before,) = emulator.environment.users.rows.values()
        result, (second,) = await run(emulator, vault, ADA)
        assert result.counts == {Status.ROLLED_BACK: 1}
        assert second.failure is not None
        assert "create user" in second.failure.message
        assert list(emulator.environment.users.rows.values()) == [before]
        report = emulator.audit()
        assert {kind: report["existing"][kind] for kind in KINDS} == dict.fromkeys(KINDS, 1)


async def test_users_of_rows_are_removed_with_their_runs(vault: Vault) -> None:
    async with sandbox() as emulator:
        await run(emulator, vault, ADA, {"username": "bob"}, on_success="teardown")
        assert_nothing_left(emulator)
