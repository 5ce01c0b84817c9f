"""An observer of commits is told how many checkpoints each one has stored, and how long it took."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import anyio
import pytest

from orchestrator import Vault, open_store, start
from orchestrator.storage.commits import Errors, GroupCommit
from tests.support.toy import Ledger, fast, toy


class Later:
    """Writes a batch after a moment, as a thread does."""

    is_shared = False

    def __init__(self, *errors: Exception | None) -> None:
        self.errors = list(errors)

    def __call__(self, items: Sequence[int], *, alone: bool, finish: Callable[[Errors], None]) -> None:
        found = [self.errors.pop(0) if self.errors else None for _ in items]
        asyncio.get_running_loop().call_later(0.01, finish, found)


async def test_a_batch_is_one_commit_of_many_checkpoints() -> None:
    seen: list[tuple[int, float]] = []
    commits: GroupCommit[int] = GroupCommit(Later())
    commits.observe = lambda count, seconds: seen.append((count, seconds))
    async with anyio.create_task_group() as tasks:
        for number in range(4):
            tasks.start_soon(commits.commit, number)
    assert [count for count, _ in seen] == [1, 3]
    assert all(seconds > 0.005 for _, seconds in seen)


async def test_a_failed_checkpoint_is_not_counted() -> None:
    seen: list[int] = []
    commits: GroupCommit[int] = GroupCommit(Later(OSError("full")))
    commits.observe = lambda count, seconds: seen.append(count)
    with pytest.raises(OSError, match="full"):
        await commits.commit(1)
    await commits.commit(2)
    assert seen == [0, 1]


async def test_a_batch_that_fails_as_a_whole_is_a_commit_without_checkpoints() -> None:
    class Failing:
        is_shared = False

        def __call__(self, items: Sequence[int], *, alone: bool, finish: Callable[[Errors], None]) -> None:
            raise OSError("full")

    seen: list[int] = []
    commits: GroupCommit[int] = GroupCommit(Failing())
    commits.observe = lambda count, seconds: seen.append(count)
    with pytest.raises(OSError, match="full"):
        await commits.commit(1)
    assert seen == [0]


@pytest.mark.parametrize(("url", "least"), [("sqlite:runs.db", 3), ("memory:", 0)])
async def test_a_run_has_its_commits_observed(home: Path, vault: Vault, url: str, least: int) -> None:
    counts: list[int] = []
    async with open_store(url) as store, start(toy(Ledger()), store=store, options=fast(vault)) as run:
        run.observe_commits(lambda count, seconds: counts.append(count))
        await run.wait()
    # The start of the instance may have been stored before.
    assert least <= sum(counts) <= (4 if least else 0)
