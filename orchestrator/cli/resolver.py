"""Resolves the settings of a command from its flags, the environment and the TOML files."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import attrs

from orchestrator.cli.run_settings import LoadSettings, RunSettings
from orchestrator.cli.settings import EngineSettings, TelemetrySettings
from orchestrator.definition.registry import workflow_names
from orchestrator.definition.workflow import AnyWorkflow
from orchestrator.errors import SettingError
from orchestrator.settings import (
    FORM,
    Resolved,
    Setting,
    convert,
    data_directory,
    default_key_file,
    find,
    read_table,
    resolve,
    settings_of,
)
from orchestrator.storage import is_lasting
from orchestrator.storage.encryption import KEY_VARIABLE, Vault, find_key
from orchestrator.storage.url import has_password, without_password
from orchestrator.web.settings import WebSettings

T = TypeVar("T")

CONFIG_FILE = Path("orchestrator.toml")
"""Read if it exists and no other file is named."""
CONFIG_VARIABLE = "ORCHESTRATOR_CONFIG"

ENGINE_TABLE = "orchestrator"
TELEMETRY_TABLE = "telemetry"
RUN_TABLE = "run"
LOAD_TABLE = "load"
WEB_TABLE = "web"


class Resolver:
    """Resolves settings classes from the flags of a command, the environment and the TOML file."""

    def __init__(
        self,
        flags: Mapping[str, object],
        config: Path | None,
        environ: Mapping[str, str] | None = None,
        *,
        scenario: Path | None = None,
        form: Mapping[str, object] | None = None,
    ) -> None:
        self._flags = flags
        self._form = form
        self._environ = os.environ if environ is None else environ
        usual = Path(self._environ[CONFIG_VARIABLE]) if self._environ.get(CONFIG_VARIABLE) else None
        usual = usual or (CONFIG_FILE if CONFIG_FILE.exists() else None)
        self._usual = str(usual)
        """The file that later commands read by default."""
        self._scenario = str(scenario)
        files = [file for file in (scenario, config or usual) if file is not None]
        self._files = [(str(file), read_table(file)) for file in files]
        """File and its tables; the first file that has a key wins."""

    def check_tables(self) -> None:
        """Raise ``SettingError`` for a table that no command reads."""
        known = (ENGINE_TABLE, RUN_TABLE, LOAD_TABLE, TELEMETRY_TABLE, WEB_TABLE, *workflow_names())
        for file, tables in self._files:
            for name in tables:
                if name not in known:
                    raise SettingError(name, f"unknown table; known: {', '.join(f'[{k}]' for k in known)}", file)

    def engine(self) -> Resolved[EngineSettings]:
        """The table ``[orchestrator]``. Raises ``SettingError`` for a store with a password that was given as a flag."""
        engine = self._resolve(EngineSettings, ENGINE_TABLE)
        if engine.sources["store"] == "--store" and has_password(engine.value.url):
            raise SettingError(
                "store",
                "every user of this machine can read a password on the command line; put it into PGPASSWORD, PGPASSFILE, "
                "~/.pgpass or a service file, or the whole URL into ORCHESTRATOR_STORE",
                "--store",
            )
        return engine

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
        return "" if engine.sources["store"] in found_again else f" --store {shlex.quote(without_password(engine.value.url))}"

    def load(self) -> Resolved[LoadSettings]:
        """The table ``[load]``."""
        return self._resolve(LoadSettings, LOAD_TABLE)

    def workflow(self, workflow: AnyWorkflow) -> Resolved[Any]:
        """The table named like the workflow."""
        if not isinstance(workflow.settings, type):
            return Resolved(None, {})
        return self._resolve(workflow.settings, workflow.name)

    def renewed(self, workflow: AnyWorkflow) -> dict[str, object]:
        """Settings of a stored run that this command replaces, e.g. new credentials."""
        asked = [s for s in settings_of(workflow.settings) if s.renewable and self.is_asked(s)]
        return {s.name: convert(s, *self.raw(s, workflow.name)) for s in asked}

    def is_asked(self, s: Setting) -> bool:
        """Whether a flag, or a field of the form, gives this setting."""
        return self._flags.get(s.name) is not None or s.name in (self._form or {})

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

    def _resolve(self, cls: type[T], table: str) -> Resolved[T]:
        for file, tables in self._files:
            if not isinstance(tables.get(table, {}), dict):
                raise SettingError(table, "is not a table", file)
        files = [(file, tables.get(table, {})) for file, tables in self._files]
        return resolve(cls, flags=self._flags, environ=self._environ, files=files, form=self._form_of(cls))

    def _form_of(self, cls: object) -> dict[str, object]:
        return {s.name: self._form[s.name] for s in settings_of(cls) if s.name in self._form} if self._form else {}

    def raw(self, s: Setting, table: str) -> tuple[Any, str]:
        """The value of a setting as it is written, and its source."""
        if self._form and s.name in self._form:
            return self._form[s.name], FORM
        return find(s, self._flags, self._environ, [(file, tables.get(table, {})) for file, tables in self._files])

    def web(self, *, port: int | None = None) -> WebSettings:
        """The table ``[web]``.

        Args:
            port: Replaces the configured port.
        """
        found = self._resolve(WebSettings, WEB_TABLE).value
        return found if port is None else attrs.evolve(found, port=port)
