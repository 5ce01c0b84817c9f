"""Opens the client that all instances of a process share, and the sandbox, which all processes of a run share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from importlib import import_module
from typing import TYPE_CHECKING

import anyio
import attrs

from orchestrator import PermanentError, Quota, Secret, ServiceContext, ServicesError, TransientError, visible
from states.pingone import PingOne, open_client
from states.token_fulfillment.settings import TokenFulfillmentSettings
from states.token_fulfillment.steps import CONFIGURATION

if TYPE_CHECKING:
    from pathlib import Path

    from states.sandbox import Sandbox, SigningKey

MOST_APPLICATIONS = 1000
"""Limit of an environment. Source: "Applications"."""
PREFLIGHT_ATTEMPTS = 3
PREFLIGHT_WAIT_S = 0.5


@asynccontextmanager
async def open_services(settings: TokenFulfillmentSettings, context: ServiceContext) -> AsyncIterator[PingOne]:
    """The client, signed in, so that wrong addresses and credentials are reported before any instance starts.

    Raises:
        ServicesError: The tenant cannot be reached, or does not accept the worker.
    """
    async with open_client(settings, context.clock, context.check_lease, context.tracer) as client:
        await _sign_in(client, context)
        yield client


def prepare() -> None:
    """Import aiohttp. It reads the certificates of the system, which takes half of the time of the import and lets other threads run."""
    import_module("states.http.session")


@asynccontextmanager
async def open_shared(settings: TokenFulfillmentSettings, context: ServiceContext) -> AsyncIterator[TokenFulfillmentSettings]:
    """The settings of the tenant; if none is named, those of an embedded sandbox, which runs in this process."""
    if not settings.wants_sandbox:
        yield settings
        return
    async with _embedded_sandbox(settings, context) as of_sandbox:
        yield of_sandbox


async def check(client: PingOne) -> dict[str, str]:
    """Read the environment. Raises ``StepError``."""
    environment = await client.management.read("environment", "")
    name = f"{environment.get('name')} ({environment.get('type')}, {environment.get('id')})"
    source = "given by PINGONE_API_ACCESS_TOKEN" if client.settings.api_access_token else f"issued by {client.settings.auth_url}"
    facts = {"worker token": source, "environment": visible(name)}
    settings = client.settings
    assert isinstance(settings, TokenFulfillmentSettings)
    if settings.sign_on_policy is not None:
        facts["sign-on policy"] = f"{settings.sign_on_policy} ({await client.policies.find(settings.sign_on_policy)})"
    return facts


def notices() -> tuple[str, ...]:
    """A notice if the installed aiohttp was not tested, so that requests cost more."""
    from states.http.transport import untested  # noqa: PLC0415  # imports aiohttp

    notice = untested()
    return (notice,) if notice else ()


def rates(settings: TokenFulfillmentSettings) -> dict[str, float]:
    """Attempts per second. PingOne allows one source IP 35 % of 600 configuration calls a minute. An attempt that searches makes
    several calls, and its 429 slows the whole group. The rates of the other groups are not published.
    Source: "Rate limiting"."""
    return {CONFIGURATION: 0.35 * 600 / 60} if _is_tenant(settings) else {}


async def quotas(client: PingOne) -> dict[str, Quota]:
    """The number of applications in a tenant's environment and its limit. Raises ``StepError``."""
    assert isinstance(client.settings, TokenFulfillmentSettings)
    if not _is_tenant(client.settings):
        return {}
    existing = await client.management.count("applications", "applications")
    return {"application": Quota(existing, MOST_APPLICATIONS)}


def forget(run_id: str, directory: Path) -> None:
    """Delete the state of the run's sandbox. An empty sandbox deletes it itself, unless its process was killed."""
    path = _state_path(run_id, directory)
    for file in (path, path.with_name(f"{path.name}-wal")):
        file.unlink(missing_ok=True)


def _state_path(run_id: str, directory: Path) -> Path:
    return directory / "sandboxes" / f"{run_id}.db"


def _is_tenant(settings: TokenFulfillmentSettings) -> bool:
    return not settings.wants_sandbox and not settings.base_url


async def _sign_in(client: PingOne, context: ServiceContext) -> None:
    for attempt in range(1, PREFLIGHT_ATTEMPTS + 1):
        try:
            with anyio.CancelScope(deadline=context.clock.deadline(15)) as scope:
                await client.worker_token.get()
            if not scope.cancelled_caught:
                return
            problem = "get a worker token: no answer within 15 s"
        except PermanentError as error:
            raise ServicesError(error.message) from error
        except TransientError as error:
            problem = error.message
        if attempt < PREFLIGHT_ATTEMPTS:
            await context.clock.sleep(PREFLIGHT_WAIT_S)
    raise ServicesError(f"{problem}; check the region, base-url and the network, then try again")


@asynccontextmanager
async def _embedded_sandbox(
    settings: TokenFulfillmentSettings, context: ServiceContext
) -> AsyncIterator[TokenFulfillmentSettings]:
    """The run's own sandbox. Its state is in a file, from which a resumed run restores it; an empty sandbox deletes the file."""
    if not context.alone:
        raise ServicesError(
            "the embedded sandbox belongs to one process, and other processes drive this run too; use --processes, or start "
            "`orchestrator sandbox` and export the variables that it prints before you start the run"
        )
    from states.sandbox import SigningKey  # noqa: PLC0415  # a tenant needs none

    path = _state_file(context)
    key = None if path is not None and path.exists() else SigningKey()
    from states.sandbox import StateFileError, serve  # noqa: PLC0415  # a thread makes the key during this slow import

    async with AsyncExitStack() as stack:
        try:
            sandbox = _open_sandbox(path, key, context)
            stack.callback(sandbox.close)
            await stack.enter_async_context(serve(sandbox))
        except StateFileError as error:
            raise ServicesError(f"the state of the sandbox cannot be saved: {error}") from error
        except OSError as error:
            raise ServicesError(
                f"the sandbox of this run cannot listen on 127.0.0.1:{sandbox.port or ''} again: {error.strerror}; free the port "
                "and try again"
            ) from error
        yield attrs.evolve(
            settings,
            client_id=sandbox.environment.worker_id,
            client_secret=Secret(sandbox.environment.worker_secret),
            environment_id=sandbox.environment.id,
            base_url=sandbox.url,
            api_hostname=None,
            auth_hostname=None,
        )


def _state_file(context: ServiceContext) -> Path | None:
    """The file of the run's sandbox; ``None``: it may keep none."""
    if context.directory is None or not context.run_id:
        return None
    return _state_path(context.run_id, context.directory)


def _open_sandbox(path: Path | None, key: SigningKey | None, context: ServiceContext) -> Sandbox:
    from states.sandbox import Sandbox, StateFileError, restore  # noqa: PLC0415  # a tenant needs none

    if path is None:
        return Sandbox(key=key)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise StateFileError(f"{path.parent}: {error.strerror}") from error
    return restore(path, context.seal, context.unseal, key=key)
