"""Rows: the input of instances, one row for each. They are stored with the run. Pure."""

from __future__ import annotations

import attrs

from orchestrator.errors import SettingError
from orchestrator.lifecycle.bounds import ENDLESS
from orchestrator.lifecycle.scenario import Scenario


@attrs.frozen(kw_only=True)
class Rows:
    """The rows of a run, as its record names them. The store holds them sealed, under ``key``."""

    key: str
    """Unique over all starts, so that two starts of one run never mix their rows."""
    count: int
    repeat: bool = False
    """Whether instances after the last row begin again with the first; else the last row belongs to the last instance."""
    digest: str
    """Sealed hash of all rows: a second start of the same run is compared with it."""

    def number_of(self, instance: int) -> int:
        """The number of the row that belongs to an instance."""
        return instance % self.count if self.repeat else instance


def fitted(scenario: Scenario, count: int, *, repeat: bool) -> Scenario:
    """The scenario with as many instances as rows, if it does not say how many.

    A closed one gets one instance for each row, also within a time limit. With endless rounds each row is a user, unless the concurrency
    is given: then users that fail are replaced until the rows are used up. With ``repeat``, a time limit alone ends the scenario.

    Raises:
        SettingError: It has, or may need, more instances than rows, and these are not repeated; or it reuses instances.
    """
    if scenario.reuse is not None:
        raise SettingError("data", "does not go with reuse: the instances that are reused have got their rows")
    if scenario.instances is None and not scenario.is_open:
        if scenario.rounds == ENDLESS:
            fixed = scenario.concurrency is not None or bool(scenario.stages)
            scenario = scenario if fixed else attrs.evolve(scenario, instances=count)
        elif scenario.length is None or not repeat:
            scenario = attrs.evolve(scenario, instances=count)
    if scenario.least > count and not repeat:
        raise SettingError(
            "data",
            f"there {'is 1 row' if count == 1 else f'are {count} rows'} for {scenario.least} instances; add rows, give fewer "
            "instances, or repeat the rows (data-repeat)",
        )
    return scenario
