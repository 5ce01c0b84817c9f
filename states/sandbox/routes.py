"""The operations of the sandbox: which method and path leads to which handler, under the name that faults and the audit use."""

from __future__ import annotations

from collections.abc import Callable

from states.sandbox import applications, discovery, environments, resources, sign_on, users
from states.sandbox.calls import Answer, Call
from states.sandbox.environment import Environment

Handler = Callable[[Environment, Call], Answer]

MANAGEMENT: tuple[tuple[str, str, str, Handler], ...] = (
    ("GET", "", "read_environment", environments.read),
    ("POST", "applications", "create_application", applications.create),
    ("GET", "applications", "read_applications", applications.read_all),
    ("GET", "applications/{application}", "read_application", applications.read),
    ("DELETE", "applications/{application}", "delete_application", applications.delete),
    ("GET", "applications/{application}/secret", "read_application_secret", applications.read_secret),
    ("POST", "applications/{application}/grants", "create_grant", applications.create_grant),
    ("GET", "applications/{application}/grants", "read_grants", applications.read_grants),
    ("DELETE", "applications/{application}/grants/{grant}", "delete_grant", applications.delete_grant),
    ("POST", "resources", "create_resource", resources.create),
    ("GET", "resources", "read_resources", resources.read_all),
    ("GET", "resources/{resource}", "read_resource", resources.read),
    ("DELETE", "resources/{resource}", "delete_resource", resources.delete),
    ("GET", "resources/{resource}/secret", "read_resource_secret", resources.read_secret),
    ("POST", "resources/{resource}/scopes", "create_scope", resources.create_scope),
    ("GET", "resources/{resource}/scopes", "read_scopes", resources.read_scopes),
    ("DELETE", "resources/{resource}/scopes/{scope}", "delete_scope", resources.delete_child),
    ("POST", "resources/{resource}/attributes", "create_attribute", resources.create_attribute),
    ("GET", "resources/{resource}/attributes", "read_attributes", resources.read_attributes),
    ("DELETE", "resources/{resource}/attributes/{attribute}", "delete_attribute", resources.delete_child),
    ("POST", "populations", "create_population", users.create_population),
    ("GET", "populations", "read_populations", users.read_populations),
    ("GET", "populations/{population}", "read_population", users.read_population),
    ("DELETE", "populations/{population}", "delete_population", users.delete_population),
    ("POST", "users", "create_user", users.create_user),
    ("GET", "users", "read_users", users.read_users),
    ("GET", "users/{user}", "read_user", users.read_user),
    ("DELETE", "users/{user}", "delete_user", users.delete_user),
    ("PUT", "users/{user}/password", "set_password", users.set_password),
    ("GET", "users/{user}/password", "read_password", users.read_password),
)
"""Below ``/v1/environments/{environment}``; all want the worker's token."""

SIGN_ON: tuple[tuple[str, str, str, Handler], ...] = (
    ("GET", "as/authorize", "authorize", sign_on.authorize),
    ("POST", "as/authorize", "authorize", sign_on.authorize),
    ("GET", "flows/{flow}", "read_flow", sign_on.read_flow),
    ("POST", "flows/{flow}", "check_credentials", sign_on.act_on_flow),
    ("GET", "as/resume", "resume", sign_on.resume),
    ("GET", "signon/", "sign_on_page", sign_on.sign_on_page),
    ("POST", "signon/", "sign_on_page", sign_on.sign_on_page),
    ("GET", "as/.well-known/openid-configuration", "discovery", discovery.discovery),
)
"""Below ``/{environment}``."""

TOKEN_OPERATIONS = ("token", "introspect", "userinfo", "jwks")

OAUTH_OPERATIONS = ("worker_token", *TOKEN_OPERATIONS)
"""Those that answer errors in the form of RFC 6749."""

OPERATIONS: frozenset[str] = frozenset([row[2] for row in (*MANAGEMENT, *SIGN_ON)] + ["worker_token", *TOKEN_OPERATIONS])
"""Names that faults and the audit use."""
