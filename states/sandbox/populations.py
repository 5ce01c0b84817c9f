"""Populations, which contain the users."""

from __future__ import annotations

import uuid

import attrs

from states.sandbox.bodies import described, filtered, hal, timestamp
from states.sandbox.calls import Answer, Call
from states.sandbox.environment import Environment
from states.sandbox.errors import invalid
from states.sandbox.fields import flag, reference, required_text, text, texts
from states.sandbox.json_types import JSONObject
from states.sandbox.objects import Population

FILTERS = ("name", "id")


def create(environment: Environment, call: Call) -> Answer:
    data = call.json()
    fields = _checked_fields(environment, data)
    default = flag(data, "default", False)
    population = environment.populations.put(
        Population(id=environment.new_id(), created_at=environment.now(), default=False, **fields)
    )
    if default:
        population = environment.make_default(population)
    environment.created("population", population.name)
    return Answer(status=201, body=_body(environment, call, population))


def read_all(environment: Environment, call: Call) -> Answer:
    rows = list(environment.populations.rows.values())
    return filtered(
        call,
        environment,
        "populations",
        rows,
        FILTERS,
        lambda row: {"name": row.name, "id": row.id},
        lambda row: _body(environment, call, row),
    )


def read(environment: Environment, call: Call) -> Answer:
    return Answer(body=_body(environment, call, environment.populations.get(call.ids["population"])))


def update(environment: Environment, call: Call) -> Answer:
    """PUT: fields that the body omits are reset, except ``default``, because an environment always has a default population."""
    population = environment.populations.get(call.ids["population"])
    data = call.json()
    fields = _checked_fields(environment, data, but=population.id)
    default = flag(data, "default", population.default)
    if population.default and not default:
        raise invalid("CONSTRAINT_VIOLATION", "default", "Make another population the default instead")
    changed = environment.populations.put(attrs.evolve(population, updated_at=environment.now(), **fields))
    if default:
        changed = environment.make_default(changed)
    return Answer(body=_body(environment, call, changed))


def delete(environment: Environment, call: Call) -> Answer:
    environment.delete_population(call.ids["population"])
    return Answer(status=204)


def _checked_fields(environment: Environment, data: JSONObject, but: str | None = None) -> JSONObject:
    name = required_text(data, "name")
    taken = "A population with the specified name already exists."
    environment.check_unique(environment.populations, "name", name, taken, but=but)
    return {
        "name": name,
        "description": text(data, "description", longest=1024),
        "theme_id": reference(data, "theme"),
        "password_policy_id": reference(data, "passwordPolicy"),
        "preferred_language": text(data, "preferredLanguage") or "en",
        "alternative_identifiers": tuple(texts(data, "alternativeIdentifiers")),
    }


def _body(environment: Environment, call: Call, row: Population) -> JSONObject:
    path = f"populations/{row.id}"
    policy = row.password_policy_id
    return hal(call, environment, path, theme=f"{path}/theme") | {
        "id": row.id,
        "name": row.name,
        **described(row.description),
        "userCount": environment.user_count(row),
        "createdAt": timestamp(row.created_at),
        "updatedAt": timestamp(row.updated_at or row.created_at),
        "preferredLanguage": row.preferred_language,
        **({"alternativeIdentifiers": list(row.alternative_identifiers)} if row.alternative_identifiers else {}),
        **({"passwordPolicy": {"id": policy}} if policy is not None else {}),
        "theme": {"id": row.theme_id or str(uuid.uuid5(uuid.NAMESPACE_URL, f"{environment.id}/theme"))},
        "default": row.default,
    }
