"""The command ``sandbox``: an emulated tenant in a separate process."""

from __future__ import annotations

import signal
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated

import orjson
from cyclopts import Parameter

from states.sandbox.faults import Fault, parse_faults
from states.sandbox.settings import SandboxSettings, setting_names, with_settings

if TYPE_CHECKING:
    from states.sandbox.app import Sandbox


_DEFAULTS = SandboxSettings()


def sandbox(
    *,
    port: Annotated[int, Parameter(help="Port on 127.0.0.1; 0 selects a free one.")] = 0,
    seed: Annotated[int | None, Parameter(help="Seed for ids, credentials and faults.")] = None,
    faults: Annotated[str, Parameter(help="Faults to play, e.g. 'create_scope:reset_after*1 *:503@2%'.")] = "",
    secret_delay: Annotated[
        float, Parameter(help="Seconds for which the secret of a new application answers 404.")
    ] = _DEFAULTS.secret_delay_s,
    grant_delay: Annotated[
        float, Parameter(help="Seconds for which a new application answers 404 to grants.")
    ] = _DEFAULTS.grant_delay_s,
    list_delay: Annotated[
        float, Parameter(help="Seconds for which new objects are missing from lists.")
    ] = _DEFAULTS.list_delay_s,
    code_lifetime: Annotated[float, Parameter(help="Lifetime of an authorization code in seconds.")] = _DEFAULTS.code_lifetime_s,
    flow_lifetime: Annotated[
        float, Parameter(help="Seconds of inactivity after which a flow expires.")
    ] = _DEFAULTS.flow_lifetime_s,
    worker_token_lifetime: Annotated[
        float, Parameter(help="Lifetime of a worker token in seconds.")
    ] = _DEFAULTS.worker_token_lifetime_s,
    setting: Annotated[
        tuple[str, ...],
        Parameter(
            help=f"NAME=VALUE of a setting; can be repeated. Names: {', '.join(setting_names())}.",
            negative=(),
        ),
    ] = (),
    json: Annotated[bool, Parameter(help="Print address and credentials as one line of JSON.", negative=())] = False,
) -> int:
    """Serve an emulated PingOne tenant on this machine, until Ctrl-C.

    It prints its address and the worker's credentials as variables to export. It is an emulator, not PingOne: it
    stores nothing and listens on this machine only. The format of a fault is
    OPERATION:KIND[.CODE][=VALUE][*TIMES][@PERCENT%]. The kinds are latency, reset_before, reset_after, hang_before,
    hang_after, a status (503) and a status after the effect (500_after). A status can have the code of its details
    (429.QUOTA_EXCEEDED). The operations are create_, read_ and delete_ of application, grant, resource,
    scope, attribute, population and user; update_ of application, resource, population and user; read_ of a list
    (read_users); read_application_secret,
    read_resource_secret, read_environment, set_password, read_password, authorize, read_flow, check_credentials, resume,
    sign_on_page, token, introspect, userinfo, jwks, discovery, worker_token; * is any of them.

    Examples:
      orchestrator sandbox --port 8080
      orchestrator sandbox --seed 7 --faults 'create_user:500_after*1 *:latency=0.02'
    """
    import anyio  # noqa: PLC0415  # the help of the program imports this module, and needs no event loop

    from states.sandbox.routes import OPERATIONS  # noqa: PLC0415  # imports the whole sandbox

    try:
        if not 0 <= port <= 65535:  # uvloop would use the last 16 bits of a larger number
            raise ValueError(f"port: must be between 0 and 65535, not {port}")
        rules = parse_faults(faults, OPERATIONS)
        flags = SandboxSettings(
            seed=seed,
            secret_delay_s=secret_delay,
            grant_delay_s=grant_delay,
            list_delay_s=list_delay,
            code_lifetime_s=code_lifetime,
            flow_lifetime_s=flow_lifetime,
            worker_token_lifetime_s=worker_token_lifetime,
        )
        settings = with_settings(flags, setting)
    except ValueError as error:
        print(f"orchestrator: {error}", file=sys.stderr)
        return 2
    try:
        # With uvloop, a request costs less.
        anyio.run(_serve, settings, rules, port, json, backend_options={"use_uvloop": find_spec("uvloop") is not None})
    except OSError as error:
        print(f"orchestrator: port {port} cannot be used: {error.strerror or error}", file=sys.stderr)
        return 2
    return 0


async def _serve(settings: SandboxSettings, faults: list[Fault], port: int, as_json: bool) -> None:
    import anyio  # noqa: PLC0415  # as above

    from states.sandbox.app import Sandbox, serve  # noqa: PLC0415  # imports a web server

    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with serve(Sandbox(settings, faults=faults), port=port) as running:
            _introduce(running, as_json)
            async for _ in signals:
                break


def _introduce(running: Sandbox, as_json: bool) -> None:
    environment = running.environment
    variables = {
        "PINGONE_BASE_URL": running.url,
        "PINGONE_ENVIRONMENT_ID": environment.id,
        "PINGONE_CLIENT_ID": environment.worker_id,
        "PINGONE_CLIENT_SECRET": environment.worker_secret,
    }
    if as_json:
        print(orjson.dumps(variables).decode(), flush=True)
        return
    print(f"# sandbox at {running.url} (Ctrl-C ends it). In another terminal:")
    for name, value in variables.items():
        print(f"export {name}={value}")
    print("# then, for example: orchestrator run")
    print(f"# discovery: {running.url}/{environment.id}/as/.well-known/openid-configuration")
    print(f"# audit:     {running.url}/sandbox/audit", flush=True)
