"""The pages: what they show of a run and of an instance, and text from outside that tries to become part of the page."""

from __future__ import annotations

import json

import attrs
import jwt
import pytest
from markupsafe import escape

from orchestrator import PermanentError, Proof, Scenario, Secret, TransientError, Vault, done, open_store, start
from orchestrator.web.instance import curl
from tests.support.page import Page, page_of
from tests.support.toy import Ledger, ToyContext, fast, toy

HOSTILE = '<script>alert(\'x\')</script>"><img src=x onerror=alert(1)>\r\n\r\nevent: evil\ndata: {"parts":{"status":"owned"}}\n\n&lt;b&gt;'


@attrs.frozen(kw_only=True)
class TokenHolder:
    """A context with a token, and another secret."""

    made: tuple[str, ...] = ()
    secret: Secret = Secret("toy-secret-value")
    token: Secret | None = None


async def test_the_list_leads_to_each_run_and_shows_its_counts(vault: Vault) -> None:
    workflow = toy(Ledger(script={"run two": [PermanentError("no")]}))
    async with open_store("memory:") as store, start(workflow, store=store, instances=3, options=fast(vault)) as run:
        await run.wait()
        async with page_of(store, vault, workflow) as page:
            text = (await page.get("/")).text
            assert f'href="/runs/{run.id}"' in text
            assert "2 completed" in text
            assert "1 rolled back" in text
            assert "1 run in all" in text


async def test_the_list_is_filtered_and_goes_on_on_further_pages(vault: Vault) -> None:
    workflow = toy(Ledger())
    async with open_store("memory:") as store:
        ids = []
        for _ in range(27):
            async with start(workflow, store=store, options=fast(vault)) as run:
                ids.append(run.id)
        async with page_of(store, vault, workflow) as page:
            first = (await page.get("/")).text
            assert "27 runs in all" in first
            older = first.partition('<a href="/?')[2].partition('"')[0].replace("&amp;", "&")
            second = (await page.get(f"/?{older}")).text
            shown = [[run_id for run_id in ids if f'id="run-{run_id}"' in text] for text in (first, second)]
            assert [len(some) for some in shown] == [25, 2]
            assert sorted(shown[0] + shown[1]) == sorted(ids)
            assert "No run matches" in (await page.get("/?status=interrupted")).text
            one = (await page.get(f"/?text={ids[3]}")).text
            assert f"run-{ids[3]}" in one
            assert f"run-{ids[4]}" not in one


@pytest.mark.parametrize(
    "query", ["status=%00", "after=x", "after=nan_", "text=%3Cscript%3E", "workflow=%27%22%3E", "after=1e999_a"]
)
async def test_a_damaged_address_of_the_list_is_a_list(vault: Vault, query: str) -> None:
    async with open_store("memory:") as store, page_of(store, vault) as page:
        answer = await page.get(f"/?{query}")
        assert answer.status == 200
        assert "<script>" not in answer.text


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/runs/261124-aaaaaa", 404),
        ("/runs/261124-aaaaaa-0", 404),
        ("/runs/%3Cscript%3E", 404),
        ("/runs/..%2F..%2Fetc", 404),
        ("/runs/RUN/instances/7", 404),
        ("/runs/RUN/instances/x", 404),
        ("/runs/RUN/instances/99999999999999999999", 404),
        ("/runs/RUN/instances/0/requests.har", 404),
        ("/static/../access.py", 404),
        ("/static/%2e%2e/access.py", 404),
        ("/compare?run=a&run=b", 200),
        ("/compare?run=RUN", 200),
    ],
)
async def test_an_address_of_nothing_says_so(vault: Vault, path: str, status: int) -> None:
    workflow = toy(Ledger())
    async with open_store("memory:") as store, start(workflow, store=store, options=fast(vault)) as run:
        await run.wait()
        async with page_of(store, vault, workflow) as page:
            answer = await page.get(path.replace("RUN", run.id))
            assert answer.status == status
            assert "<script>" not in answer.text
            assert "Traceback" not in answer.text


async def test_a_run_shows_states_errors_and_existing_objects(vault: Vault) -> None:
    ledger = Ledger(script={"run two": [TransientError("try again", code="busy"), PermanentError("never", code="gone")]})
    workflow = toy(ledger)
    scenario = Scenario(instances=3)
    async with (
        open_store("memory:") as store,
        start(
            workflow, store=store, scenario=scenario, on_failure="keep", thresholds=["failed < 50%"], options=fast(vault)
        ) as run,
    ):
        await run.wait()
        async with page_of(store, vault, workflow) as page:
            text = (await page.get(f"/runs/{run.id}")).text
            for word in ("busy", "gone", "never", "failed &lt; 50%", "2 completed", "1 failed", "8 things"):
                assert word in text, word
            assert 'class="machine"' in text
            failed = (await page.get(f"/runs/{run.id}/instances?status=failed")).text
            assert "two: never" in failed
            assert f'href="/runs/{run.id}/instances/0"' in failed
            data = json.loads((await page.get(f"/runs/{run.id}/charts?series=two")).text)
            assert data["series"] == "two"
            assert (await page.get(f"/runs/{run.id}/report.html")).headers["Content-Disposition"].startswith("attachment")
            assert json.loads((await page.get(f"/runs/{run.id}/report.json")).text)["run"] == run.id
            assert (await page.get(f"/runs/{run.id}/spark.svg")).headers["Content-Type"].startswith("image/svg+xml")


async def test_an_instance_shows_its_attempts_and_the_objects_a_rollback_would_remove(vault: Vault) -> None:
    ledger = Ledger(script={"run two": [TransientError("try again"), PermanentError("never")]})
    workflow = toy(ledger)
    async with open_store("memory:") as store, start(workflow, store=store, on_failure="keep", options=fast(vault)) as run:
        await run.wait()
        async with page_of(store, vault, workflow) as page:
            text = (await page.get(f"/runs/{run.id}/instances/0")).text
    assert "attempt 1 failed: try again" in text
    assert "Failed in two" in text
    assert "one:0" in text
    assert "A rollback would remove, in this order: thing" in text
    assert "toy-secret-value" not in text
    assert "********" in text


async def hostile_pages(page: Page, run_id: str) -> list[str]:
    """All pages of a run, and the first events of their streams."""
    texts = [
        (await page.get(path)).text
        for path in ("/", f"/runs/{run_id}", f"/runs/{run_id}/instances", f"/runs/{run_id}/instances/0", "/compare")
    ]
    async with page.session.get(page.url(f"/runs/{run_id}/events")) as stream:
        texts.append((await stream.content.readuntil(b": \n\n")).decode())
    return texts


async def test_text_from_outside_stays_text(vault: Vault) -> None:
    ledger = Ledger(script={"run two": [PermanentError(HOSTILE, code=HOSTILE)]})
    workflow = toy(ledger, initial_context=lambda run_id, number, settings: ToyContext(made=(HOSTILE,)))
    async with open_store("memory:") as store, start(workflow, store=store, on_failure="keep", options=fast(vault)) as run:
        await run.wait()
        async with page_of(store, vault, workflow) as page:
            *texts, events = await hostile_pages(page, run.id)
    assert any(str(escape("<script>alert('x')</script>")) in text for text in texts)
    for text in texts:
        assert "<script>alert" not in text
        assert "<img src=x" not in text
    lines = events.split("\n")
    assert {line for line in lines if line.startswith("event:")} == {"event: parts", "event: charts"}
    assert all(line.startswith(("event: ", "data: {", ": ")) or not line for line in lines)
    parts = json.loads(next(line for line in lines if line.startswith("data: "))[6:])
    assert "owned" not in parts["status"]
    assert "<script" not in "".join(parts.values())


async def test_the_proof_and_the_claims_of_a_token_are_shown_without_its_signature(vault: Vault) -> None:
    token = jwt.encode({"sub": HOSTILE, "echo": "toy-secret-value"}, "k" * 32, headers={"kid": "one"})

    workflow = toy(
        Ledger(script={"run three": [lambda step: done(TokenHolder(token=Secret(token)))]}),
        context=TokenHolder,
        initial_context=lambda run_id, number, settings: TokenHolder(),
        prove=lambda context: Proof(facts={"fact": HOSTILE}),
    )
    async with open_store("memory:") as store, start(workflow, store=store, options=fast(vault)) as run:
        await run.wait()
        async with page_of(store, vault, workflow) as page:
            text = (await page.get(f"/runs/{run.id}/instances/0")).text
    head, claims, signature = token.split(".")
    assert "&#34;kid&#34;: &#34;one&#34;" in text
    assert "&#34;sub&#34;" in text
    assert not any(part in text for part in (head, claims, signature))
    assert "toy-secret-value" not in text
    assert "<script>alert" not in text


def test_a_command_for_the_shell_quotes_the_values_of_the_request() -> None:
    sent = {
        "method": "POST",
        "url": "https://example.com/?a=$(reboot)&b='x'",
        "headers": [{"name": "Authorization", "value": "Bearer ********"}, {"name": "Host", "value": "example.com"}],
        "postData": {"text": "a=`id`"},
    }
    assert curl(sent) == (
        "curl --request POST 'https://example.com/?a=$(reboot)&b='\"'\"'x'\"'\"'' --header 'Authorization: Bearer ********' "
        "--data-raw 'a=`id`'"
    )


async def test_a_run_of_another_key_or_of_an_unknown_workflow_says_why(vault: Vault) -> None:
    workflow = toy(Ledger())
    async with open_store("memory:") as store, start(workflow, store=store, options=fast(vault)) as run:
        await run.wait()
        async with page_of(store, Vault(bytes(32), "another key"), workflow) as page:
            assert run.id in (await page.get("/")).text
            answer = await page.get(f"/runs/{run.id}")
            assert answer.status == 409
            assert "was encrypted with the key" in answer.text
        async with page_of(store, vault) as page:
            answer = await page.get(f"/runs/{run.id}")
            assert answer.status == 409
            assert "toy" in answer.text
