"""Prepares a run: turns the settings of a command, or of a form, into the arguments of :func:`orchestrator.api.start`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

import anyio.to_thread
import attrs

from orchestrator import api
from orchestrator.api import AnyRun
from orchestrator.cli.naming import parse_run
from orchestrator.cli.resolver import Resolver
from orchestrator.cli.run_settings import LoadSettings, RunSettings
from orchestrator.definition.workflow import AnyWorkflow
from orchestrator.driving.options import Options
from orchestrator.errors import SettingError
from orchestrator.inputs.staging import count_rows, form_of
from orchestrator.inspection.stored_run import StoredRun
from orchestrator.lifecycle.rows import fitted
from orchestrator.lifecycle.scenario import Scenario
from orchestrator.load.estimate import Estimate, estimate
from orchestrator.settings import settings_of
from orchestrator.storage.base import Store
from orchestrator.storage.encryption import Vault

if TYPE_CHECKING:
    from orchestrator.cluster.pool import OpenPool


@attrs.frozen(kw_only=True)
class Prepared:
    """A run that can be started."""

    workflow: AnyWorkflow
    settings: object
    scenario: Scenario
    needs: Estimate | None
    """Its shortest duration at its rates."""
    wanted: RunSettings | LoadSettings
    rates: Mapping[str, float]
    thresholds: Sequence[str]
    abort: bool

    def open(
        self,
        store: Store,
        options: Options,
        *,
        run_id: str | None = None,
        reports: Mapping[str, str] | None = None,
        drive: bool = True,
        processes: int = 1,
        cluster: OpenPool | None = None,
    ) -> AbstractAsyncContextManager[AnyRun]:
        """Entering the block starts the run."""
        return api.start(
            self.workflow,
            self.settings,
            store=store,
            scenario=self.scenario,
            on_failure=self.wanted.on_failure,
            on_success=self.wanted.on_success,
            rates=self.rates,
            thresholds=self.thresholds,
            abort=self.abort,
            recorded=self.wanted.record,
            reports=reports,
            shards=self.wanted.shards,
            drive=drive,
            run_id=run_id,
            processes=processes,
            cluster=cluster,
            data=self.wanted.data,
            data_repeat=self.wanted.data_repeat,
            options=options,
        )


async def prepare(
    resolver: Resolver, workflow: AnyWorkflow, wanted: RunSettings | LoadSettings, store: Store, vault: Vault
) -> Prepared:
    """Check the settings of a run.

    Raises:
        SettingError: A value is not possible.
        UnknownRunError, ConfigurationError, EncryptionKeyError: The run whose instances are reused cannot be used.
    """
    scenario = named_scenario(wanted)
    if scenario.reuse is None:
        settings = resolver.workflow(workflow).value
    else:
        settings = await _settings_of_used(resolver, workflow, store, vault, scenario.reuse)
    rates = workflow.rates(settings) if wanted.rates is None else wanted.rates
    if wanted.data is not None:
        form_of(workflow)
        count = await anyio.to_thread.run_sync(count_rows, wanted.data)
        scenario = fitted(scenario, max(1, count), repeat=wanted.data_repeat)
    thresholds, abort = (wanted.threshold, wanted.abort) if isinstance(wanted, LoadSettings) else ((), False)
    api.check(workflow, scenario, rates, thresholds, wanted.record)
    if wanted.shards is not None:
        api.check_shards(scenario, wanted.shards)
    return Prepared(
        workflow=workflow,
        settings=settings,
        scenario=scenario,
        needs=estimate(workflow, scenario, rates, wanted.on_success),
        wanted=wanted,
        rates=rates,
        thresholds=thresholds,
        abort=abort,
    )


def named_scenario(wanted: RunSettings | LoadSettings) -> Scenario:
    """The scenario; the run that it reuses may be named by one of its instances. Raises ``SettingError``."""
    scenario = wanted.scenario()
    return scenario if scenario.reuse is None else attrs.evolve(scenario, reuse=parse_run(scenario.reuse))


async def _settings_of_used(resolver: Resolver, workflow: AnyWorkflow, store: Store, vault: Vault, use: str) -> Any:
    """The settings of the run whose instances are reused: they exist in the environment of that run."""
    for s in settings_of(workflow.settings):
        if resolver.is_asked(s) and not s.renewable:
            raise SettingError("reuse", f"takes the settings of run {use}: {s.flag} cannot change them")
    stored = (await StoredRun.load(workflow, use, store=store, vault=vault)).settings()
    changes = resolver.renewed(workflow)
    return attrs.evolve(stored, **changes) if changes else stored
