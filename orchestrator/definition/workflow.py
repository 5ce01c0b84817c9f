"""Workflow: a definition of states and transitions, checked when it is built and immutable afterwards."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeAlias

import attrs

from orchestrator.clock import Clock
from orchestrator.definition.checks import check, declared_moves
from orchestrator.definition.fingerprint import digest, fingerprints
from orchestrator.definition.machine import Machine, Move
from orchestrator.definition.state import Back, C, NextRound, S, State
from orchestrator.definition.tracing import RequestTracer
from orchestrator.errors import DefinitionError
from orchestrator.json_types import JSONObject

COMPLETED = "completed"
"""The default end of a workflow."""


@attrs.frozen(kw_only=True)
class ServiceContext:
    """The arguments of the engine to a workflow's ``open_services``."""

    run_id: str | None
    """``None`` when nothing will be driven (``doctor``)."""
    check_lease: Callable[[], None]
    """Call it before every request. It raises an error if the lease of this process has expired."""
    directory: Path | None
    """Directory for files of the services; ``None``: they may keep none."""
    seal: Callable[[bytes], bytes]
    """Encrypts data for these files, with the key of the checkpoints."""
    unseal: Callable[[bytes], bytes]
    concurrency: int
    clock: Clock
    alone: bool = True
    """Whether all that is left of the run belongs to this process; otherwise others share the tenant with it at the same time."""
    tracer: RequestTracer | None = None
    """Ask it before every request, and report the end of the request; ``None``: nothing is traced."""


Services: TypeAlias = Callable[[Any, ServiceContext], AbstractAsyncContextManager[Any]]
SharedServices: TypeAlias = Callable[[Any, ServiceContext], AbstractAsyncContextManager[Any]]
Migration: TypeAlias = Callable[[JSONObject], JSONObject]


@attrs.frozen(kw_only=True)
class Proof:
    """Facts that a completed instance has verified, for people and for ``--json``."""

    facts: Mapping[str, str]
    """Label → value, in the order of printing; no secrets."""


@attrs.frozen
class Segment:
    """A named part of a workflow that is timed as a whole: from the moment ``first`` was due until ``last`` is done."""

    name: str
    first: str
    last: str


@attrs.frozen
class Quota:
    """How many objects of one kind exist on the other side, and how many are allowed."""

    existing: int
    most: int


def _no_rates(settings: object) -> Mapping[str, float]:
    return {}


def _no_notices() -> tuple[str, ...]:
    return ()


def _no_settings() -> None:
    return None


@asynccontextmanager
async def _nothing_shared(settings: object, context: ServiceContext) -> AsyncIterator[Any]:
    yield settings


def _no_files(run_id: str, directory: Path) -> None:
    pass


@attrs.frozen(kw_only=True, slots=False)  # no slots: derived properties are cached in the object
class Workflow(Generic[C, S]):
    """The definition of a workflow.

    Raises:
        DefinitionError: A target is unknown, a state or an end unreachable, an outcome undeclared, a name used
            twice, a backward transition unbounded, or a state needs a recover handler and has none.
    """

    name: str
    version: int = 1
    context: type[C]
    """The context class: frozen attrs, with fields that cattrs can read back from JSON (attrs classes, enums, dates,
    collections …). Fields of type ``Secret`` are encrypted in the store. JSON has no NaN and no infinity: they are read back
    as ``None``."""
    states: tuple[State[C, S], ...]
    """Instances start in the first one."""
    ends: tuple[str, ...] = (COMPLETED,)
    initial_context: Callable[[str, int, Any], C] | Callable[[str, int, Any, Any], C]
    """Run id, number of the instance, settings → its first context. With ``row``, a fourth argument is the row of the instance, or
    ``None`` if the run was started without rows. Create the secrets that the states will need (a
    password, a key) here: then they are stored before they are used."""
    row: type[object] | None = None
    """An attrs class: the input of one instance (``start(data=…)``, ``--data``). Its fields are the columns; those with a default may
    be empty. Rows are encrypted in the store. ``None``: the workflow takes no rows."""
    open_services: Services
    """The settings that ``open_shared`` returned, :class:`ServiceContext` → the services that all instances of a process share, as
    an async context manager. It raises :class:`~orchestrator.errors.ServicesError` if they cannot be opened."""
    open_shared: SharedServices = _nothing_shared
    """Settings, :class:`ServiceContext` → the settings with which every process of a run opens its services, as an async context
    manager. For a server that must exist once, however many processes drive a run (an emulator): the process that starts or
    resumes the run opens it first; the others get its settings, encrypted. Settings of an open one are returned unchanged."""
    forget: Callable[[str, Path], None] = _no_files
    """Run id and directory of the services → deletes the files that the services keep for this run, which was deleted. It may
    block, and finds nothing for most runs."""
    settings: type[object] | Callable[[], None] = _no_settings
    """A frozen attrs class. The command line makes flags, environment variables and configuration keys of its fields."""
    prove: Callable[[C], Proof] | None = None
    """Context of a completed instance → the facts that it has verified."""
    prepare: Callable[[], None] | None = None
    """Imports the modules that ``open_services`` needs. The command line calls it in a thread while it reads its settings, to start
    sooner."""
    check: Callable[[S], Awaitable[Mapping[str, str]]] | None = None
    """Tests the connection without changing anything: label → fact (``doctor``)."""
    notices: Callable[[], Sequence[str]] = _no_notices
    """Facts about this installation that a user should know, shown in the first line of a run and by ``doctor``."""
    rates: Callable[[Any], Mapping[str, float]] = _no_rates
    """Settings → rate group → default number of attempts per second."""
    quotas: Callable[[S], Awaitable[Mapping[str, Quota]]] | None = None
    """Kind of effect → its :class:`Quota` on the other side, for kinds of which each instance creates one object."""
    segments: tuple[Segment, ...] = ()
    """Parts that are timed in addition to the states and the whole instance."""
    migrations: Mapping[int, Migration] = attrs.field(factory=dict)
    """Old version → function that converts a stored instance (JSON data) to the next version."""
    summary: str = ""
    """One line for people."""

    def __attrs_post_init__(self) -> None:
        check(self)

    def first_context(self, run_id: str, number: int, settings: object, row: object = None) -> C:
        """The first context of an instance. Raises ``DefinitionError`` if it is of another class."""
        make: Callable[..., C] = self.initial_context
        context = make(run_id, number, settings) if self.row is None else make(run_id, number, settings, row)
        if type(context) is not self.context:
            wanted, made = self.context.__name__, type(context).__name__
            raise DefinitionError(self.name, f"its initial context is a {made}, not a {wanted}")
        return context

    @cached_property
    def machine(self) -> Machine:
        """The machine that holds every move."""
        return Machine((state.name for state in self.states), self.ends, declared_moves(self.states))

    @cached_property
    def state_named(self) -> Mapping[str, State[C, S]]:
        """Name → state."""
        return {state.name: state for state in self.states}

    @cached_property
    def fingerprints(self) -> Mapping[str, str]:
        """State → fingerprint; under ``context`` that of the context class."""
        return fingerprints(self.states, self.machine.declared(), self.context)

    @cached_property
    def definition(self) -> str:
        """Fingerprint of the whole definition, stored in each checkpoint."""
        return digest([self.name, self.version, self.fingerprints])

    @cached_property
    def initial(self) -> str:
        """The state in which instances start."""
        return self.states[0].name

    @cached_property
    def round_start(self) -> str | None:
        """The state in which each further round begins (the target of :class:`NextRound`); ``None``: the workflow has no
        rounds."""
        return self._next_round.target if self._next_round else None

    @cached_property
    def round_end(self) -> str | None:
        """The last state of a round."""
        return self._next_round.source if self._next_round else None

    @cached_property
    def round_outcome(self) -> str | None:
        """The outcome of the last state that begins another round."""
        return self._next_round.trigger if self._next_round else None

    @cached_property
    def in_round(self) -> frozenset[str]:
        """The states of a round; empty if the workflow has no rounds."""
        if self._next_round is None:
            return frozenset()
        first, last = self.order(self._next_round.target), self.order(self._next_round.source)
        return frozenset(state.name for state in self.states[first - 1 : last])

    @cached_property
    def _next_round(self) -> Move | None:
        return next((move for move in self.machine.declared() if isinstance(move.back, NextRound)), None)

    def back(self, state: str, outcome: str) -> Back | None:
        """The backward transition for this outcome; ``None`` if it leads forward."""
        target = self.state_named[state].transitions[outcome]
        return target if isinstance(target, Back) else None

    def order(self, state: str) -> int:
        """Position of a state in the definition, from 1; any other name counts as after the last."""
        for index, known in enumerate(self.states, start=1):
            if known.name == state:
                return index
        return len(self.states) + 1


AnyWorkflow: TypeAlias = Workflow[Any, Any]
"""A workflow where its context and its services do not matter."""
