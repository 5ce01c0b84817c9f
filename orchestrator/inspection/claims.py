"""The JSON web tokens among the secrets of an instance: their headers and claims, never a signature."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import attrs
import jwt

from orchestrator.json_types import JSONObject
from orchestrator.redaction import Redactor
from orchestrator.secret import Secret, fields_of, secrets_in


@attrs.frozen(kw_only=True)
class Claims:
    """A decoded token, without its signature, which alone is secret."""

    name: str
    """The field of the context that holds it."""
    header: Mapping[str, object]
    claims: Mapping[str, object]


def claims_of(context: object) -> Iterator[Claims]:
    """The tokens of a context. Other secrets that a claim repeats are masked."""
    kind: type = type(context)
    for name in fields_of(kind) or ():
        secret = getattr(context, name)
        if not isinstance(secret, Secret):
            continue
        try:
            header = jwt.get_unverified_header(secret.reveal())
            claims = jwt.decode(secret.reveal(), options={"verify_signature": False})
        except (jwt.PyJWTError, ValueError):
            continue  # a secret of another kind
        redactor = Redactor(other for other in secrets_in(context) if other != secret)
        yield Claims(name=name, header=_masked_members(header, redactor), claims=_masked_members(claims, redactor))


def _masked_members(data: JSONObject, redactor: Redactor) -> JSONObject:
    return {redactor.redact(name): _masked(value, redactor) for name, value in data.items()}


def _masked(value: object, redactor: Redactor) -> object:
    if isinstance(value, str):
        return redactor.redact(value)
    if isinstance(value, dict):
        return _masked_members(value, redactor)
    return [_masked(inner, redactor) for inner in value] if isinstance(value, list) else value
