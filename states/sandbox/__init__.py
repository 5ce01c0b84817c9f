"""The sandbox: an emulator of the part of PingOne that the workflow uses. A stand-in, not PingOne.

It knows nothing of the client and of the workflow, and they nothing of it but this page. Each name is imported from its module when it
is first used: a command that serves no sandbox needs no web server.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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

_MODULE_OF = {
    "OPERATIONS": "routes",
    "AuthorizeError": "settings",
    "Fault": "faults",
    "FaultKind": "faults",
    "Sandbox": "app",
    "SandboxSettings": "settings",
    "SigningKey": "signing",
    "parse_faults": "faults",
    "restore": "app",
    "serve": "app",
}


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    return value
