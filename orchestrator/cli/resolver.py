"""A command's settings, resolved from its flags, the environment and the TOML files."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.cli.settings import EngineSettings, LoadSettings, RunSettings, TelemetrySettings
from orchestrator.definition.registry import workflow_names
from orchestrator.definition.workflow import AnyWorkflow
from orchestrator.errors import SettingError
from orchestrator.settings import Resolved, convert, data_directory, default_key_file, read_table, resolve, settings_of
from orchestrator.storage import is_lasting
from orchestrator.storage.encryption import KEY_VARIABLE, Vault, find_key

CONFIG_FILE = Path("orchestrator.toml")
"""Read if it exists and no other file is named."""
CONFIG_VARIABLE = "ORCHESTRATOR_CONFIG"

ENGINE_TABLE = "orchestrator"
TELEMETRY_TABLE = "telemetry"
RUN_TABLE = "run"
LOAD_TABLE = "load"


class Resolver:
    """Resolves settings classes from the flags of a command, the environment and the TOML file."""

    def __init__(
        self,
        flags: Mapping[str, object],
        config: Path | None,
        environ: Mapping[str, str] | None = None,
        *,
        scenario: Path | None = None,
    ) -> None:
        self._flags = flags
        self._environ = os.environ if environ is None else environ
        usual = Path(self._environ[CONFIG_VARIABLE]) if self._environ.get(CONFIG_VARIABLE) else None
        usual = usual or (CONFIG_FILE if CONFIG_FILE.exists() else None)
        self._usual = str(usual)
        """The file that later commands read without being told."""
        self._scenario = str(scenario)
        files = [file for file in (scenario, config or usual) if file is not None]
        self._files = [(str(file), read_table(file)) for file in files]
        """File and its tables; the first file that has a key wins."""

    def check_tables(self) -> None:
        """Raise ``SettingError`` for a table that no command reads."""
        known = (ENGINE_TABLE, RUN_TABLE, LOAD_TABLE, TELEMETRY_TABLE, *workflow_names())
        for file, tables in self._files:
            for name in tables:
                if name not in known:
                    raise SettingError(name, f"unknown table; known: {', '.join(f'[{k}]' for k in known)}", file)

    def engine(self) -> Resolved[EngineSettings]:
        """The table ``[orchestrator]``."""
        return self._resolve(EngineSettings, ENGINE_TABLE)

    def telemetry(self) -> Resolved[TelemetrySettings]:
        """The table ``[telemetry]``."""
        return self._resolve(TelemetrySettings, TELEMETRY_TABLE)

    def run(self) -> Resolved[RunSettings]:
        """The table ``[run]``."""
        return self._resolve(RunSettings, RUN_TABLE)

    @property
    def has_load(self) -> bool:
        """Whether the scenario's file has the table ``[load]``."""
        return any(LOAD_TABLE in tables for file, tables in self._files if file == self._scenario)

    @property
    def suffix(self) -> str | None:
        """The flags by which later commands find this store; ``None`` if they cannot, because it is in memory."""
        engine = self.engine()
        if not self.is_lasting:
            return None
        found_again = ("default", "ORCHESTRATOR_STORE", self._usual)
        return "" if engine.sources["store"] in found_again else f" --store {shlex.quote(engine.value.url)}"

    def load(self) -> Resolved[LoadSettings]:
        """The table ``[load]``."""
        return self._resolve(LoadSettings, LOAD_TABLE)

    def workflow(self, workflow: AnyWorkflow) -> Resolved[Any]:
        """The table named like the workflow."""
        if not isinstance(workflow.settings, type):
            return Resolved(None, {})
        return self._resolve(workflow.settings, workflow.name)

    def renewed(self, workflow: AnyWorkflow) -> dict[str, Any]:
        """Settings of a stored run that flags of this command replace, e.g. new credentials."""
        known = settings_of(workflow.settings)
        return {
            s.name: convert(s, self._flags[s.name], s.flag) for s in known if s.renewable and self._flags.get(s.name) is not None
        }

    def vault(self, *, create: bool = False) -> Vault:
        """The user's key, created on demand. A store in memory gets a key that ends with the process."""
        if not self.is_lasting:
            return Vault(os.urandom(32), "this process")
        return find_key(self._environ, default_key_file(), create=create)

    @property
    def is_lasting(self) -> bool:
        """Whether the store outlives this process."""
        return is_lasting(self.engine().value.url)

    @property
    def has_key(self) -> bool:
        """Whether a key is set, or the key file exists."""
        return bool(self._environ.get(KEY_VARIABLE)) or default_key_file().exists()

    @property
    def directory(self) -> Path | None:
        """Folder for files of the services; ``None`` for a store in memory, because nothing may outlive it."""
        return data_directory() if self.is_lasting else None

    def _resolve(self, cls: Any, table: str) -> Resolved[Any]:
        for file, tables in self._files:
            if not isinstance(tables.get(table, {}), dict):
                raise SettingError(table, "is not a table", file)
        files = [(file, tables.get(table, {})) for file, tables in self._files]
        return resolve(cls, flags=self._flags, environ=self._environ, files=files)
