"""The stored form of an instance: versioned JSON with sealed secrets. Reading it back may migrate or reject it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic

import attrs
import cattrs
import cattrs.preconf.orjson
import orjson

from orchestrator.definition.machine import STATIONS
from orchestrator.definition.state import C
from orchestrator.definition.workflow import Workflow
from orchestrator.errors import CheckpointError, DefinitionError, WorkflowChangedError
from orchestrator.json_types import JSONObject
from orchestrator.lifecycle.effects import effects_of
from orchestrator.lifecycle.instance import Instance, Status
from orchestrator.secret import Secret, fields_of
from orchestrator.storage.encryption import Vault
from orchestrator.storage.records import Checkpoint

FORMAT = 1
"""Version of the envelope; a newer version is rejected."""

_SEALED = "$sealed"
_PLAIN = "$plain"
"""Escapes a dictionary of the user's data that looks like a sealed secret, or like this escape."""
_MARKS = ({_SEALED}, {_PLAIN})


def make_converter() -> cattrs.preconf.orjson.OrjsonConverter:
    """A cattrs converter that leaves secrets as objects, for :func:`dumps` to seal."""
    converter = cattrs.preconf.orjson.make_converter()
    converter.register_unstructure_hook(Secret, lambda secret: secret)
    converter.register_structure_hook(Secret, lambda value, _: value if isinstance(value, Secret) else Secret(value))
    return converter


_converter = make_converter()
"""Shared by all codecs: it compiles a function for each class, which takes milliseconds."""
_plain = cattrs.preconf.orjson.make_converter()


def dumps(data: object, vault: Vault, place: bytes) -> bytes:
    """Encode as JSON, with every secret sealed for ``place``.

    Attrs classes are converted here as orjson meets them, into the form that cattrs reads; cattrs unstructures
    other types. (Unstructuring everything with cattrs first doubled the time of a checkpoint.)

    Raises:
        TypeError: A value cannot be stored.
    """

    sealed = 0

    def plain(value: object) -> object:
        nonlocal sealed
        kind = type(value)
        if kind is Secret:
            sealed += 1
            return {_SEALED: vault.seal_secret(value, place)}  # type: ignore[arg-type]  # it is one
        names = fields_of(kind)  # type: ignore[arg-type]  # a class is hashable
        if names is not None:
            held: dict[str, object] = getattr(value, "__dict__", {})
            # Most classes keep their fields, and nothing else, in a dictionary.
            return held if tuple(held) == names else {name: getattr(value, name) for name in names}
        unstructured: object = _plain.unstructure(value)
        if type(unstructured) is kind:
            raise TypeError(f"{kind.__name__} cannot be stored")
        return unstructured

    def escaped(value: object) -> object:
        return plain(value) if type(value) is Secret else _escaped(plain(value))

    body = _written(data, plain)
    if body.count(b'"$sealed":') == sealed and b'"$plain":' not in body:
        return body
    return _written(_escaped(data), escaped)


def _written(data: object, default: Callable[[object], object]) -> bytes:
    try:
        return orjson.dumps(data, default=default, option=orjson.OPT_PASSTHROUGH_DATACLASS)
    except TypeError:
        # Keys other than strings are rare, and checking for them takes as long as the rest.
        return orjson.dumps(data, default=default, option=orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_NON_STR_KEYS)


def _escaped(value: object) -> object:
    if isinstance(value, dict):
        inner = {key: _escaped(item) for key, item in value.items()}
        return {_PLAIN: inner} if inner.keys() in _MARKS else inner
    return [_escaped(item) for item in value] if isinstance(value, list | tuple) else value


def opened(data: object, vault: Vault, place: bytes) -> Any:
    """Return parsed JSON with every sealed value decrypted into a :class:`Secret`."""
    if isinstance(data, dict):
        if data.keys() == {_SEALED}:
            return vault.open_secret(data[_SEALED], place)
        if data.keys() == {_PLAIN}:
            return {key: opened(value, vault, place) for key, value in data[_PLAIN].items()}
        return {key: opened(value, vault, place) for key, value in data.items()}
    if isinstance(data, list):
        return [opened(value, vault, place) for value in data]
    return data


class Codec(Generic[C]):
    """Converts instances of one workflow to and from checkpoints.

    Raises:
        DefinitionError: A field of its context could be stored, but not read back.
    """

    def __init__(self, workflow: Workflow[C, Any], vault: Vault) -> None:
        self._workflow = workflow
        self._vault = vault
        self._type: Any = Instance[workflow.context]  # type: ignore[name-defined]  # made at run time
        self._unproven = {*workflow.machine.states, *workflow.machine.ends}
        """Positions whose round trip was not verified yet. (Engine positions never change the context.)"""
        try:
            _converter.get_structure_hook(self._type)
        except Exception as error:
            problem = f"its context {workflow.context.__name__} cannot be read back from a checkpoint: {error}"
            raise DefinitionError(workflow.name, problem) from error

    def encode(
        self, instance: Instance[C], *, history: int, evidence: Sequence[Mapping[str, object]] | None = None
    ) -> Checkpoint:
        """Encode an instance.

        Args:
            history: Events recorded so far, including those of this checkpoint.
            evidence: The last exchanges before it failed.

        Raises:
            CheckpointError: The context holds a value that cannot be stored, or not be read back. (The round trip is verified
                once per state: an error in it affects every instance, and the check would double the cost.)
        """
        more, place = {"format": FORMAT, "history": history}, instance.id.encode()
        try:
            try:
                body = dumps({**instance.__dict__, **more}, self._vault, place)
            except TypeError:
                # orjson rejects some types of dictionary keys; cattrs may convert them.
                body = dumps({**_converter.unstructure(instance, self._type), **more}, self._vault, place)
        except (TypeError, ValueError) as error:
            raise CheckpointError(f"instance {instance.id}: its context cannot be stored: {error}") from error
        if instance.position in self._unproven:
            self._structure(opened(orjson.loads(body), self._vault, place), instance.id)
            self._unproven.discard(instance.position)
        return Checkpoint(
            run_id=instance.run_id,
            number=instance.number,
            status=instance.status,
            position=instance.position,
            updated_at=instance.updated_at,
            not_before=instance.not_before,
            effects=self._kinds(instance),
            body=body,
            evidence=self._vault.seal(_evidence_json(evidence), _evidence_of(instance.id)) if evidence else None,
        )

    def _kinds(self, instance: Instance[C]) -> tuple[str, ...] | None:
        """Kinds of the effects, for an instance that has stopped. For a running one they would change with every checkpoint."""
        if instance.status is Status.RUNNING or instance.status is Status.ROLLING_BACK:
            return None
        try:
            return tuple(effect.kind for _, effect in effects_of(self._workflow, instance))
        except Exception:  # noqa: BLE001  # a bug of the workflow: the checkpoint matters more than the count
            return None

    def evidence(self, instance_id: str, bodies: Iterable[bytes]) -> list[JSONObject]:
        """Return the stored exchanges of an instance, oldest first. Raises ``EncryptionKeyError``."""
        return [entry for body in bodies for entry in orjson.loads(self._vault.open(body, _evidence_of(instance_id)))]

    def decode(self, row: Checkpoint, stored: Mapping[str, Mapping[str, str]]) -> Instance[C]:
        """Decode a checkpoint, migrating it if its definition requires that.

        Args:
            stored: Definition → fingerprints of its states, for the definitions that checkpoints name.

        Raises:
            EncryptionKeyError: Its secrets were sealed with another key.
            WorkflowChangedError: A change of the definition affects this instance.
            CheckpointError: It cannot be read at all.
        """
        place = f"{row.run_id}-{row.number}"
        data = self._parse(row, place)
        data = opened(data, self._vault, place.encode())
        if data["definition"] != self._workflow.definition:
            data = self._fit(data, stored.get(data["definition"], {}), place)
        instance = self._structure(data, place)
        return attrs.evolve(instance, definition=self._workflow.definition, version=self._workflow.version)

    def _structure(self, data: object, place: str) -> Instance[C]:
        try:
            instance: Instance[C] = _converter.structure(data, self._type)
        except Exception as error:
            problems = "; ".join(cattrs.transform_error(error)) if isinstance(error, cattrs.BaseValidationError) else str(error)
            raise CheckpointError(f"instance {place}: its checkpoint does not fit this version: {problems}") from error
        return instance

    def _parse(self, row: Checkpoint, place: str) -> JSONObject:
        try:
            data = orjson.loads(row.body)
        except orjson.JSONDecodeError as error:
            raise CheckpointError(f"instance {place}: its checkpoint is not readable ({error})") from error
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            found = data.get("format") if isinstance(data, dict) else None
            raise CheckpointError(
                f"instance {place}: its checkpoint has format {found!r}, and this program reads {FORMAT}; use the program that wrote it"
            )
        return data

    def _fit(self, data: JSONObject, old: Mapping[str, str], place: str) -> JSONObject:
        """Convert ``data`` to the present definition; unchanged where the changes do not affect it."""
        new = self._workflow.fingerprints
        changed = {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}
        used = {data["position"], *data["trail"], *(left["state"] for left in data["leftovers"]), "context"}
        touched = sorted(used & changed)
        # Migrate all the way or not at all: data that the changes do not affect may stay unchanged.
        way = range(data["version"], self._workflow.version)
        migrated = bool(way) and all(version in self._workflow.migrations for version in way)
        for version in way if migrated else ():
            data = self._workflow.migrations[version](data)
        machine = self._workflow.machine
        known = {*machine.states, *machine.ends, *STATIONS}
        named = {data["position"], *data["trail"], *(left["state"] for left in data["leftovers"])} | {data.get("ends_at")} - {
            None
        }
        if (touched and not migrated) or not named <= known:
            # No migration leads here, or the definition was changed without a new version.
            raise WorkflowChangedError(data["run_id"], self._workflow.name, [place], _changes(touched, old, new))
        return data


def _evidence_json(entries: Sequence[Mapping[str, object]]) -> bytes:
    """Encode the evidence. Values that cannot be encoded are dropped: evidence must never make an instance fail."""
    try:
        return orjson.dumps(entries)
    except (TypeError, ValueError, RecursionError):
        return orjson.dumps([{"comment": "exchanges that cannot be shown"}])


def _evidence_of(instance_id: str) -> bytes:
    return f"{instance_id} evidence".encode()


def stored_definition(row: Checkpoint) -> str:
    """The definition that a checkpoint names; empty if unreadable, since decoding it reports why."""
    try:
        data = orjson.loads(row.body)
    except orjson.JSONDecodeError:
        return ""
    return str(data.get("definition", "")) if isinstance(data, dict) else ""


def _changes(names: list[str], old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    changes = []
    for name in names:
        verb = "is gone" if name not in new else "is new" if name not in old else "is different"
        changes.append(f"{'the context' if name == 'context' else f'state {name}'} {verb}")
    return changes
