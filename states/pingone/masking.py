"""Names under which PingOne sends secrets, beside those of OAuth."""

from __future__ import annotations

import re

from states.http.masking import SECRET_NAMES, Masking

_EXPRESSION = re.compile(r"\$\{[^{}]*\}")


def _is_expression(name: str, value: object) -> bool:
    """The ``value`` of an attribute mapping is an expression: it names the source of a claim and holds no secret."""
    return name == "value" and isinstance(value, str) and _EXPRESSION.fullmatch(value) is not None


MASKING = Masking(names=SECRET_NAMES | {"newpassword", "previous", "sessiontoken", "value"}, is_public=_is_expression)
