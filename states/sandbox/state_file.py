"""Keeps the state of a sandbox in a SQLite file, encrypted, so that it survives the death of its process."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import attrs
import orjson
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from states.sandbox.environment import Environment
from states.sandbox.json_types import JSONObject
from states.sandbox.objects import (
    Application,
    Attribute,
    Code,
    Flow,
    Grant,
    PolicyAssignment,
    Population,
    Resource,
    Row,
    Scope,
    User,
)
from states.sandbox.signing import SigningKey
from states.sandbox.tables import Change

_CLASSES: dict[str, type[Row]] = {
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
_IDENTITY = 0
"""Number of the row that holds the identity of the environment. Objects have higher numbers."""

Cipher = Callable[[bytes], bytes]


class StateFileError(Exception):
    """The file cannot be opened, read or written."""


class StateFile:
    """One row for each object, and one for the identity of the environment (ids, worker, signing key, port).

    The caller saves the changes of a request before it responds. They are one transaction, handed to the operating system: they
    survive the death of the process, but a crash of the machine may lose the last ones (``synchronous = OFF``). Rows have numbers
    instead of the ids of their objects, because the id of an authorization code is a secret.

    Args:
        encrypt: Encrypts a row.
        decrypt: Its inverse.

    Raises:
        StateFileError: Also from each method. A failed save changes nothing.
    """

    def __init__(self, path: Path, encrypt: Cipher, decrypt: Cipher) -> None:
        self.path = path
        self._encrypt = encrypt
        self._decrypt = decrypt
        self._numbers: dict[tuple[str, str], int] = {}
        """(table, id) → number of its row. Numbers grow, so that the objects are restored in the order of their creation."""
        self._last = _IDENTITY
        with self._translated():
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            self._db = sqlite3.connect(path, timeout=0)
            # Exclusive: one process serves a sandbox, and the index of the WAL needs no file of its own.
            for pragma in ("locking_mode = EXCLUSIVE", "journal_mode = WAL", "synchronous = OFF"):
                self._db.execute(f"PRAGMA {pragma}")
            self._db.execute("CREATE TABLE IF NOT EXISTS row (number INTEGER PRIMARY KEY, content BLOB NOT NULL)")
            self._db.commit()

    def close(self) -> None:
        """Close the file and keep it."""
        self._db.close()

    def delete(self) -> None:
        """Delete the file, after :meth:`close`."""
        self.path.unlink(missing_ok=True)
        # SQLite deletes it when it closes the file, unless that failed.
        self.path.with_name(f"{self.path.name}-wal").unlink(missing_ok=True)

    def identity(self) -> JSONObject | None:
        """The identity that was saved; ``None`` in a new file."""
        with self._translated():
            found = self._db.execute("SELECT content FROM row WHERE number = ?", (_IDENTITY,)).fetchone()
        identity: JSONObject | None = self._read(found[0]) if found else None
        return identity

    def save_identity(self, identity: JSONObject) -> None:
        """Save the identity of a new environment."""
        with self._translated(), self._db:
            self._db.execute("INSERT INTO row VALUES (?, ?)", (_IDENTITY, self._written(identity)))

    def objects(self) -> Iterator[Change]:
        """All saved objects, oldest first."""
        with self._translated():
            rows = self._db.execute("SELECT number, content FROM row WHERE number > ? ORDER BY number", (_IDENTITY,)).fetchall()
        for number, content in rows:
            kind, id, fields = self._read(content)
            self._numbers[kind, id] = self._last = number
            yield kind, id, _object(kind, fields)

    def save(self, changes: Iterable[Change]) -> None:
        """Save the changes of one request, all or none."""
        latest = {(kind, id): row for kind, id, row in changes}
        if not latest:
            return
        written, gone = [], []
        for key, row in latest.items():
            number = self._numbers.get(key)
            if row is None:
                gone.append((number,))
                continue
            if number is None:
                # Stays the number of this object if the save fails and is repeated.
                number = self._numbers[key] = self._last = self._last + 1
            written.append((number, self._written([*key, row])))
        with self._translated(), self._db:
            if written:
                self._db.executemany("INSERT OR REPLACE INTO row VALUES (?, ?)", written)
            if gone:
                self._db.executemany("DELETE FROM row WHERE number = ?", gone)
        for key, row in latest.items():
            if row is None:
                self._numbers.pop(key, None)

    def _written(self, data: object) -> bytes:
        return self._encrypt(orjson.dumps(data, default=_fields))

    def _read(self, content: bytes) -> Any:
        return orjson.loads(self._decrypt(content))

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StateFileError(f"{self.path}: {error}") from error
        except OSError as error:
            raise StateFileError(f"{self.path}: {error.strerror or error}") from error


def _fields(row: attrs.AttrsInstance) -> dict[str, object]:
    """The fields that :func:`_object` reads. (cattrs would first compile a function for each class, which takes longer than a short run.)"""
    return attrs.asdict(row, recurse=False)


def _object(kind: str, data: JSONObject) -> Any:
    """An object from its fields. Fields that this version does not have are dropped."""
    known: Any = _CLASSES[kind]
    fields = {name: data[name] for name in _names(known) if name in data}
    # JSON has no tuples; no field of an object is a list.
    return known(**{name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()})


@cache
def _names(known: Any) -> tuple[str, ...]:
    return tuple(field.name for field in attrs.fields(known))


def identity_of(environment: Environment, key: SigningKey, port: int) -> JSONObject:
    """The identity of an environment, to be saved."""
    pem = key.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return {
        "environment_id": environment.id,
        "worker_id": environment.worker_id,
        "worker_secret": environment.worker_secret,
        "key": pem,
        "port": port,
    }


def signing_key_of(identity: JSONObject) -> SigningKey:
    """The signing key of a saved identity."""
    # Its file is encrypted and authenticated, so the numbers are ours: to check that they are prime takes up to 60 ms.
    key: Any = load_pem_private_key(identity["key"].encode(), None, unsafe_skip_rsa_key_validation=True)
    return SigningKey(key)
