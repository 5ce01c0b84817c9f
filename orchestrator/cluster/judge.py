"""Judges the thresholds of a run that several processes drive. Pure."""

from __future__ import annotations

from orchestrator.definition.workflow import AnyWorkflow
from orchestrator.driving.plan import Plan
from orchestrator.lifecycle.run import RunRecord
from orchestrator.lifecycle.scenario import Scenario
from orchestrator.load.abort import ends_scenario
from orchestrator.load.threshold_parser import parse_all
from orchestrator.load.thresholds import Measured, Verdict


class Judge:
    """The thresholds with their latest verdicts."""

    def __init__(self, workflow: AnyWorkflow, record: RunRecord, plan: Plan) -> None:
        self.verdicts: list[Verdict] = []
        self._thresholds = parse_all(record.thresholds, workflow)
        self._may_abort = plan.measures and record.abort

    def __bool__(self) -> bool:
        """Whether there are thresholds."""
        return bool(self._thresholds)

    def judge(self, measured: Measured, scenario: Scenario, elapsed: float) -> str | None:
        """Judge the numbers so far.

        Returns:
            The threshold that ends the scenario now, in words; ``None``: none does.
        """
        self.verdicts = [threshold.judge(measured) for threshold in self._thresholds]
        in_time = scenario.length is None or elapsed < scenario.length
        if not (self._may_abort and in_time):
            return None
        broken = next((one for one in self._thresholds if ends_scenario(one, measured, scenario)), None)
        return None if broken is None else f"{broken.text} (it is {broken.judge(measured).value})"
