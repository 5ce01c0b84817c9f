"""Errors that HTTP itself raises. A vendor's own errors are in its client."""

from __future__ import annotations

from orchestrator import PermanentError


class NoConnectionError(PermanentError):
    """Nothing was sent, and a retry does not help: an address, a certificate or a proxy setting is wrong."""
