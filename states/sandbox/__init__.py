"""The sandbox: an emulator of the part of PingOne that the workflow uses. A stand-in, not PingOne.

It knows nothing of the client and of the workflow, and they nothing of it but this page.
"""

from states.sandbox.app import Sandbox, restore, serve
from states.sandbox.faults import Fault, FaultKind, parse_faults
from states.sandbox.routes import OPERATIONS
from states.sandbox.settings import AuthorizeError, SandboxSettings
from states.sandbox.signing import SigningKey

__all__ = [
    "OPERATIONS",
    "AuthorizeError",
    "Fault",
    "FaultKind",
    "Sandbox",
    "SandboxSettings",
    "SigningKey",
    "parse_faults",
    "restore",
    "serve",
]
