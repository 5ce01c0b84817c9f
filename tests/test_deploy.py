"""The files of deploy/: the manifests fit the schemas of Kubernetes, and each command in them exists with each of its flags."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli import SUMMARIES, build_app

yaml = pytest.importorskip("yaml")
kubernetes_validate = pytest.importorskip("kubernetes_validate")

DEPLOY = Path(__file__).parent.parent / "deploy"
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
SCRIPTS = sorted((DEPLOY / "slurm").glob("*.sh"))
OLDEST = "1.33"
"""The first release in which ``backoffLimitPerIndex`` is stable."""


def documents(path: Path) -> list[dict[str, Any]]:
    """The objects of a manifest."""
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def pods(path: Path) -> Iterator[dict[str, Any]]:
    """The pod templates of a manifest."""
    for document in documents(path):
        if "template" in document.get("spec", {}):
            yield document["spec"]["template"]["spec"]


def commands(path: Path) -> Iterator[list[str]]:
    """The commands of ours in a file: arguments of containers, lines of scripts and of comments."""
    if path.suffix == ".yaml":
        for pod in pods(path):
            yield from (container["args"] for container in pod["containers"])
    for line in path.read_text().splitlines():
        found = re.search(r"(?:^|exec |srun |#   )orchestrator ((?:cluster|load|drive|resume) [^&(]*)", line)
        if found:
            yield shlex.split(found[1])


def check(argv: list[str]) -> None:
    """The command exists, and so does each flag."""
    assert argv[0] in SUMMARIES, argv
    app = build_app(argv)
    words = [re.sub(r"\$\(?[A-Z_]+\)?", "0", word) for word in argv[1:] if not word.startswith("$@")]
    command, _, unused = app.parse_known_args([argv[0], *words])[:3]
    assert command is not None
    assert not unused, f"{argv}: {unused}"


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_a_manifest_fits_the_schemas(path: Path) -> None:
    for document in documents(path):
        kubernetes_validate.validate(document, OLDEST, strict=True)


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_a_pod_has_no_privileges_and_a_limit_of_memory(path: Path) -> None:
    for pod in pods(path):
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["automountServiceAccountToken"] is False
        volumes = {volume["name"] for volume in pod.get("volumes", ())}
        for container in pod["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert "memory" in container["resources"]["limits"]
            assert {mount["name"] for mount in container.get("volumeMounts", ())} <= volumes


@pytest.mark.parametrize("path", [*MANIFESTS, *SCRIPTS], ids=lambda path: path.name)
def test_each_command_exists_with_its_flags(path: Path) -> None:
    found = list(commands(path))
    assert found, f"{path.name} names no command"
    for argv in found:
        check(argv)


def test_a_flag_that_does_not_exist_would_be_noticed() -> None:
    with pytest.raises(AssertionError):
        check(["drive", "261123-k7m3qp", "--no-such-flag", "1"])


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_is_one_that_bash_can_read(path: Path) -> None:
    assert subprocess.run(["bash", "-n", str(path)], check=False).returncode == 0


def test_the_services_that_pods_call_exist() -> None:
    services = {one["metadata"]["name"] for path in MANIFESTS for one in documents(path) if one["kind"] == "Service"}
    text = "".join(path.read_text() for path in MANIFESTS)
    assert set(re.findall(r"tls://([\w-]+):8786", text)) == services
