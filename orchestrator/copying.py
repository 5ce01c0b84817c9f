"""Copies runs from one store to another: to a database, to an archive, or to another machine for inspection."""

from __future__ import annotations

import anyio
import attrs

from orchestrator.errors import RunInUseError
from orchestrator.lifecycle.run import RunRecord
from orchestrator.storage.base import Store
from orchestrator.storage.checkpoint import stored_definition
from orchestrator.storage.lease import this_process
from orchestrator.storage.records import Shard
from orchestrator.storage.transfer import RunFrame

ROWS_AT_ONCE = 500


async def copy_run(source: Store, target: Store, run_id: str) -> int:
    """Copy a run with its instances, history, statistics, evidence, pauses, input rows and definitions.

    It appears in the target as a whole or not at all; a copy that is interrupted leaves nothing. The source stays as it is. Sealed
    data is copied as it is, so that the target needs the same key.

    Returns:
        The number of its instances.

    Raises:
        RunExistsError: The target has a run with this id, or gets one by another copy.
        RunInUseError: A process drives the run, or has driven it meanwhile.
        UnknownRunError: The source has no such run, or the target lacks the run whose instances it reuses.
    """
    before = await _unused(source, run_id)
    owner, run = this_process(), before.run
    await target.sweep()  # leftovers of an earlier copy
    await target.begin_import(run_id, owner)
    try:
        count, names = await _copy_instances(source, target, run_id)
        if run.rows is not None:
            await _copy_rows(source, target, run.rows.key)
        after = await _unused(source, run_id)
        if after != before:
            raise RunInUseError(run_id, "a process has changed it meanwhile")
        definitions = {name: await source.fingerprints(name) for name in sorted({*names, run.definition} - {""})}
        frame = RunFrame(
            run=run,
            shards=after.shards,
            definitions=definitions,
            windows=await source.statistics(run_id),
            pauses=await source.pauses(run_id),
        )
        await target.finish_import(frame, owner)
    except BaseException:
        with anyio.CancelScope(shield=True):
            await target.abandon_import(run_id, owner)
            if run.rows is not None:
                await target.discard_rows(run.rows.key)
        raise
    return count


@attrs.frozen
class _State:
    run: RunRecord
    shards: list[Shard]
    """Without owners: their leases have expired, or their processes no longer exist."""


async def _unused(source: Store, run_id: str) -> _State:
    usage = await source.usage(run_id)
    if usage.drivers:
        raise RunInUseError(run_id, f"{', '.join(usage.drivers)} drives it")
    shards = [attrs.evolve(shard, owner=None, lease_until=0.0) for shard in await source.shards(run_id)]
    return _State(await source.run(run_id), shards)


async def _copy_instances(source: Store, target: Store, run_id: str) -> tuple[int, set[str]]:
    """Returns their number, and the definitions that their checkpoints name."""
    count, after, names = 0, -1, set[str]()
    while (part := await source.export(run_id, after=after)).checkpoints:
        await target.import_part(run_id, part, this_process())
        count, after = count + len(part.checkpoints), part.checkpoints[-1].number
        names |= {stored_definition(row) for row in part.checkpoints}
    return count, names


async def _copy_rows(source: Store, target: Store, key: str) -> None:
    after = -1
    while found := await source.rows(key, after=after, limit=ROWS_AT_ONCE):
        await target.add_rows(key, dict(found), this_process())
        after = found[-1][0]
