"""Every exception of the engine, as one tree.

::

    OrchestratorError
    ├── DefinitionError            a workflow is wrong and was refused when it was built
    ├── ConfigurationError         the user must change something before the program can start
    │   ├── UnknownWorkflowError
    │   ├── SettingError           a flag, a variable or a key of the TOML file
    │   ├── EncryptionKeyError     the key is missing, malformed or different from the one that encrypted the data
    │   ├── RunConflictError       another run is asked for under the id of a stored one
    │   ├── ServicesError          the services of a workflow could not be opened
    │   └── WorkflowChangedError   stored instances do not fit the installed definition
    ├── StoreError                 the store cannot be used: missing, of another program, read-only, full, locked
    │   ├── UnknownRunError
    │   ├── RunExistsError         the store has a run with this id already
    │   ├── RunInUseError          a process drives the run that should be copied
    │   ├── StoreLostError         the file of the store was deleted, moved or replaced while it was in use
    │   ├── LeaseHeldError         another process drives this run
    │   ├── StaleEpochError        another process has taken over this run
    │   └── CheckpointError        a checkpoint cannot be read
    ├── ClusterError               the worker processes of a run cannot be used, or are gone
    ├── LeaseExpiredError          this process could not renew its lease in time
    ├── UndeclaredOutcomeError     a bug in a state
    └── StepError                  a handler reports a failure
        ├── TransientError         the request had no effect; try again
        │   └── ThrottledError     the same, and the rate group pauses
        ├── AmbiguousError         the request may have had its effect; recover before another attempt
        ├── ExpiredError           something that the step needs has expired; take the given outcome
        └── PermanentError         no attempt can succeed

A message names the event, the object and the cure. The driver records the place (state, instance, attempt)
separately. No message may contain a secret.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

SHOWN_OF_A_VALUE = 60
"""Maximum characters of a refused value in a message."""


def shortened(value: object) -> str:
    """A refused value for a message: quoted, on one line, and cut."""
    if isinstance(value, str):
        return repr(value if len(value) <= SHOWN_OF_A_VALUE else f"{value[:SHOWN_OF_A_VALUE]}…")
    text = repr(value)
    return text if len(text) <= SHOWN_OF_A_VALUE else f"{text[:SHOWN_OF_A_VALUE]}…"


class OrchestratorError(Exception):
    """Base class of all errors that this package raises on purpose."""


class DefinitionError(OrchestratorError):
    """A workflow cannot be built; the message names the part that is wrong."""

    def __init__(self, workflow: str, problem: str) -> None:
        super().__init__(f"workflow {workflow!r}: {problem}")
        self.workflow = workflow
        self.problem = problem


class ConfigurationError(OrchestratorError):
    """The user must change something before the program can start."""


class UnknownWorkflowError(ConfigurationError):
    """No installed workflow has this name."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        self.name = name
        self.known = tuple(sorted(known))
        super().__init__(f"no workflow is called {name!r}; installed: {', '.join(self.known) or 'none'}")


class SettingError(ConfigurationError):
    """A setting has an invalid value."""

    def __init__(self, setting: str, problem: str, source: str | None = None) -> None:
        self.setting = setting
        self.problem = problem
        self.source = source
        super().__init__(f"{setting}{f' (from {source})' if source else ''}: {problem}")


class EncryptionKeyError(ConfigurationError):
    """The encryption key is malformed, unreadable, or different from the one that encrypted the data."""


class RunConflictError(ConfigurationError):
    """A run was started a second time under its id, with other arguments; the message names them."""

    def __init__(self, run_id: str, differences: Iterable[str]) -> None:
        self.run_id = run_id
        self.differences = tuple(differences)
        super().__init__(
            f"run {run_id} was started before with other arguments: {'; '.join(self.differences)}; give the same ones, or another id"
        )


class ServicesError(ConfigurationError):
    """The services of a workflow could not be opened (credentials, address, certificate)."""


class WorkflowChangedError(ConfigurationError):
    """Stored instances are in states, or would roll back states, that have changed since."""

    def __init__(self, run_id: str, workflow: str, touched: Iterable[str], changes: Iterable[str]) -> None:
        self.run_id = run_id
        self.touched = tuple(touched)
        self.changes = tuple(changes)
        shown = ", ".join(self.touched[:3]) + (" …" if len(self.touched) > 3 else "")
        super().__init__(
            f"run {run_id}: the definition of {workflow!r} has changed ({'; '.join(self.changes)}) and "
            f"this affects {len(self.touched)} unfinished instance(s) ({shown}); resume with the version that "
            "started the run, or add a migration to the workflow"
        )


class StoreError(OrchestratorError):
    """The store cannot be used; the message names it and the cure."""


class UnknownRunError(StoreError):
    """The store has no such run, or no such instance."""

    def __init__(self, wanted: str, where: str) -> None:
        self.wanted = wanted
        super().__init__(f"{wanted} is not in {where}; `orchestrator list` shows the runs")


class RunExistsError(StoreError):
    """A new run was not stored, because the store has one with its id."""

    def __init__(self, run_id: str, where: str) -> None:
        self.run_id = run_id
        super().__init__(f"run {run_id} is in {where} already; give another id, or resume that run")


class RunInUseError(StoreError):
    """A run was not copied, because a process drives it, or has driven it meanwhile."""

    def __init__(self, run_id: str, reason: str) -> None:
        self.run_id = run_id
        super().__init__(f"run {run_id} was not copied: {reason}; stop that process, then copy the run again")


class StoreLostError(StoreError):
    """The file of the store was deleted, moved or replaced while this process used it.

    Later writes would be lost, so the run stops. The open store can still read its data, and
    :meth:`~orchestrator.Store.rescue` copies it to a new file.
    """

    def __init__(self, where: str) -> None:
        super().__init__(f"{where} was deleted, moved or replaced while it was in use; the run has stopped")


class LeaseHeldError(StoreError):
    """Another process drives this run, and its lease has not expired."""

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
    """A checkpoint was refused because another process has taken over the run."""

    def __init__(self, run_id: str, epoch: int) -> None:
        self.run_id = run_id
        self.epoch = epoch
        super().__init__(
            f"another process has taken over run {run_id} (epoch {epoch} is stale); this process has stopped and has written "
            "nothing since"
        )


class CheckpointError(StoreError):
    """A stored record cannot be read."""


class ClusterError(OrchestratorError):
    """The worker processes of a run cannot be started or reached, or they failed. The run can be resumed."""


class LeaseExpiredError(OrchestratorError):
    """The lease was not renewed in time, so no further request may be sent."""

    def __init__(self, run_id: str, late_s: float) -> None:
        self.run_id = run_id
        self.late_s = late_s
        super().__init__(
            f"the lease of run {run_id} expired {late_s:.1f} s ago (was this process stopped, or the store "
            "unreachable?); nothing was sent or written since"
        )


class UndeclaredOutcomeError(OrchestratorError):
    """A handler returned an outcome that its state does not declare: a bug in the state."""

    def __init__(self, state: str, outcome: str, declared: Iterable[str]) -> None:
        self.state = state
        self.outcome = outcome
        super().__init__(f"state {state!r} ended with {outcome!r} but declares only {', '.join(sorted(declared))}")


class StepError(OrchestratorError):
    """A handler raises it to report a failure.

    Args:
        message: One line for people, without secrets.
        code: A short machine-readable name of the cause, e.g. the vendor's error code.
    """

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code


class TransientError(StepError):
    """The request had no effect and may be sent again.

    Args:
        retry_after: Seconds that the other side asked to wait; ``None`` if it did not.
    """

    def __init__(self, message: str, *, code: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(message, code=code)
        self.retry_after = retry_after


class ThrottledError(TransientError):
    """The other side limits calls of this kind: the whole rate group of the state pauses, not only this instance."""


class AmbiguousError(TransientError):
    """The request may have had its effect: the state's ``recover`` is called before it is sent again."""


class ExpiredError(StepError):
    """Something that the step needs has expired; the state ends with the declared ``outcome``."""

    def __init__(self, message: str, *, outcome: str, code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.outcome = outcome


class PermanentError(StepError):
    """No further attempt can succeed; the instance is rolled back or kept, depending on the run."""
