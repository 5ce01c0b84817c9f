"""Populations, users and passwords."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any

import attrs

from states.sandbox import filters
from states.sandbox.bodies import collection, hal, timestamp
from states.sandbox.calls import Answer, Call, required_text, text_field
from states.sandbox.environment import Environment
from states.sandbox.errors import invalid
from states.sandbox.objects import Population, R, User
from states.sandbox.passwords import unsatisfied

PASSWORD_SET = "application/vnd.pingidentity.password.set+json"
PASSWORD_POLICY_ID = "5d2b6c1e-0d3e-4d0e-9a5f-52f6a1b7c001"
LOCKOUT_FAILURES = 5
LOCKOUT_S = 900.0

POPULATION_FILTERS = ("name", "id")
USER_FILTERS = ("username", "email", "population.id", "enabled", "name.given", "name.family", "externalId")


def create_population(environment: Environment, call: Call) -> Answer:
    data = call.json()
    name = required_text(data, "name")
    environment.check_unique(
        environment.populations.rows.values(), "name", name, "A population with the specified name already exists."
    )
    population = environment.populations.put(
        Population(
            id=environment.new_id(),
            created_at=environment.now(),
            name=name,
            description=text_field(data, "description", longest=1024),
            default=False,
        )
    )
    environment.created("population", name)
    return Answer(status=201, body=_population_body(environment, call, population))


def read_populations(environment: Environment, call: Call) -> Answer:
    return _filtered(
        environment,
        call,
        "populations",
        list(environment.populations.rows.values()),
        POPULATION_FILTERS,
        lambda row: _population_body(environment, call, row),
    )


def read_population(environment: Environment, call: Call) -> Answer:
    return Answer(body=_population_body(environment, call, environment.populations.get(call.ids["population"])))


def delete_population(environment: Environment, call: Call) -> Answer:
    environment.delete_population(call.ids["population"])
    return Answer(status=204)


def create_user(environment: Environment, call: Call) -> Answer:
    data = call.json()
    username, email = required_text(data, "username", longest=128), required_text(data, "email")
    if any(unicodedata.category(char)[0] not in "LMSNPZ" or unicodedata.category(char) in ("Zl", "Zp") for char in username):
        raise invalid("INVALID_VALUE", "username", "The username has characters that are not allowed")
    if not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", email):
        raise invalid("INVALID_VALUE", "email", "must be a well-formed email address")
    environment.check_unique(
        environment.users.rows.values(), "username", username, "is unique but a non-unique value is provided"
    )
    name = data.get("name") or {}
    if not isinstance(name, dict):
        raise invalid("INVALID_VALUE", "name", "name must be an object")
    user = environment.users.put(
        User(
            id=environment.new_id(),
            created_at=environment.now(),
            population_id=_population_id(environment, data),
            username=username,
            email=email,
            given=_name(name, "given"),
            family=_name(name, "family"),
        )
    )
    environment.created("user", username)
    return Answer(status=201, body=_user_body(environment, call, user))


def read_users(environment: Environment, call: Call) -> Answer:
    return _filtered(
        environment,
        call,
        "users",
        list(environment.users.rows.values()),
        USER_FILTERS,
        lambda row: _user_body(environment, call, row),
    )


def read_user(environment: Environment, call: Call) -> Answer:
    return Answer(body=_user_body(environment, call, environment.users.get(call.ids["user"])))


def delete_user(environment: Environment, call: Call) -> Answer:
    environment.delete_user(call.ids["user"])
    return Answer(status=204)


def set_password(environment: Environment, call: Call) -> Answer:
    user = environment.users.get(call.ids["user"])
    data = call.json(PASSWORD_SET)
    value = required_text(data, "value", longest=10_000)
    profile = (user.username, user.email, user.given or "", user.family or "")
    broken = unsatisfied(value, profile, user.passwords)
    if broken:
        raise invalid(
            "INVALID_VALUE", "value", "The password does not satisfy the password policy", unsatisfiedRequirements=broken
        )
    user = environment.users.put(
        attrs.evolve(
            user,
            passwords=(*user.passwords, value),
            password_set_at=environment.now(),
            must_change=data.get("forceChange") is True,
            failed_sign_ons=0,
            locked_until=0.0,
        )
    )
    return Answer(body=_password_body(environment, call, user))


def read_password(environment: Environment, call: Call) -> Answer:
    return Answer(body=_password_body(environment, call, environment.users.get(call.ids["user"])))


def password_status(environment: Environment, user: User) -> str:
    """One of the vendor's statuses."""
    if not user.passwords:
        return "NO_PASSWORD"
    if user.locked_until > environment.now():
        return "PASSWORD_LOCKED_OUT"
    return "MUST_CHANGE_PASSWORD" if user.must_change else "OK"


def _name(data: dict[str, Any], part: str) -> str | None:
    return None if data.get(part) is None else required_text(data, part)


def _population_id(environment: Environment, data: dict[str, Any]) -> str:
    if "population" not in data:
        return next(row.id for row in environment.populations.rows.values() if row.default)
    population = data["population"]
    id = population.get("id") if isinstance(population, dict) else None
    if not isinstance(id, str) or id not in environment.populations.rows:
        raise invalid("INVALID_VALUE", "population.id", "The population does not exist")
    return str(id)


def _filtered(
    environment: Environment,
    call: Call,
    name: str,
    rows: Sequence[R],
    attributes: Sequence[str],
    body: Callable[[R], dict[str, Any]],
) -> Answer:
    if "filter" in call.query:
        try:
            test = filters.parse(call.query["filter"], attributes)
        except filters.FilterError as error:
            raise invalid(
                "INVALID_FILTER", "filter", str(error), supportedAttributes=list(attributes), supportedOperators=["eq", "sw"]
            ) from error
        rows = [row for row in rows if test(_filter_view(row))]
    return collection(call, environment, name, name, rows, body)


def _filter_view(row: Any) -> dict[str, Any]:
    if isinstance(row, User):
        return {
            "username": row.username,
            "email": row.email,
            "population": {"id": row.population_id},
            "enabled": row.enabled,
            "name": {"given": row.given, "family": row.family},
        }
    return {"name": row.name, "id": row.id}


def _population_body(environment: Environment, call: Call, row: Population) -> dict[str, Any]:
    path = f"populations/{row.id}"
    return hal(call, environment, path, theme=f"{path}/theme") | {
        "id": row.id,
        "name": row.name,
        "description": row.description,
        "userCount": environment.user_count(row),
        "createdAt": timestamp(row.created_at),
        "updatedAt": timestamp(row.created_at),
        "preferredLanguage": "en",
        "default": row.default,
    }


def _user_body(environment: Environment, call: Call, row: User) -> dict[str, Any]:
    path = f"users/{row.id}"
    links = {f"password.{action}": f"{path}/password" for action in ("reset", "set", "check", "recover")}
    links |= {"population": f"populations/{row.population_id}", "password": f"{path}/password"}
    return hal(call, environment, path, **links) | {
        "id": row.id,
        "account": {"canAuthenticate": True, "status": "OK"},
        "createdAt": timestamp(row.created_at),
        "updatedAt": timestamp(row.created_at),
        "email": row.email,
        "enabled": row.enabled,
        "identityProvider": {"type": "PING_ONE"},
        "lifecycle": {"status": "ACCOUNT_OK"},
        "mfaEnabled": False,
        "name": {key: value for key, value in (("given", row.given), ("family", row.family)) if value is not None},
        "population": {"id": row.population_id},
        "username": row.username,
        "verifyStatus": "NOT_INITIATED",
    }


def _password_body(environment: Environment, call: Call, row: User) -> dict[str, Any]:
    path = f"users/{row.id}"
    return hal(call, environment, f"{path}/password", user=path) | {
        "user": {"id": row.id},
        "passwordPolicy": {"id": PASSWORD_POLICY_ID},
        "status": password_status(environment, row),
        **({"lastChangedAt": timestamp(row.password_set_at)} if row.passwords else {}),
    }
