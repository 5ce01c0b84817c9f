"""Every exception of the engine.

::

    OrchestratorError
    ├── DefinitionError            a workflow that is refused when it is built
    ├── ConfigurationError         something the user has to change before anything can start
    │   ├── UnknownWorkflowError
    │   ├── SettingError           a flag, a variable or a key of the TOML file
    │   ├── EncryptionKeyError     the key is missing, malformed or not the one that sealed the data
    │   ├── ServicesError          what all instances share could not be opened
    │   └── WorkflowChangedError   stored instances do not fit the definition that is installed
    ├── StoreError                 the store cannot be used: absent, foreign, read-only, full, locked
    │   ├── UnknownRunError
    │   ├── StoreLostError         its file was deleted, moved or replaced while it was in use
    │   ├── LeaseHeldError         another process drives this run
    │   ├── StaleEpochError        another process has taken this run over
    │   └── CheckpointError        a checkpoint that cannot be read
    ├── LeaseExpiredError          we could not renew our lease in time
    ├── UndeclaredOutcomeError     a bug in a state
    └── StepError                  what a handler says of its failure
        ├── TransientError         no effect; worth another attempt
        │   └── ThrottledError     … of anything of its kind, after a while
        ├── AmbiguousError         it may have had its effect; look before another attempt
        ├── ExpiredError           something it needs has run out; take the outcome it names
        └── PermanentError         no attempt will ever succeed

A sentence says what happened, to what, and what to do next. Where it happened (state, instance, attempt)
is recorded beside it by the driver. No text of these may hold a secret.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

SHOWN_OF_A_VALUE = 60
"""Characters of a refused value that a message shows."""


def shortened(value: object) -> str:
    """A refused value as a message shows it: quoted, on one line, and cut."""
    if isinstance(value, str):
        return repr(value if len(value) <= SHOWN_OF_A_VALUE else f"{value[:SHOWN_OF_A_VALUE]}…")
    text = repr(value)
    return text if len(text) <= SHOWN_OF_A_VALUE else f"{text[:SHOWN_OF_A_VALUE]}…"


class OrchestratorError(Exception):
    """Base of all errors that this package raises on purpose."""


class DefinitionError(OrchestratorError):
    """A workflow that cannot be built; the message names the culprit."""

    def __init__(self, workflow: str, problem: str) -> None:
        super().__init__(f"workflow {workflow!r}: {problem}")
        self.workflow = workflow
        self.problem = problem


class ConfigurationError(OrchestratorError):
    """Something has to be changed by the user before anything can start."""


class UnknownWorkflowError(ConfigurationError):
    """No installed workflow has this name."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        self.name = name
        self.known = tuple(sorted(known))
        super().__init__(f"no workflow is called {name!r}; installed: {', '.join(self.known) or 'none'}")


class SettingError(ConfigurationError):
    """A setting has a value that cannot be used."""

    def __init__(self, setting: str, problem: str, source: str | None = None) -> None:
        self.setting = setting
        self.source = source
        super().__init__(f"{setting}{f' (from {source})' if source else ''}: {problem}")


class EncryptionKeyError(ConfigurationError):
    """The encryption key is malformed, unreadable, or not the one that sealed the data."""


class ServicesError(ConfigurationError):
    """What all instances share could not be opened: credentials, address, certificate."""


class WorkflowChangedError(ConfigurationError):
    """Stored instances stand in, or would roll back through, states that have changed since."""

    def __init__(self, run_id: str, workflow: str, touched: Iterable[str], changes: Iterable[str]) -> None:
        self.run_id = run_id
        self.touched = tuple(touched)
        self.changes = tuple(changes)
        shown = ", ".join(self.touched[:3]) + (" …" if len(self.touched) > 3 else "")
        super().__init__(
            f"run {run_id}: the definition of {workflow!r} has changed ({'; '.join(self.changes)}) and "
            f"{len(self.touched)} unfinished instance(s) are touched by it ({shown}); resume with the version that "
            "started the run, or add a migration to the workflow"
        )


class StoreError(OrchestratorError):
    """The store cannot do what was asked; the message says where it is and what to do."""


class UnknownRunError(StoreError):
    """The store holds no such run, or no such instance of it."""

    def __init__(self, wanted: str, where: str) -> None:
        self.wanted = wanted
        super().__init__(f"{wanted} is not in {where}; `orchestrator list` shows what is")


class StoreLostError(StoreError):
    """The file of the store was deleted, moved or replaced while this process used it.

    Nothing that is written afterwards would be found again, so the run stops. What was stored can still be read through the store
    that is open, and :meth:`~orchestrator.Store.rescue` copies it to a new file.
    """

    def __init__(self, where: str) -> None:
        super().__init__(f"{where} was deleted, moved or replaced while it was in use; the run has stopped")


class LeaseHeldError(StoreError):
    """Another process drives this run, and its lease has not lapsed."""

    def __init__(self, run_id: str, owner: str, until: float, now: float) -> None:
        self.run_id = run_id
        self.owner = owner
        self.until = until
        when = datetime.fromtimestamp(until, UTC).astimezone()
        super().__init__(
            f"run {run_id} is driven by {owner} until {when:%H:%M:%S} ({max(0.0, until - now):.0f} s from now) unless "
            "it renews its lease; stop that process, or try again after that time"
        )


class StaleEpochError(StoreError):
    """A checkpoint was refused because another process has taken the run over."""

    def __init__(self, run_id: str, epoch: int) -> None:
        self.run_id = run_id
        self.epoch = epoch
        super().__init__(
            f"run {run_id} has been taken over by another process (our epoch {epoch} is stale); this process has "
            "stopped and written nothing since"
        )


class CheckpointError(StoreError):
    """A stored record cannot be understood."""


class LeaseExpiredError(OrchestratorError):
    """The lease could not be renewed in time, so no further request may be sent."""

    def __init__(self, run_id: str, late_s: float) -> None:
        self.run_id = run_id
        self.late_s = late_s
        super().__init__(
            f"the lease of run {run_id} ran out {late_s:.1f} s ago without being renewed (was this process stopped, "
            "or the store unreachable?); nothing more was sent or written"
        )


class UndeclaredOutcomeError(OrchestratorError):
    """A handler ended with an outcome that its state does not declare: a bug in the state."""

    def __init__(self, state: str, outcome: str, declared: Iterable[str]) -> None:
        self.state = state
        self.outcome = outcome
        super().__init__(f"state {state!r} ended with {outcome!r} but declares only {', '.join(sorted(declared))}")


class StepError(OrchestratorError):
    """What a handler says of its failure.

    Args:
        message: One line for people, free of secrets.
        code: A short machine-readable name of the cause, e.g. the vendor's error code.
    """

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code


class TransientError(StepError):
    """The request had no effect and may be sent again.

    Args:
        retry_after: Seconds that the other side asked us to wait; ``None`` when it did not say.
    """

    def __init__(self, message: str, *, code: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(message, code=code)
        self.retry_after = retry_after


class ThrottledError(TransientError):
    """The other side limits calls of this kind: the whole rate group of the state waits, not this instance alone."""


class AmbiguousError(TransientError):
    """The request may have had its effect: the state's ``recover`` looks before it is sent again."""


class ExpiredError(StepError):
    """Something that the step needs has run out; the state ends with ``outcome``, a declared one."""

    def __init__(self, message: str, *, outcome: str, code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.outcome = outcome


class PermanentError(StepError):
    """No further attempt can succeed; the instance goes to rollback, or is kept, as the run says."""
