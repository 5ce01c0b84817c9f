"""Unique numbers, and data that looks like sealed secrets."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import Any

import attrs
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import Secret, Vault
from orchestrator.storage.checkpoint import dumps, opened
from orchestrator.storage.encryption import Nonces

FORKED = """
import os
from orchestrator import Vault

vault = Vault(bytes(32), "a test")
vault.seal(b"x", b"here")
child = os.fork()
# In one piece: both write into the same pipe.
os.write(1, b"".join(vault.seal(b"x", b"here")[:12].hex().encode() + b" " for _ in range(3)))
if child:
    os.waitpid(child, 0)
"""


def test_a_forked_child_does_not_repeat_the_nonces_of_its_parent() -> None:
    done = subprocess.run([sys.executable, "-W", "error", "-c", FORKED], capture_output=True, text=True, check=True, timeout=60)
    nonces = done.stdout.split()
    assert len(nonces) == len(set(nonces)) == 6
    assert len({nonce[:16] for nonce in nonces}) == 2


def test_after_the_last_number_a_new_count_begins_under_new_random_bits() -> None:
    nonces = Nonces(first=2**32 - 2)
    drawn = [next(nonces) for _ in range(5)]
    assert [int.from_bytes(nonce[8:], "big") for nonce in drawn] == [2**32 - 2, 2**32 - 1, 0, 1, 2]
    assert drawn[0][:8] == drawn[1][:8] != drawn[2][:8] == drawn[4][:8]
    assert {len(nonce) for nonce in drawn} == {12}


def test_threads_that_come_to_the_end_of_a_count_draw_no_nonce_twice() -> None:
    nonces, drawn = Nonces(first=2**32 - 500), list[bytes]()

    def draw() -> None:
        drawn.extend([next(nonces) for _ in range(500)])

    threads = [threading.Thread(target=draw) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(drawn) == len(set(drawn)) == 2000


def test_two_vaults_of_a_process_share_no_nonce() -> None:
    one, other = Vault(bytes(32), "a test"), Vault(bytes(32), "a test")
    assert len({vault.seal(b"x", b"here")[:12] for vault in (one, other) for _ in range(50)}) == 100


@attrs.frozen
class Holder:
    data: Any
    secret: Secret


json_data = st.recursive(
    st.none() | st.integers(-9, 9) | st.text(max_size=3) | st.just('"$sealed":'),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["$sealed", "$plain", 'a"$sealed', "b"]), inner, max_size=2)
    ),
    max_leaves=12,
)


@given(json_data)
def test_data_that_looks_like_a_sealed_secret_comes_back_as_it_was(data: Any) -> None:
    vault = Vault(bytes(32), "the test")
    body = dumps({"held": Holder(data, Secret("hush-hush")), "more": (data, {"x": data})}, vault, b"here")
    assert b"hush-hush" not in body
    back = opened(orjson.loads(body), vault, b"here")
    assert back == {"held": {"data": data, "secret": Secret("hush-hush")}, "more": [data, {"x": data}]}


@pytest.mark.parametrize("key", [1, None, True])
def test_keys_that_are_no_strings_are_escaped_beside(key: Any) -> None:
    vault = Vault(bytes(32), "the test")
    body = dumps({"a": {key: {"$sealed": "x"}}}, vault, b"here")
    assert list(opened(orjson.loads(body), vault, b"here")["a"].values()) == [{"$sealed": "x"}]


def test_a_vault_never_uses_a_nonce_twice_not_even_after_a_fork() -> None:
    vault = Vault(bytes(32), "the test")
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, vault.seal(b"x", b"place")[:12])
        os._exit(0)
    os.waitpid(child, 0)
    nonces = {os.read(read, 12), vault.seal(b"x", b"place")[:12], vault.seal(b"x", b"place")[:12]}
    os.close(read)
    os.close(write)
    assert len(nonces) == 3
