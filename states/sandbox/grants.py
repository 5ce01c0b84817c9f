"""Grants: scopes of one resource, granted to an application."""

from __future__ import annotations

from states.sandbox.applications import find
from states.sandbox.bodies import collection, hal, timestamp
from states.sandbox.calls import Answer, Call
from states.sandbox.environment import Environment
from states.sandbox.errors import invalid, not_found
from states.sandbox.fields import required_reference
from states.sandbox.json_types import JSONObject
from states.sandbox.objects import Grant


def create(environment: Environment, call: Call) -> Answer:
    application = find(environment, call)
    if environment.now() < application.created_at + environment.settings.grant_delay_s:
        raise not_found()
    data = call.json()
    resource_id, scope_ids = required_reference(data, "resource"), _scope_ids(data)
    if resource_id not in environment.resources.rows:
        raise invalid("INVALID_VALUE", "resource.id", "The resource does not exist")
    delay_s = environment.settings.reference_delay_s
    scopes = environment.scopes.where(resource_id=resource_id)
    own = {scope.id for scope in scopes if environment.has_arrived(scope.created_at, delay_s)}
    if not set(scope_ids) <= own:
        raise invalid("INVALID_VALUE", "scopes", "A scope does not belong to the resource")
    for grant in environment.grants.where(application_id=application.id, resource_id=resource_id):
        raise environment.taken("resource", "A grant for this resource already exists.", grant)
    grant = environment.grants.put(
        Grant(
            id=environment.new_id(),
            created_at=environment.now(),
            application_id=application.id,
            resource_id=resource_id,
            scope_ids=scope_ids,
        )
    )
    environment.created("grant", f"{application.name}/{environment.resources.get(resource_id).name}")
    return Answer(status=201, body=_body(environment, call, grant))


def read_all(environment: Environment, call: Call) -> Answer:
    application = find(environment, call)
    rows = environment.grants.where(application_id=application.id)
    path = f"applications/{application.id}/grants"
    return collection(call, environment, path, "grants", rows, lambda row: _body(environment, call, row))


def read(environment: Environment, call: Call) -> Answer:
    return Answer(body=_body(environment, call, _find(environment, call)))


def delete(environment: Environment, call: Call) -> Answer:
    environment.delete_grant(_find(environment, call).id)
    return Answer(status=204)


def counts_already(environment: Environment, grant: Grant) -> bool:
    """Whether the authorization server knows a grant already."""
    return environment.now() >= grant.created_at + environment.settings.grant_delay_s


def _find(environment: Environment, call: Call) -> Grant:
    return environment.grants.get(call.ids["grant"], application_id=find(environment, call).id)


def _scope_ids(data: JSONObject) -> tuple[str, ...]:
    scopes = data.get("scopes")
    if not isinstance(scopes, list) or not scopes:
        raise invalid("REQUIRED_VALUE", "scopes", "scopes is required")
    return tuple(required_reference({"scopes": scope}, "scopes") for scope in scopes)


def _body(environment: Environment, call: Call, row: Grant) -> JSONObject:
    application, resource = f"applications/{row.application_id}", f"resources/{row.resource_id}"
    body = hal(call, environment, f"{application}/grants/{row.id}", application=application, resource=resource)
    return body | {
        "id": row.id,
        "application": {"id": row.application_id},
        "resource": {"id": row.resource_id},
        "scopes": [{"id": id} for id in row.scope_ids],
        "createdAt": timestamp(row.created_at),
        "updatedAt": timestamp(row.created_at),
    }
