"""Encryption of secrets in the store: AES-256-GCM with one key, from the environment or a key file."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from orchestrator.errors import EncryptionKeyError
from orchestrator.secret import Secret

KEY_VARIABLE = "ORCHESTRATOR_KEY"
_NONCE_BYTES = 12
_COUNT_BYTES = 4


class Nonces:
    """Unique numbers across threads, forks and processes: 64 random bits, then a count.

    Both are one object, so that no thread can pair the bits of one with the count of another. (New random bits for each
    number would cost a system call in every step.)

    Args:
        first: First value of the count.
    """

    def __init__(self, first: int = 0) -> None:
        self._state: tuple[bytes, Iterator[int]]
        self.renew(first)

    def renew(self, first: int = 0) -> None:
        """Draw new random bits: in a forked child, which would repeat its parent's numbers, and after 2**32 numbers."""
        left = range(first, 1 << 8 * _COUNT_BYTES)
        self._state = (os.urandom(_NONCE_BYTES - _COUNT_BYTES), iter(left))

    def __next__(self) -> bytes:
        while True:
            prefix, left = self._state
            number = next(left, None)
            if number is not None:
                return prefix + number.to_bytes(_COUNT_BYTES, "big")
            self.renew()


_nonces = Nonces()
os.register_at_fork(after_in_child=_nonces.renew)


class Vault:
    """Seals and opens with one 256-bit key. A sealed value is bound to its place (associated data), so that a copy
    of it in another instance cannot be opened."""

    def __init__(self, key: bytes, source: str) -> None:
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415  # slow to import, and some commands decrypt nothing
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415  # as above

        self._aead = AESGCM(key)
        self._refused = (InvalidTag, ValueError)
        self.source = source
        self.key_id = hashlib.sha256(b"orchestrator key id" + key).hexdigest()[:8]
        """Identifies the key without revealing it."""

    def seal(self, data: bytes, place: bytes) -> bytes:
        """Encrypt and authenticate ``data``."""
        nonce = next(_nonces)
        return nonce + self._aead.encrypt(nonce, data, place)

    def open(self, sealed: bytes, place: bytes) -> bytes:
        """Decrypt a sealed value.

        Raises:
            EncryptionKeyError: It was sealed with another key, for another place, or changed since.
        """
        try:
            return self._aead.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], place)
        except self._refused as error:
            raise EncryptionKeyError(
                f"secrets of {place.decode(errors='replace')} do not open with the key {self.key_id} from {self.source}: "
                f"set {KEY_VARIABLE} to the key that sealed them, or put its key file back"
            ) from error

    def seal_secret(self, secret: Secret, place: bytes) -> str:
        """Seal a secret as text; computed once for each secret object and place."""
        if secret.sealed is None or secret.sealed[0] != (self.key_id, place):
            text = base64.b64encode(self.seal(secret.reveal().encode(), place)).decode()
            secret.sealed = ((self.key_id, place), text)
        return secret.sealed[1]

    def open_secret(self, text: str, place: bytes) -> Secret:
        """Decrypt the secret in its sealed text."""
        try:
            sealed = base64.b64decode(text)
        except (TypeError, ValueError):
            sealed = b""  # no key can open it
        secret = Secret(self.open(sealed, place).decode())
        secret.sealed = ((self.key_id, place), text)
        return secret


def find_key(environ: Mapping[str, str], key_file: Path, *, create: bool = True) -> Vault:
    """The vault with the user's key: ``ORCHESTRATOR_KEY`` if set, else the key file, which is created on first use.

    Args:
        create: Whether the file may be created. False on resume: a new key could not decrypt old data.

    Raises:
        EncryptionKeyError: The key is malformed or missing, or the file cannot be read or written, or other users can read it.
    """
    given = environ.get(KEY_VARIABLE)
    if given:
        return Vault(_decode(given, KEY_VARIABLE), KEY_VARIABLE)
    source = f"the key file {key_file}"
    try:
        text = key_file.read_text("ascii")
    except FileNotFoundError:
        if not create:
            raise EncryptionKeyError(
                f"{source} is not there: put it back, or set {KEY_VARIABLE} to the key that the run was started with"
            ) from None
        return Vault(_create(key_file), source)
    except (OSError, UnicodeDecodeError) as error:
        raise EncryptionKeyError(f"{source} cannot be read: {_reason(error)}") from error
    if key_file.stat().st_mode & 0o077:
        raise EncryptionKeyError(f"{source} can be read by other users; run: chmod 600 '{key_file}'")
    return Vault(_decode(text.strip(), source), source)


def new_key() -> str:
    """A new key in the form of ``ORCHESTRATOR_KEY`` and the key file: 32 bytes, URL-safe base64."""
    return base64.urlsafe_b64encode(os.urandom(32)).decode()


def _decode(text: str, source: str) -> bytes:
    try:
        key = base64.b64decode(text.encode("ascii"), altchars=b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError, ValueError):
        key = b""
    if len(key) != 32:
        raise EncryptionKeyError(
            f"{source} does not hold a key: it takes 32 bytes in URL-safe base64 (44 characters), made for example with: "
            "python3 -c 'import base64, os; print(base64.urlsafe_b64encode(os.urandom(32)).decode())'"
        )
    return key


def _create(key_file: Path) -> bytes:
    text = new_key()
    # Written beside it and linked into place: two simultaneous first runs agree on one key, and a crash leaves no partial file.
    draft = key_file.with_name(f".{key_file.name}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        key_file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, key_file)
        except FileExistsError:
            text = key_file.read_text("ascii").strip()
        finally:
            draft.unlink()
    except OSError as error:
        raise EncryptionKeyError(
            f"the key file {key_file} cannot be made: {_reason(error)}; set {KEY_VARIABLE} instead"
        ) from error
    return _decode(text, f"the key file {key_file}")


def _reason(error: Exception) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)
