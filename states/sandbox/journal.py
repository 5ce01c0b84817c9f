"""What lets a sandbox survive its process: every change of its state, appended to a file, sealed by whoever owns the key."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import cattrs.preconf.orjson
import orjson
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from states.sandbox.environment import Environment
from states.sandbox.objects import Application, Attribute, Code, Flow, Grant, PolicyAssignment, Population, Resource, Scope, User
from states.sandbox.signing import SigningKey
from states.sandbox.tables import Change

_CLASSES: dict[str, Any] = {
    "application": Application,
    "resource": Resource,
    "scope": Scope,
    "attribute": Attribute,
    "grant": Grant,
    "sign_on_policy_assignment": PolicyAssignment,
    "population": Population,
    "user": User,
    "flow": Flow,
    "code": Code,
}
_LENGTH_BYTES = 4
LONG_BYTES = 1 << 24

Cipher = Callable[[bytes], bytes]


class Journal:
    """A file of sealed entries, each behind its length; the last one may be torn by a crash and is then ignored.

    It is written to the operating system before the answer is sent: it survives the death of the process, though
    not that of the machine. The first entry says who the environment is: its ids, its worker, its signing key. One that has
    grown long is written anew, with what there is now.
    """

    def __init__(self, path: Path, seal: Cipher, unseal: Cipher) -> None:
        self.path = path
        self._seal = seal
        self._unseal = unseal
        self._converter = cattrs.preconf.orjson.make_converter()
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        self._size = 0
        self._longest = LONG_BYTES

    @property
    def is_long(self) -> bool:
        """Whether most of it is probably history."""
        return self._size > self._longest

    def close(self) -> None:
        """The file stays."""
        os.close(self._file)

    def read(self) -> list[Any]:
        """All whole entries; a torn one at the end is cut off."""
        data = self.path.read_bytes()
        entries, end = [], 0
        for start, stop in _whole(data):
            entries.append(orjson.loads(self._unseal(data[start:stop])))
            end = stop
        os.ftruncate(self._file, end)
        os.lseek(self._file, end, os.SEEK_SET)
        self._size = end
        return entries

    def rewrite(self, identity: Any, rows: Iterable[Change]) -> None:
        """Begin anew with these, in a file that takes the place of the old one at once."""
        beside = self.path.with_name(f"{self.path.name}.new")
        beside.unlink(missing_ok=True)
        new = Journal(beside, self._seal, self._unseal)
        try:
            new.append(identity)
            new.changes(rows)
            os.replace(beside, self.path)
        except OSError:
            # No room for both: the long one will do.
            new.close()
            beside.unlink(missing_ok=True)
            self._longest = 2 * self._size
            return
        self.close()
        self._file, self._size, self._longest = new._file, new._size, max(LONG_BYTES, 2 * new._size)

    def append(self, entry: Any) -> None:
        """One more entry, whole or not at all. Raises ``OSError``."""
        sealed = self._seal(orjson.dumps(entry))
        whole = len(sealed).to_bytes(_LENGTH_BYTES, "big") + sealed
        written = os.write(self._file, whole)
        if written < len(whole):
            # What comes next would be read as a part of it.
            os.ftruncate(self._file, self._size)
            os.lseek(self._file, self._size, os.SEEK_SET)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
        self._size += written

    def changes(self, changes: Iterable[Change]) -> None:
        """Append what one call changed."""
        rows = [[kind, id, None if row is None else self._converter.unstructure(row)] for kind, id, row in changes]
        if rows:
            self.append(rows)

    def restored(self, entries: Iterable[Any]) -> Iterator[Change]:
        """What the entries leave behind, oldest first."""
        latest: dict[tuple[str, str], Any] = {}
        for rows in entries:
            for kind, id, row in rows:
                if row is None:
                    latest.pop((kind, id), None)
                else:
                    latest[kind, id] = row
        for (kind, id), row in latest.items():
            yield kind, id, self._converter.structure(row, _CLASSES[kind])


def identity(environment: Environment, key: SigningKey, port: int) -> dict[str, Any]:
    """The first entry."""
    pem = key.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return {
        "environment_id": environment.id,
        "worker_id": environment.worker_id,
        "worker_secret": environment.worker_secret,
        "key": pem,
        "port": port,
    }


def restored_key(entry: dict[str, Any]) -> SigningKey:
    """The signing key of the first entry."""
    key: Any = load_pem_private_key(entry["key"].encode(), None)
    return SigningKey(key)


def _whole(data: bytes) -> Iterator[tuple[int, int]]:
    at = 0
    while at + _LENGTH_BYTES <= len(data):
        start = at + _LENGTH_BYTES
        stop = start + int.from_bytes(data[at:start], "big")
        if stop > len(data):
            return
        yield start, stop
        at = stop
