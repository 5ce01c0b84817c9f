"""Sign-on policies, by name or id. Source: PingOne Platform API, "Sign-on Policies", "Application Sign-on Policy Assignments"."""

from __future__ import annotations

from orchestrator import PermanentError, visible
from states.pingone.management import Found, Listing, Management

COLLECTION = "signOnPolicies"


class SignOnPolicies:
    """Finds policies. Each is read once per process."""

    def __init__(self, management: Management) -> None:
        self._management = management
        self._ids: dict[str, str] = {}

    async def find(self, wanted: str) -> str:
        """The id of the policy with this name or id.

        Raises:
            PermanentError: There is none. The message lists the existing ones.
        """
        if wanted not in self._ids:
            names: list[str] = []

            def matches(row: Found) -> bool:
                names.append(str(row.get("name")))
                return wanted in (row.get("id"), row.get("name"))

            found = await self._management.find(Listing(COLLECTION, COLLECTION, matches))
            if found is None:
                known = visible(", ".join(names[:10])) or "none"
                raise PermanentError(f"no sign-on policy has the name or id {wanted!r}; there are: {known}", code="no_policy")
            self._ids[wanted] = str(found["id"])
        return self._ids[wanted]


def assignments(application_id: str, policy_id: str) -> Listing:
    """The list that shows the assignment of this policy to this application."""

    def matches(row: Found) -> bool:
        policy = row.get("signOnPolicy")
        return isinstance(policy, dict) and policy.get("id") == policy_id

    return Listing(f"applications/{application_id}/signOnPolicyAssignments", "signOnPolicyAssignments", matches)
