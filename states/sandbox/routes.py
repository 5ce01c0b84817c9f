"""The table of operations: method, path, name (for faults and the audit) and handler."""

from __future__ import annotations

from collections.abc import Callable

from states.sandbox import (
    applications,
    attributes,
    authorization,
    discovery,
    environments,
    grants,
    policies,
    populations,
    resources,
    scopes,
    sign_on,
    users,
)
from states.sandbox.calls import Answer, Call
from states.sandbox.environment import Environment

Handler = Callable[[Environment, Call], Answer]

MANAGEMENT: tuple[tuple[str, str, str, Handler], ...] = (
    ("GET", "", "read_environment", environments.read),
    ("POST", "applications", "create_application", applications.create),
    ("GET", "applications", "read_applications", applications.read_all),
    ("GET", "applications/{application}", "read_application", applications.read),
    ("PUT", "applications/{application}", "update_application", applications.update),
    ("DELETE", "applications/{application}", "delete_application", applications.delete),
    ("GET", "applications/{application}/secret", "read_application_secret", applications.read_secret),
    ("POST", "applications/{application}/grants", "create_grant", grants.create),
    ("GET", "applications/{application}/grants", "read_grants", grants.read_all),
    ("GET", "applications/{application}/grants/{grant}", "read_grant", grants.read),
    ("DELETE", "applications/{application}/grants/{grant}", "delete_grant", grants.delete),
    ("POST", "applications/{application}/signOnPolicyAssignments", "assign_policy", policies.assign),
    ("GET", "applications/{application}/signOnPolicyAssignments", "read_policy_assignments", policies.read_assignments),
    (
        "DELETE",
        "applications/{application}/signOnPolicyAssignments/{assignment}",
        "delete_policy_assignment",
        policies.remove_assignment,
    ),
    ("GET", "signOnPolicies", "read_policies", policies.read_all),
    ("GET", "signOnPolicies/{policy}", "read_policy", policies.read),
    ("POST", "resources", "create_resource", resources.create),
    ("GET", "resources", "read_resources", resources.read_all),
    ("GET", "resources/{resource}", "read_resource", resources.read),
    ("PUT", "resources/{resource}", "update_resource", resources.update),
    ("DELETE", "resources/{resource}", "delete_resource", resources.delete),
    ("GET", "resources/{resource}/secret", "read_resource_secret", resources.read_secret),
    ("POST", "resources/{resource}/scopes", "create_scope", scopes.create),
    ("GET", "resources/{resource}/scopes", "read_scopes", scopes.read_all),
    ("GET", "resources/{resource}/scopes/{scope}", "read_scope", scopes.read),
    ("DELETE", "resources/{resource}/scopes/{scope}", "delete_scope", scopes.delete),
    ("POST", "resources/{resource}/attributes", "create_attribute", attributes.create),
    ("GET", "resources/{resource}/attributes", "read_attributes", attributes.read_all),
    ("GET", "resources/{resource}/attributes/{attribute}", "read_attribute", attributes.read),
    ("DELETE", "resources/{resource}/attributes/{attribute}", "delete_attribute", attributes.delete),
    ("POST", "populations", "create_population", populations.create),
    ("GET", "populations", "read_populations", populations.read_all),
    ("GET", "populations/{population}", "read_population", populations.read),
    ("PUT", "populations/{population}", "update_population", populations.update),
    ("DELETE", "populations/{population}", "delete_population", populations.delete),
    ("POST", "users", "create_user", users.create),
    ("GET", "users", "read_users", users.read_all),
    ("GET", "users/{user}", "read_user", users.read),
    ("PUT", "users/{user}", "update_user", users.update),
    ("PATCH", "users/{user}", "update_user", users.update),
    ("DELETE", "users/{user}", "delete_user", users.delete),
    ("PUT", "users/{user}/password", "set_password", users.set_password),
    ("GET", "users/{user}/password", "read_password", users.read_password),
)
"""Paths below ``/v1/environments/{environment}``. All require the worker's token."""

SIGN_ON: tuple[tuple[str, str, str, Handler], ...] = (
    ("GET", "as/authorize", "authorize", authorization.authorize),
    ("POST", "as/authorize", "authorize", authorization.authorize),
    ("GET", "flows/{flow}", "read_flow", sign_on.read_flow),
    ("POST", "flows/{flow}", "check_credentials", sign_on.act_on_flow),
    ("GET", "as/resume", "resume", sign_on.resume),
    ("GET", "signon/", "sign_on_page", sign_on.sign_on_page),
    ("POST", "signon/", "sign_on_page", sign_on.sign_on_page),
    ("GET", "as/.well-known/openid-configuration", "discovery", discovery.discovery),
)
"""Paths below ``/{environment}``."""

TOKEN_OPERATIONS = ("token", "introspect", "userinfo", "jwks")

OAUTH_OPERATIONS = ("worker_token", *TOKEN_OPERATIONS)
"""Operations whose errors have the form of RFC 6749."""

OPERATIONS: frozenset[str] = frozenset([row[2] for row in (*MANAGEMENT, *SIGN_ON)] + ["worker_token", *TOKEN_OPERATIONS])
"""All names of operations."""
