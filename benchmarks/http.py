"""Cost of client and driver: the chain of 15 requests with checkpoints, against a hand-written aiohttp script.

Both send the same requests to the same cheap server, which runs in its own process. The script has no checkpoints, retries or
recovery, but it signs the same assertions and verifies the same token. The chain runs twice: as embedded in a program that
leaves Python's garbage collector unchanged, and with the collector tuned as in the program `orchestrator`. Rounds alternate; CPU is
that of this process.

    python -m benchmarks.http [--instances 300] [--concurrency 50] [--rounds 5] [--profile]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import cProfile
import gc
import pstats
import statistics
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import anyio
import jwt

from benchmarks.server import cheap_server
from orchestrator import Options, Secret, Status, Vault, open_store, start
from orchestrator.process import tune_collector
from states.token_fulfillment import WORKFLOW, TokenFulfillmentSettings

STEPS = 15
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


async def orchestrated(base: str, environment: str, instances: int, concurrency: int) -> None:
    """Run the real client and driver, with a durable checkpoint after every step."""
    settings = TokenFulfillmentSettings(base_url=base, environment_id=environment, client_id="w", client_secret=Secret("w" * 20))
    options = Options(vault=Vault(bytes(32), "the benchmark"))
    with tempfile.TemporaryDirectory() as folder:
        async with (
            open_store(f"sqlite:{Path(folder) / 'runs.db'}") as store,
            start(WORKFLOW, settings, store=store, instances=instances, concurrency=concurrency, options=options) as run,
        ):
            result = await run.wait()
            assert result.counts == {Status.COMPLETED: instances}, (result, (await run.instance(0)).failure)


async def script(base: str, environment: str, instances: int, concurrency: int) -> None:
    """Run the hand-written script."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:
        await chains(session, base, environment, instances, concurrency)


async def chains(session: Any, base: str, environment: str, instances: int, concurrency: int) -> None:
    """Run chains concurrently, on a session of aiohttp or an object with its interface."""
    numbers = iter(range(instances))
    async with session.get(f"{base}/{environment}/as/jwks") as answer:
        jwk = (await answer.json())["keys"][0]
    key = jwt.PyJWK(jwk, algorithm="RS256").key
    async with session.post(
        f"{base}/{environment}/as/token",
        data={"grant_type": "client_credentials"},
        headers={"Authorization": aiohttp.encode_basic_auth("w", "w")},
    ) as answer:
        worker = (await answer.json())["access_token"]

    async def worker_task() -> None:
        for number in numbers:
            await _chain(session, base, environment, worker, key, number)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(concurrency):
            tasks.create_task(worker_task())


async def _chain(session: Any, base: str, environment: str, worker: str, key: Any, number: int) -> None:
    api, auth = f"{base}/v1/environments/{environment}", f"{base}/{environment}"
    bearer = {"Authorization": f"Bearer {worker}"}
    name = f"script-{number}"

    async def post(url: str, body: dict[str, Any]) -> dict[str, Any]:
        async with session.post(url, json=body, headers=bearer) as answer:
            assert answer.status == 201
            return await answer.json()

    app = await post(
        f"{api}/applications",
        {
            "enabled": True,
            "name": name,
            "description": "script",
            "type": "WEB_APP",
            "protocol": "OPENID_CONNECT",
            "grantTypes": ["AUTHORIZATION_CODE"],
            "responseTypes": ["CODE"],
            "redirectUris": ["https://www.example.com"],
            "tokenEndpointAuthMethod": "CLIENT_SECRET_JWT",
            "pkceEnforcement": "OPTIONAL",
        },
    )
    async with session.get(f"{api}/applications/{app['id']}/secret", headers=bearer) as answer:
        secret = (await answer.json())["secret"]
    audience = f"https://tf-{name}.example.com"
    resource = await post(
        f"{api}/resources",
        {"name": f"{name}-r", "description": "script", "audience": audience, "accessTokenValiditySeconds": 3600},
    )
    scope_name = f"tf:{name}:read"
    scope = await post(f"{api}/resources/{resource['id']}/scopes", {"name": scope_name, "description": "custom scope"})
    mapping = "${#root.context.requestData.clientAssertion.custom1}"
    await post(f"{api}/resources/{resource['id']}/attributes", {"name": "clientAssertion_custom", "value": mapping})
    await post(f"{api}/applications/{app['id']}/grants", {"resource": {"id": resource["id"]}, "scopes": [{"id": scope["id"]}]})
    population = await post(f"{api}/populations", {"name": f"{name}-p", "description": "script"})
    user = await post(
        f"{api}/users",
        {
            "email": f"{name}@example.com",
            "name": {"given": "Token", "family": "User"},
            "population": {"id": population["id"]},
            "username": name,
        },
    )
    headers = bearer | {"Content-Type": "application/vnd.pingidentity.password.set+json"}
    async with session.put(
        f"{api}/users/{user['id']}/password", json={"value": "2Federate!Now", "forceChange": False}, headers=headers
    ) as answer:
        await answer.json()
    query = {"response_type": "code", "client_id": app["id"], "redirect_uri": "https://www.example.com", "scope": scope_name}
    async with session.get(f"{auth}/as/authorize", params=query, allow_redirects=False) as answer:
        flow = parse_qs(urlsplit(answer.headers["Location"]).query)["flowId"][0]
        cookie = {"Cookie": f"ST={answer.cookies['ST'].value}"}
    async with session.get(f"{auth}/flows/{flow}", headers=cookie) as answer:
        await answer.json()
    headers = cookie | {"Content-Type": "application/vnd.pingidentity.usernamePassword.check+json"}
    async with session.post(
        f"{auth}/flows/{flow}", json={"username": name, "password": "2Federate!Now"}, headers=headers
    ) as answer:
        assert (await answer.json())["status"] == "COMPLETED"
        cookie = {"Cookie": f"ST={answer.cookies['ST'].value}"}
    async with session.get(f"{auth}/as/resume", params={"flowId": flow}, headers=cookie, allow_redirects=False) as answer:
        code = parse_qs(urlsplit(answer.headers["Location"]).query)["code"][0]

    def assertion() -> dict[str, str]:
        now = int(time.time())
        claims = {"iss": app["id"], "sub": app["id"], "aud": f"{auth}/as", "iat": now, "exp": now + 300}
        claims |= {"jti": str(uuid.uuid4()), "custom1": f"value-{name}"}
        return {"client_assertion": jwt.encode(claims, secret, algorithm="HS256"), "client_assertion_type": ASSERTION_TYPE}

    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": "https://www.example.com", "scope": scope_name}
    async with session.post(f"{auth}/as/token", data=form | assertion()) as answer:
        token = (await answer.json())["access_token"]
    async with session.post(f"{auth}/as/introspect", data={"token": token} | assertion()) as answer:
        assert (await answer.json())["active"]
    claims = jwt.decode(token, key, algorithms=["RS256"], issuer=f"{auth}/as", audience=audience)
    assert claims["clientAssertion_custom"] == f"value-{name}"


Work = Callable[[str, str, int, int], Awaitable[None]]


@contextlib.contextmanager
def tuned() -> Iterator[None]:
    """Tune the garbage collector as the program ``orchestrator`` does at start."""
    before = gc.get_threshold()
    tune_collector()
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def measure(work: Work, server: tuple[str, str], instances: int, concurrency: int) -> float:
    """CPU in µs per request of one round."""
    gc.collect()
    cpu = time.process_time()
    anyio.run(work, *server, instances, concurrency)
    return (time.process_time() - cpu) / (instances * STEPS) * 1e6


def main() -> None:
    """Alternate rounds, then print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instances", type=int, default=300)
    parser.add_argument("--concurrency", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--profile", action="store_true", help="profile one round of the orchestrated chain instead")
    args = parser.parse_args()
    with cheap_server() as server:
        if args.profile:
            with cProfile.Profile() as profile:
                measure(orchestrated, server, args.instances, args.concurrency)
            pstats.Stats(profile).sort_stats("tottime").print_stats(40)
            return
        for work in (script, orchestrated):
            measure(work, server, 50, args.concurrency)
        rounds: dict[str, list[float]] = {"script": [], "embedded": [], "tuned": []}
        for _ in range(args.rounds):
            rounds["script"].append(measure(script, server, args.instances, args.concurrency))
            rounds["embedded"].append(measure(orchestrated, server, args.instances, args.concurrency))
            with tuned():
                rounds["tuned"].append(measure(orchestrated, server, args.instances, args.concurrency))
    print(f"{STEPS} requests, {args.instances} instances, {args.concurrency} concurrent, {args.rounds} rounds, medians [min-max]")
    for name, values in rounds.items():
        print(f"{name:8} {statistics.median(values):6.0f} µs of client CPU per request [{min(values):.0f}-{max(values):.0f}]")
    for name in ("embedded", "tuned"):
        ratios = [ours / theirs for ours, theirs in zip(rounds[name], rounds["script"], strict=True)]
        print(f"ratio of CPU per request, {name} to script: {statistics.median(ratios):.2f} (goal: at most 1.5)")


if __name__ == "__main__":
    main()
