"""Report files of a run: their paths are checked before the run starts, and they are written when it has ended."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import attrs

from orchestrator.errors import SettingError
from orchestrator.inspection.details import details_of
from orchestrator.inspection.stored_run import AnyStoredRun
from orchestrator.inspection.summary import Summary


@attrs.frozen
class Outputs:
    """The paths of the reports of a run, as they are stored with it; ``None``: not written."""

    report: str | None = None
    csv: str | None = None
    junit: str | None = None

    @classmethod
    def of(cls, given: Mapping[str, object]) -> Outputs:
        """From the stored paths of a run, or from the flags of a command."""
        return cls(**{name: None if (path := given.get(name)) is None else str(path) for name in attrs.fields_dict(cls)})

    def stored(self) -> dict[str, str]:
        """Absolute paths, because the run may be resumed from another folder."""
        return {name: str(Path(value).absolute()) for name, value in attrs.asdict(self).items() if value is not None}

    def exist(self) -> bool:
        """Whether the files of all reports exist."""
        paths = [Path(value) for value in (self.report, self.junit) if value is not None]
        paths += [Path(self.csv) / "states.csv"] if self.csv is not None else []
        return all(path.exists() for path in paths)

    def check(self) -> None:
        """Check that every file can be written. Raises ``SettingError``."""
        for name, value in (("report", self.report), ("junit", self.junit)):
            if value is not None:
                check_writable(name, Path(value))
        if self.csv is not None:
            check_writable("csv", Path(self.csv) / "states.csv")

    async def write(self, run: AnyStoredRun, summary: Summary) -> list[Path]:
        """Write all reports; returns their paths. Raises ``SettingError``."""
        if not self.stored():
            return []
        from orchestrator.report import csv, junit  # noqa: PLC0415  # most runs write no files

        details = await details_of(run, summary)
        files: dict[Path, str] = {}
        if self.report is not None:
            from orchestrator.report.html import page  # noqa: PLC0415  # with Jinja2 behind it

            files[Path(self.report)] = page(details)
        if self.csv is not None:
            files |= {Path(self.csv) / name: text for name, text in csv.tables(details).items()}
        if self.junit is not None:
            files[Path(self.junit)] = junit.document(details)
        return write_files(files)


def write_files(files: Mapping[Path, str]) -> list[Path]:
    """Write text files, and the folders that they need. Raises ``SettingError``."""
    for path, text in files.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
        except OSError as error:
            raise SettingError("output", f"{path} cannot be written: {error.strerror}") from error
    return list(files)


def check_writable(name: str, path: Path) -> None:
    """Check by trying that a file can be written; its folder is created. Raises ``SettingError``."""
    try:
        if path.is_dir():
            raise SettingError(name, f"{path} is a folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            path.open("ab").close()
        else:
            tempfile.TemporaryFile(dir=path.parent).close()
    except (OSError, ValueError) as error:
        raise SettingError(name, f"{path} cannot be written: {getattr(error, 'strerror', error)}") from error
