"""The secrets of a new instance."""

from __future__ import annotations

from states.sandbox.passwords import unsatisfied
from states.token_fulfillment.context import new_password


def test_passwords_satisfy_the_policy_and_differ() -> None:
    made = {new_password().reveal() for _ in range(200)}
    assert len(made) == 200
    assert not [password for password in made if unsatisfied(password, (), ())]
