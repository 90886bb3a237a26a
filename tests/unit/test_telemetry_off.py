"""Libraries' telemetry is off wherever we start: read here, watched in `tests/system/test_telemetry.py`."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FOLDERS = ("selfiegate", "tasks", "flows", "deployments", "benchmarks", "training", "tests")
OFF = {"ORT_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}


def imported(file: Path) -> set[str]:
    """Return the packages that a file imports, in functions too."""
    nodes = list(ast.walk(ast.parse(file.read_text())))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module]
    return {name.partition(".")[0] for name in names}


def users_of(*packages: str) -> Iterator[Path]:
    for folder in FOLDERS:
        yield from (file for file in (ROOT / folder).rglob("*.py") if imported(file) & set(packages))


def test_whoever_imports_onnxruntime_comes_through_selfiegate_first() -> None:
    """Its package does so, since the import of a library stands above ours."""
    packages = {file.relative_to(ROOT).parts[0] for file in users_of("onnxruntime", "insightface")}

    assert packages == {"selfiegate", "benchmarks", "training", "tests"}
    assert all("selfiegate" in imported(ROOT / one / "__init__.py") for one in packages - {"selfiegate"})


def test_whoever_imports_prefect_comes_through_tasks_first() -> None:
    packages = {file.relative_to(ROOT).parts[0] for file in users_of("prefect", "prefect_aws", "prefect_dask")}

    assert packages == {"tasks", "flows", "deployments", "benchmarks", "tests"}
    assert all("tasks" in imported(ROOT / one / "__init__.py") for one in packages - {"tasks"})


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("selfiegate", ["ORT_DISABLE_TELEMETRY"]),
        ("tasks", ["DO_NOT_TRACK", "PREFECT_SERVER_ANALYTICS_ENABLED"]),
        ("flows", ["DO_NOT_TRACK", "PREFECT_SERVER_ANALYTICS_ENABLED"]),
        ("deployments", ["DO_NOT_TRACK", "PREFECT_SERVER_ANALYTICS_ENABLED"]),
    ],
)
def test_importing_a_package_alone_turns_it_off(module: str, names: list[str]) -> None:
    code = f"import os, sys, {module}; print(*(os.environ.get(name) for name in {names}))"
    code += "; assert not {'prefect', 'onnxruntime'} & sys.modules.keys()"
    run = subprocess.run([sys.executable, "-c", code], env={}, cwd=ROOT, capture_output=True, text=True, check=True)

    assert run.stdout.split() == [OFF[name] for name in names]


def test_the_image_turns_it_off_for_what_starts_with_prefect() -> None:
    dockerfile = (ROOT / "deployments" / "Dockerfile").read_text()

    assert {name: value for name, value in re.findall(r"(\w+)=(\S+)", dockerfile) if name in OFF} == OFF


def test_prefects_server_is_started_with_it_off() -> None:
    server = yaml.safe_load((ROOT / "deployments" / "compose.yaml").read_text())["services"]["prefect"]
    (make_ui,) = [line for line in (ROOT / "Makefile").read_text().splitlines() if "prefect server start" in line]

    assert server["environment"]["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert "PREFECT_SERVER_ANALYTICS_ENABLED=false DO_NOT_TRACK=1" in make_ui
