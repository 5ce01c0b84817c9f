"""The deterministic names of the objects that an instance creates. Recovery searches for them."""

from __future__ import annotations


def application(instance_id: str) -> str:
    """Name of the application."""
    return f"tf-{instance_id}"


def resource(instance_id: str) -> str:
    """Name of the custom resource."""
    return f"tf-{instance_id}-resource"


def audience(instance_id: str) -> str:
    """Audience of the custom resource; may not contain ``pingone`` or ``pingidentity``."""
    return f"https://tf-{instance_id}.example.com"


def scope(instance_id: str) -> str:
    """Name of the scope, without spaces, because spaces separate scopes in requests."""
    return f"tf:{instance_id}:read"


def population(instance_id: str) -> str:
    """Name of the population."""
    return f"tf-{instance_id}-population"


def username(instance_id: str) -> str:
    """Username of the user."""
    return f"tf-{instance_id}-user"


def email(instance_id: str) -> str:
    """Email address of the user. example.com is reserved (RFC 2606)."""
    return f"tf-{instance_id}@example.com"


def key_id(instance_id: str) -> str:
    """``kid`` of the instance's private key."""
    return f"tf-{instance_id}-key"
