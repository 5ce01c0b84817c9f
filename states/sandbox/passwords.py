"""The default password policy. Pure. Source: vendor example of the "Standard" policy."""

from __future__ import annotations

from collections.abc import Sequence

SPECIAL = "~!@#$%^&*()-_=+[]{}|;:,.<>/?"
COMMON = frozenset({"password", "password1", "password1!", "2federatem0re!", "welcome1!", "qwerty123!"})
HISTORY = 6


def unsatisfied(password: str, profile: Sequence[str], history: Sequence[str]) -> list[str]:
    """Requirements that ``password`` does not satisfy.

    Args:
        profile: Values of the user that it must not contain.
        history: Earlier passwords, newest last.
    """
    broken = []
    if not 8 <= len(password) <= 255:
        broken.append("length")
    classes = (str.isupper, str.islower, str.isdigit, SPECIAL.__contains__)
    if not all(any(test(char) for char in password) for test in classes):
        broken.append("minCharacters")
    if len(set(password)) < 5:
        broken.append("minUniqueCharacters")
    if any(password[i] == password[i + 1] == password[i + 2] for i in range(len(password) - 2)):
        broken.append("maxRepeatedCharacters")
    if password.lower() in COMMON:
        broken.append("excludesCommonlyUsed")
    # Many passwords contain a shorter value by chance. [inferred]
    if any(len(value) >= 3 and value.lower() in password.lower() for value in profile):
        broken.append("excludesProfileData")
    if password in history[-HISTORY:]:
        broken.append("history")
    return broken
