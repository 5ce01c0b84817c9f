"""Errors of asyncpg: which ones pass by themselves, and the others in one line: the problem, the store, the cure."""

from __future__ import annotations

import socket

import asyncpg

from orchestrator.errors import OrchestratorError, StoreError

LOST = (
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.TooManyConnectionsError,
    asyncpg.ReadOnlySQLTransactionError,  # after a failover the old server is a standby
    asyncpg.InternalClientError,  # the connection broke in the middle of a message, or no host is the primary server
    OSError,
    TimeoutError,
)
"""The connection is lost, or may be: another one may succeed."""
CONFLICTS = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError, asyncpg.LockNotAvailableError)
"""The transaction was rolled back, and may succeed when it is repeated."""
UNSTORABLE = (asyncpg.exceptions.DataError, asyncpg.DataError, UnicodeError, OverflowError)
"""The server, or asyncpg before it, rejects a value."""

_BROKEN = ("is closed", "has been closed", "was closed", "another operation is in progress")
"""Errors of asyncpg for a broken connection."""

_CURES: dict[type[Exception], str] = {
    asyncpg.InvalidPasswordError: "set PGPASSWORD, PGPASSFILE or ~/.pgpass to the right password",
    asyncpg.InvalidAuthorizationSpecificationError: "check the user, the password and the server's pg_hba.conf",
    asyncpg.InvalidCatalogNameError: "create the database first: createdb NAME",
    asyncpg.InsufficientPrivilegeError: "the user needs the right to create a schema in the database, or to own ours",
    asyncpg.DiskFullError: "free some space on the server, then try again (nothing is lost)",
    asyncpg.ReadOnlySQLTransactionError: "name the primary server, or several hosts with target_session_attrs=read-write",
    asyncpg.TargetServerAttributeNotMatched: "none of the hosts is the primary server",
    asyncpg.TooManyConnectionsError: "raise max_connections of the server, or run fewer processes",
    asyncpg.QueryCanceledError: "raise statement_timeout of the user or the database",
    TimeoutError: "check the address and the network",
    ConnectionRefusedError: "start the server, or correct the address",
    FileNotFoundError: "start the server, or correct the folder of its socket or the path of a certificate",
    socket.gaierror: "check the name of the host",
}


def is_lost(error: BaseException) -> bool:
    """Whether another connection may succeed."""
    return isinstance(error, LOST) or (isinstance(error, asyncpg.InterfaceError) and any(text in str(error) for text in _BROKEN))


def explained(where: str, error: BaseException, hint: str = "") -> Exception:
    """An error for people; those of this program, and bugs, stay as they are."""
    if isinstance(error, OrchestratorError) or not isinstance(
        error, (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)
    ):
        assert isinstance(error, Exception)
        return error
    cure = next((cure for kind, cure in _CURES.items() if isinstance(error, kind)), "")
    text = " ".join((reason(error), hint)).strip()
    return StoreError(f"{where} failed: {text}{f'; {cure}' if cure else ''}")


def reason(error: BaseException) -> str:
    """The error in one line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = str(error).split("\n")[0] or ("no answer" if isinstance(error, TimeoutError) else type(error).__name__)
    return text.rstrip(".")
