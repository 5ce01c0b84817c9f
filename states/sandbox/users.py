"""Users and their passwords."""

from __future__ import annotations

import re
import unicodedata

import attrs

from states.sandbox.bodies import filtered, hal, timestamp
from states.sandbox.calls import Answer, Call
from states.sandbox.environment import Environment
from states.sandbox.errors import invalid
from states.sandbox.fields import flag, mapping, reference, required_text, text
from states.sandbox.json_types import JSONObject
from states.sandbox.objects import User
from states.sandbox.passwords import unsatisfied

PASSWORD_SET = "application/vnd.pingidentity.password.set+json"
PASSWORD_POLICY_ID = "5d2b6c1e-0d3e-4d0e-9a5f-52f6a1b7c001"
LOCKOUT_FAILURES = 5
LOCKOUT_S = 900.0

FILTERS = ("username", "email", "population.id", "enabled", "name.given", "name.family", "externalId")
PROFILE = (
    "accountId",
    "externalId",
    "locale",
    "mobilePhone",
    "nickname",
    "preferredLanguage",
    "primaryPhone",
    "timezone",
    "title",
    "type",
)
"""Optional text attributes."""


def create(environment: Environment, call: Call) -> Answer:
    fields = _checked_fields(environment, call.json())
    user = environment.users.put(User(id=environment.new_id(), created_at=environment.now(), **fields))
    environment.created("user", user.username)
    return Answer(status=201, body=_body(environment, call, user))


def read_all(environment: Environment, call: Call) -> Answer:
    return filtered(
        call,
        environment,
        "users",
        list(environment.users.rows.values()),
        FILTERS,
        lambda row: _attributes(row) | {"population": {"id": row.population_id}},
        lambda row: _body(environment, call, row),
    )


def read(environment: Environment, call: Call) -> Answer:
    return Answer(body=_body(environment, call, environment.users.get(call.ids["user"])))


def update(environment: Environment, call: Call) -> Answer:
    """PUT: fields that the body omits are removed, except the population.
    PATCH: fields that the body omits are kept."""
    user = environment.users.get(call.ids["user"])
    data = call.json()
    if call.method == "PATCH":
        names = _attributes(user)["name"] | (mapping(data, "name") or {})
        data = _attributes(user) | data | {"name": names}
    fields = _checked_fields(environment, {"population": {"id": user.population_id}} | data, but=user.id)
    changed = environment.users.put(attrs.evolve(user, updated_at=environment.now(), **fields))
    return Answer(body=_body(environment, call, changed))


def delete(environment: Environment, call: Call) -> Answer:
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
            must_change=flag(data, "forceChange", False),
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


def _checked_fields(environment: Environment, data: JSONObject, but: str | None = None) -> JSONObject:
    """The fields of a user. ``but`` is the id of the user that may have the username already."""
    username, email = required_text(data, "username", longest=128), required_text(data, "email")
    if any(unicodedata.category(char)[0] not in "LMSNPZ" or unicodedata.category(char) in ("Zl", "Zp") for char in username):
        raise invalid("INVALID_VALUE", "username", "The username has characters that are not allowed")
    if not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", email):
        raise invalid("INVALID_VALUE", "email", "must be a well-formed email address")
    environment.check_unique(environment.users, "username", username, "is unique but a non-unique value is provided", but=but)
    name = mapping(data, "name") or {}
    profile = {key: text(data, key) for key in PROFILE}
    return {
        "username": username,
        "email": email,
        "given": _name(name, "given"),
        "family": _name(name, "family"),
        "enabled": flag(data, "enabled", True),
        "mfa_enabled": flag(data, "mfaEnabled", False),
        "profile": {key: value for key, value in profile.items() if value is not None},
        "population_id": _population_id(environment, data),
    }


def _name(data: JSONObject, part: str) -> str | None:
    return None if data.get(part) is None else required_text(data, part)


def _population_id(environment: Environment, data: JSONObject) -> str:
    id = reference(data, "population")
    if id is None:
        return environment.populations.where(default=True)[0].id
    population = environment.populations.rows.get(id)
    if population is None or not environment.has_arrived(population.created_at, environment.settings.reference_delay_s):
        raise invalid("INVALID_VALUE", "population.id", "The population does not exist")
    return id


def names_of(row: User) -> dict[str, str]:
    """The parts of the name that have a value."""
    return {key: value for key, value in (("given", row.given), ("family", row.family)) if value is not None}


def _attributes(row: User) -> JSONObject:
    """The attributes that clients can write and filters can use."""
    return {
        "username": row.username,
        "email": row.email,
        "enabled": row.enabled,
        "mfaEnabled": row.mfa_enabled,
        "name": names_of(row),
        **row.profile,
    }


def _body(environment: Environment, call: Call, row: User) -> JSONObject:
    path = f"users/{row.id}"
    links = {f"password.{action}": f"{path}/password" for action in ("reset", "set", "check", "recover")}
    links |= {"population": f"populations/{row.population_id}", "password": f"{path}/password"}
    return (
        hal(call, environment, path, **links)
        | {
            "id": row.id,
            "account": {"canAuthenticate": row.enabled, "status": "OK"},
            "createdAt": timestamp(row.created_at),
            "updatedAt": timestamp(row.updated_at or row.created_at),
            "identityProvider": {"type": "PING_ONE"},
            "lifecycle": {"status": "ACCOUNT_OK"},
            "population": {"id": row.population_id},
            "verifyStatus": "NOT_INITIATED",
        }
        | _attributes(row)
    )


def _password_body(environment: Environment, call: Call, row: User) -> JSONObject:
    path = f"users/{row.id}"
    return hal(call, environment, f"{path}/password", user=path) | {
        "user": {"id": row.id},
        "passwordPolicy": {"id": PASSWORD_POLICY_ID},
        "status": password_status(environment, row),
        **({"lastChangedAt": timestamp(row.password_set_at)} if row.passwords else {}),
    }
