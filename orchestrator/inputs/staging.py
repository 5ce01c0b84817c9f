"""Stores the rows of a run before the run itself, in batches, so that a million rows need little memory."""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Generic

import anyio
import anyio.lowlevel
import anyio.to_thread
import attrs

from orchestrator.definition.state import C
from orchestrator.definition.workflow import AnyWorkflow, Workflow
from orchestrator.errors import CheckpointError, SettingError
from orchestrator.inputs.form import RowForm
from orchestrator.inputs.reading import Line, read_file, read_mappings
from orchestrator.lifecycle.rows import Rows
from orchestrator.storage.base import Store
from orchestrator.storage.encryption import Vault
from orchestrator.storage.lease import this_process

Data = str | Path | Iterable[Mapping[str, object]]
"""A file (.csv, .jsonl), or mappings of columns to values."""
ROWS_AT_ONCE = 1000
"""Rows of a batch, which is one transaction."""


@attrs.frozen(kw_only=True)
class Source(Generic[C]):
    """The rows for a new run."""

    workflow: Workflow[C, Any]
    data: Data
    run_id: str
    vault: Vault

    async def staged(self, store: Store, *, repeat: bool) -> Rows:
        """Store all rows. They are kept if a run with them is created (see :meth:`Store.add_rows`).

        Raises:
            SettingError: A row cannot be used, or there is none; nothing is left in the store.
        """
        key, owner = secrets.token_hex(8), this_process()
        await store.sweep()  # rows of starts that were killed
        try:
            return await self._read(key, repeat, lambda rows: store.add_rows(key, rows, owner))
        except BaseException:
            with anyio.CancelScope(shield=True):
                await store.discard_rows(key)
            raise

    async def measured(self, *, repeat: bool) -> Rows:
        """Count and hash all rows, and store none: for a run that exists. Raises ``SettingError``."""

        async def skip(rows: Mapping[int, bytes]) -> None:
            pass

        return await self._read("", repeat, skip)

    async def _read(self, key: str, repeat: bool, take: Callable[[Mapping[int, bytes]], Awaitable[None]]) -> Rows:
        batches = _Batches(self)
        while rows := await batches.next():
            await take(rows)
        if not batches.count:
            raise SettingError("data", f"{self.data} has no rows" if isinstance(self.data, str | Path) else "there are no rows")
        digest = base64.b64encode(self.vault.seal(batches.digest.digest(), _place_of_digest(self.run_id))).decode()
        return Rows(key=key, count=batches.count, repeat=repeat, digest=digest)


class _Batches:
    """Reads, checks and seals rows, some at a time: those of a file in a thread, those of a program where it runs."""

    def __init__(self, source: Source[Any]) -> None:
        self.count = 0
        self.digest = hashlib.sha256()
        self._source = source
        self._form = form_of(source.workflow)
        self._is_file = isinstance(source.data, str | Path)
        self._lines = _lines(source.data)

    async def next(self) -> dict[int, bytes]:
        """The next rows by their numbers; empty at the end."""
        if self._is_file:
            return await anyio.to_thread.run_sync(self._next)
        await anyio.lowlevel.checkpoint()
        return self._next()

    def _next(self) -> dict[int, bytes]:
        rows = {}
        for line in islice(self._lines, ROWS_AT_ONCE):
            data = self._form.dumps(self._form.row(line))
            self.digest.update(len(data).to_bytes(8) + data)
            rows[self.count] = self._source.vault.seal(data, _place(self._source.run_id, self.count))
            self.count += 1
        return rows


@attrs.frozen(kw_only=True)
class StoredRows(Generic[C]):
    """The rows of a run, as its instances get them."""

    workflow: Workflow[C, Any]
    run_id: str
    rows: Rows
    store: Store
    vault: Vault

    async def row(self, instance: int) -> object:
        """The row of an instance. Raises ``EncryptionKeyError``, or ``CheckpointError`` if it is missing or does not fit."""
        number = self.rows.number_of(instance)
        found = dict(await self.store.rows(self.rows.key, after=number - 1, limit=1))
        if number not in found:
            raise CheckpointError(f"row {number} of run {self.run_id} is missing: the store is damaged")
        data = self.vault.open(found[number], _place(self.run_id, number))
        return form_of(self.workflow).loads(data, f"{self.run_id}-{instance}")


def count_rows(path: str | Path) -> int:
    """The number of rows in a file. Blocks. Raises ``SettingError``."""
    return sum(1 for _ in read_file(Path(path).expanduser()))


def same_rows(one: Rows, other: Rows, run_id: str, vault: Vault) -> bool:
    """Whether two starts of a run were given the same rows."""
    place = _place_of_digest(run_id)
    hashes = [vault.open(base64.b64decode(rows.digest), place) for rows in (one, other)]
    return hashes[0] == hashes[1]


def form_of(workflow: AnyWorkflow) -> RowForm[Any]:
    """The form of a workflow's rows. Raises ``SettingError`` if it takes none."""
    if workflow.row is None:
        raise SettingError("data", f"the workflow {workflow.name!r} takes no rows")
    return RowForm(workflow.name, workflow.row)


def _lines(data: Data) -> Iterator[Line]:
    return read_file(Path(data).expanduser()) if isinstance(data, str | Path) else read_mappings(data)


def _place(run_id: str, number: int) -> bytes:
    return f"{run_id} row {number}".encode()


def _place_of_digest(run_id: str) -> bytes:
    return f"{run_id} rows".encode()
