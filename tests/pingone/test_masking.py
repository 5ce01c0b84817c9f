"""The names of secrets that only PingOne uses."""

from __future__ import annotations

import pytest

from states.http.masking import MASK
from states.pingone.masking import MASKING

EXPRESSION = "${#root.context.requestData.clientAssertion.custom1}"


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (f'{{"name":"claim","value":"{EXPRESSION}"}}', f'{{"name":"claim","value":"{EXPRESSION}"}}'),
        (f'{{"value":"x{EXPRESSION}"}}', f'{{"value":"{MASK}"}}'),
        ('{"value":"pass-word","forceChange":false}', f'{{"value":"{MASK}","forceChange":false}}'),
        (
            '{"newPassword":"pass-word","currentPassword":{"value":"b"}}',
            f'{{"newPassword":"{MASK}","currentPassword":{{"value":"{MASK}"}}}}',
        ),
        ('{"secret":"a","previous":{"secret":"b"}}', f'{{"secret":"{MASK}","previous":"{MASK}"}}'),
        ('{"session_token":"a","access_token":"b"}', f'{{"session_token":"{MASK}","access_token":"{MASK}"}}'),
    ],
    ids=["an expression", "text around an expression", "a password", "a new password", "a rotated secret", "tokens"],
)
def test_secrets_of_pingone_are_masked_and_expressions_are_not(body: str, shown: str) -> None:
    assert MASKING.mask_body(body.encode(), "application/json", refused=False) == shown
