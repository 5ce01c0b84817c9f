"""The objects of the emulated environment: uniqueness, cascades and constraints. It knows no HTTP."""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Callable, Iterable
from random import Random, SystemRandom
from typing import Any

import attrs

from states.sandbox.audit import Audit
from states.sandbox.errors import ApiError, invalid
from states.sandbox.json_types import JSONObject
from states.sandbox.objects import (
    Application,
    Attribute,
    Code,
    Flow,
    Grant,
    PolicyAssignment,
    Population,
    R,
    Resource,
    Row,
    Scope,
    User,
)
from states.sandbox.settings import SandboxSettings
from states.sandbox.tables import Change, Table

PINGONE_AUDIENCE = "https://api.pingone.com"
"""Audience of access tokens for the vendor's API."""
ACCESS_TOKEN_LIFETIME_S = 3600
"""Lifetime of access tokens of a resource that names none."""
SECRET_ALPHABET = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~"


class Environment:
    """One PingOne environment."""

    def __init__(self, settings: SandboxSettings, now: Callable[[], float], restored: Iterable[Change] = ()) -> None:
        self.settings = settings
        self.now = now
        self.started_at = now()
        self.audit = Audit()
        self.changes: list[Change] = []
        self._open_tables()
        count = self._restore(restored)
        # A restored sandbox with a seed must not create the same ids again.
        self._rng = SystemRandom() if settings.seed is None else Random(f"{settings.seed}/{count}")
        fixed = Random(settings.seed) if settings.seed is not None else self._rng
        self.id = settings.environment_id or _uuid(fixed)
        self.worker_id = settings.worker_id or _uuid(fixed)
        self.worker_secret = settings.worker_secret or _secret(fixed)
        self._departed: deque[tuple[str, float]] = deque()
        """(population, time) of deleted users that their population may still count."""
        self._deleted: deque[tuple[Application, float]] = deque()
        """(application, time) of deleted applications that lists may still show."""
        if not self.populations.rows:
            self._add_default_population()

    def _open_tables(self) -> None:
        tell = self.changes.append
        self.applications: Table[Application] = Table("application", tell, "name")
        self.resources: Table[Resource] = Table("resource", tell, "name")
        self.scopes: Table[Scope] = Table("scope", tell, "resource_id")
        self.attributes: Table[Attribute] = Table("attribute", tell, "resource_id")
        self.grants: Table[Grant] = Table("grant", tell, "application_id", "resource_id")
        self.assignments: Table[PolicyAssignment] = Table("sign_on_policy_assignment", tell, "application_id")
        self.populations: Table[Population] = Table("population", tell, "name", "default")
        self.users: Table[User] = Table("user", tell, "username", "population_id")
        self.flows: Table[Flow] = Table("flow", tell, "cookie", "user_id")
        self.codes: Table[Code] = Table("code", tell)
        self.tables: dict[str, Table[Any]] = {table.kind: table for table in vars(self).values() if isinstance(table, Table)}

    def _restore(self, restored: Iterable[Change]) -> int:
        """Load saved objects; returns their number."""
        count = 0
        for kind, _, row in restored:
            self.tables[kind].load(row)
            count += 1
        return count

    def _add_default_population(self) -> None:
        created_at = self.now() - 3600
        population = Population(
            id=self.new_id(), created_at=created_at, name="Default", description=None, default=True, is_built_in=True
        )
        self.populations.put(population)

    def new_id(self) -> str:
        """A new UUID."""
        return _uuid(self._rng)

    def new_secret(self) -> str:
        """A new secret of 64 characters, enough for HS512."""
        return _secret(self._rng)

    def created(self, kind: str, name: str) -> None:
        """Count a creation in the audit."""
        self.audit.created[kind, name] += 1

    def report(self) -> JSONObject:
        """The report of the audit, with the existing objects."""
        resources = self.resources.rows
        existing = {
            "application": [row.name for row in self.applications.rows.values()],
            "resource": [row.name for row in resources.values()],
            "scope": [f"{resources[row.resource_id].name}/{row.name}" for row in self.scopes.rows.values()],
            "attribute": [
                f"{resources[row.resource_id].name}/{row.name}" for row in self.attributes.rows.values() if row.type == "CUSTOM"
            ],
            "grant": [row.application_id for row in self.grants.rows.values()],
            "sign_on_policy_assignment": [row.application_id for row in self.assignments.rows.values()],
            "population": [row.name for row in self.populations.rows.values() if not row.is_built_in],
            "user": [row.username for row in self.users.rows.values()],
        }
        return self.audit.report(existing)

    def check_unique(
        self, table: Table[Any], field: str, value: str, message: str, *, but: str | None = None, **within: object
    ) -> None:
        """Refuse a name that another object of the table has. ``but`` is the id of an object to ignore; ``within`` are values that the
        objects must have."""
        for row in table.like(field, value, **within):
            if row.id != but and (self.settings.names_ignore_case or getattr(row, field) == value):
                raise self.taken(field, message, row)

    def taken(self, field: str, message: str, existing: Row) -> ApiError:
        """The refusal of an object that conflicts with an existing one."""
        inner = {"existingId": existing.id} if self.settings.existing_id else {}
        error = invalid("UNIQUENESS_VIOLATION", field, message, **inner)
        return ApiError(self.settings.duplicate_status, error.code, error.message, error.details)

    def has_arrived(self, created_at: float, delay_s: float) -> bool:
        """Whether an object of this age is known to a part of PingOne with this delay."""
        return self.now() >= created_at + delay_s

    def listed(self, rows: Iterable[R]) -> list[R]:
        """The objects that lists show already."""
        latest = self.now() - self.settings.list_delay_s
        return [row for row in rows if row.created_at <= latest]

    def deleted_and_listed(self) -> list[Application]:
        """Deleted applications that lists still show."""
        return [row for row, at in self._deleted if at > self.now() - self.settings.deleted_listed_s]

    def forget(self) -> None:
        """Purge expired flows and codes, and records of deletions that have taken effect. Each collection has
        its oldest entry first."""
        now, settings = self.now(), self.settings
        while (flow := next(iter(self.flows.rows.values()), None)) and now >= flow.expires_at + settings.flow_lifetime_s:
            self.flows.remove(flow.id)
        while (code := next(iter(self.codes.rows.values()), None)) and now >= code.created_at + 2 * settings.code_lifetime_s:
            self.codes.remove(code.id)
        while self._departed and self._departed[0][1] <= now - settings.user_count_delay_s:
            self._departed.popleft()
        while self._deleted and self._deleted[0][1] <= now - settings.deleted_listed_s:
            self._deleted.popleft()

    def user_count(self, population: Population) -> int:
        """Number of users that a population counts, which may include deleted ones."""
        latest = self.now() - self.settings.user_count_delay_s
        lagging = sum(1 for id, at in self._departed if id == population.id and at > latest)
        return len(self.users.where(population_id=population.id)) + lagging

    def delete_application(self, id: str) -> None:
        """Delete an application with its grants and its assignments of sign-on policies."""
        application = self.applications.get(id)
        for grant in self.grants.where(application_id=id):
            self._delete(self.grants, grant.id)
        for assignment in self.assignments.where(application_id=id):
            self._delete(self.assignments, assignment.id)
        self._delete(self.applications, id)
        if self.settings.deleted_listed_s:
            self._deleted.append((application, self.now()))

    def delete_resource(self, id: str) -> None:
        """Delete a resource with its scopes and attributes, and with the grants on it."""
        self.resources.get(id)
        for scope in self.scopes.where(resource_id=id):
            self._delete(self.scopes, scope.id)
        for attribute in self.attributes.where(resource_id=id):
            self._delete(self.attributes, attribute.id)
        for grant in self.grants.where(resource_id=id):
            self._delete(self.grants, grant.id)
        self._delete(self.resources, id)

    def delete_scope(self, id: str) -> None:
        """Delete a scope. Grants still name it."""
        self._delete(self.scopes, id)

    def delete_attribute(self, id: str) -> None:
        """Delete an attribute."""
        self._delete(self.attributes, id)

    def delete_grant(self, id: str) -> None:
        """Delete a grant."""
        self._delete(self.grants, id)

    def delete_assignment(self, id: str) -> None:
        """Delete an assignment of a sign-on policy."""
        self._delete(self.assignments, id)

    def delete_user(self, id: str) -> None:
        """Delete a user with its flows."""
        user = self.users.get(id)
        for flow in self.flows.where(user_id=id):
            self.flows.remove(flow.id)
        self._delete(self.users, id)
        if self.settings.user_count_delay_s:
            self._departed.append((user.population_id, self.now()))

    def make_default(self, population: Population) -> Population:
        """Make a population the default for users that name none, instead of the present default."""
        for row in self.populations.where(default=True):
            self.populations.put(attrs.evolve(row, default=False))
        return self.populations.put(attrs.evolve(population, default=True))

    def delete_population(self, id: str) -> None:
        """Delete a population, which must be empty and must not be the default."""
        population = self.populations.get(id)
        if population.default:
            raise invalid("CONSTRAINT_VIOLATION", "default", "The default population cannot be deleted")
        if self.user_count(population):
            refused = invalid(self.settings.population_delete_code, "users", "The population still has users")
            raise ApiError(self.settings.population_delete_status, refused.code, refused.message, refused.details)
        self._delete(self.populations, id)

    def _delete(self, table: Table[Any], id: str) -> None:
        table.remove(id)
        self.audit.deleted[table.kind] += 1


def _uuid(rng: Random) -> str:
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))


def _secret(rng: Random) -> str:
    return "".join(rng.choices(SECRET_ALPHABET, k=64))
