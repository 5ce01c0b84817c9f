"""The sandbox: an emulator of the part of PingOne that the workflow uses. It is not PingOne.

It shares no code with the client and the workflow; they use only the names of this module. Each name is imported from its module on
first use, so that commands without a sandbox do not import a web server.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from states.sandbox.app import Sandbox, restore, serve
    from states.sandbox.faults import Fault, FaultKind, parse_faults
    from states.sandbox.routes import OPERATIONS
    from states.sandbox.settings import AuthorizeError, SandboxSettings
    from states.sandbox.signing import SigningKey
    from states.sandbox.state_file import StateFileError

__all__ = [
    "OPERATIONS",
    "AuthorizeError",
    "Fault",
    "FaultKind",
    "Sandbox",
    "SandboxSettings",
    "SigningKey",
    "StateFileError",
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
    "StateFileError": "state_file",
    "parse_faults": "faults",
    "restore": "app",
    "serve": "app",
}


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    return value
