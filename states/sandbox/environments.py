"""The environment itself and its license."""

from __future__ import annotations

import uuid

from states.sandbox.bodies import environment_url, timestamp
from states.sandbox.calls import Answer, Call
from states.sandbox.environment import Environment


def read(environment: Environment, call: Call) -> Answer:
    """Source: "Environments data model": ``license``, ``name``, ``region`` and ``type`` are required."""
    at = timestamp(environment.started_at)
    return Answer(
        body={
            "_links": {"self": {"href": environment_url(call, environment)}},
            "id": environment.id,
            "name": "Sandbox",
            "type": "SANDBOX",
            "region": "NA",
            "license": {"id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{environment.id}/license"))},
            "createdAt": at,
            "updatedAt": at,
        }
    )
