"""Dockerfile, compose.yaml and .dockerignore, read: no Docker engine is at hand where tests run."""

from __future__ import annotations

import re
import tomllib
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect import Flow
from pydantic import TypeAdapter

from deployments.local.parts import RETENTION
from flows.prune import OURS, prune
from selfiegate.settings import load_settings

ROOT = Path(__file__).parents[2]
COMPOSE = (ROOT / "deployments" / "compose.yaml").read_text()
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE)["services"]
DOCKERFILE = (ROOT / "deployments" / "Dockerfile").read_text()


@pytest.mark.parametrize("service", SERVICES)
def test_each_service_says_what_happens_when_it_ends(service: str) -> None:
    assert SERVICES[service]["restart"] == ("no" if service in {"deploy", "upgrade"} else "unless-stopped")


@pytest.mark.parametrize("service", SERVICES)
def test_ports_are_this_machines_alone(service: str) -> None:
    assert [port for port in SERVICES[service].get("ports", []) if not port.startswith("127.0.0.1:")] == []


def test_no_secret_has_a_default() -> None:
    secrets = re.findall(r"\$\{\w*(?:PASSWORD|KEY|TOKEN|SECRET)\w*(.*?)\}", COMPOSE)

    assert secrets
    assert [default for default in secrets if not default.startswith(":?")] == []
    assert not re.search(r"(?:PASSWORD|KEY|TOKEN|SECRET)\w*: (?!\$\{)", COMPOSE)


def test_services_wait_for_services_that_can_be_waited_for() -> None:
    awaited = {
        (name, one["condition"]) for service in SERVICES.values() for name, one in service.get("depends_on", {}).items()
    }

    assert awaited == {
        ("postgres", "service_healthy"),
        ("prefect", "service_healthy"),
        ("deploy", "service_completed_successfully"),
        ("upgrade", "service_completed_successfully"),
    }
    assert all("test" in SERVICES[name]["healthcheck"] for name, state in awaited if state == "service_healthy")


def test_workers_share_a_database_and_a_folder_of_thumbnails(monkeypatch: pytest.MonkeyPatch) -> None:
    given = dict(SERVICES["worker"]["environment"])
    address = re.fullmatch(r"\$\{SELFIEGATE_DATABASE-(.+)\}", given["SELFIEGATE_DATABASE"])
    assert address
    given["SELFIEGATE_DATABASE"] = address[1].replace("${DATABASE_PASSWORD:?}", "secret")
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    settings = load_settings()

    assert not settings.is_of_one_machine
    assert str(settings.thumbnails.folder).startswith("/data/")
    assert SERVICES["bridge"]["environment"] == SERVICES["upgrade"]["environment"] == SERVICES["worker"]["environment"]


def test_postgresql_makes_our_database_by_a_script_that_is_there() -> None:
    (script,) = (one for one in SERVICES["postgres"]["volumes"] if "docker-entrypoint-initdb.d" in one)

    assert (ROOT / "deployments" / script.split(":")[0]).is_file()
    assert {"POSTGRES_USER", "POSTGRES_DB", "DATABASE_PASSWORD"} <= SERVICES["postgres"]["environment"].keys()


def test_every_server_that_we_start_removes_old_runs_and_events() -> None:
    (pod,) = (
        one
        for one in yaml.safe_load_all((ROOT / "deployments/kubernetes/prefect.yaml").read_text())
        if one["kind"] == "Deployment"
    )
    in_kubernetes = {one["name"]: one["value"] for one in pod["spec"]["template"]["spec"]["containers"][0]["env"]}
    kept = TypeAdapter(timedelta).validate_python(RETENTION["PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD"])

    assert RETENTION.items() <= SERVICES["prefect"]["environment"].items()
    assert RETENTION.items() <= in_kubernetes.items()
    assert kept == timedelta(days=prune.parameters.properties["days"]["default"])


def test_workers_can_be_scaled() -> None:
    assert not {"ports", "container_name"} & SERVICES["worker"].keys()


@pytest.mark.parametrize("line", re.findall(r"^(?:ENTRYPOINT|CMD|    CMD) .*", DOCKERFILE, re.MULTILINE))
def test_processes_get_signals_themselves(line: str) -> None:
    assert line.split(maxsplit=1)[1].startswith("[")


def test_the_image_runs_as_nobody_in_particular() -> None:
    assert re.findall(r"^USER (.*)", DOCKERFILE, re.MULTILINE) == ["1000"]


def test_a_gpu_worker_gets_a_gpu_and_is_started_only_when_asked_for() -> None:
    worker = SERVICES["gpu-worker"]
    (device,) = worker["deploy"]["resources"]["reservations"]["devices"]

    assert worker["profiles"] == ["gpu"]
    assert device == {"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}
    assert re.search(rf"^FROM \w+ AS {worker['build']['target']}$", DOCKERFILE, re.MULTILINE)


def test_each_lock_has_one_build_of_onnxruntime() -> None:
    """Both builds are the same files: who is installed last overwrites the other."""

    def builds(lock: str) -> list[str]:
        return re.findall(r"^(onnxruntime[\w-]*)==", (ROOT / lock).read_text(), re.MULTILINE)

    assert builds("requirements.lock") == ["onnxruntime"]
    assert builds("requirements-gpu.lock") == ["onnxruntime-gpu"]


def test_the_gpu_lock_has_what_the_image_installs_at_the_same_versions() -> None:
    def versions(lock: str) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for name, version in re.findall(r"^([\w.-]+)==([\w.]+)", (ROOT / lock).read_text(), re.MULTILINE):
            found.setdefault(name, set()).add(version)
        return found

    cpu, gpu = versions("requirements.lock"), versions("requirements-gpu.lock")
    more = {name for name in gpu if not (gpu[name] <= cpu.get(name, set()))}

    assert {name for name in more if not name.startswith("nvidia-")} == {"onnxruntime-gpu"}
    assert {"insightface", "prefect", "boto3", "nvidia-cudnn-cu13", "nvidia-cublas"} <= gpu.keys()
    assert "://" not in (ROOT / "requirements-gpu.lock").read_text()


def test_lock_and_image_have_every_extra() -> None:
    """`gpu` takes the place of `insightface`, so neither can say `--all-extras`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    every = sorted(project["optional-dependencies"])

    assert sorted(re.findall(r"--extra (\w+)", (ROOT / "Makefile").read_text())) == every
    assert sorted([*re.findall(r"--extra (\w+)", DOCKERFILE), "gpu"]) == every


def test_what_the_image_takes_is_there_and_holds_all_packages() -> None:
    taken = re.findall(r"^!(\S+?)/?$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)

    assert [name for name in taken if not (ROOT / name).exists()] == []
    assert {
        "selfiegate",
        "tasks",
        "flows",
        "deployments",
        "prefect.yaml",
        "requirements.lock",
        "requirements-gpu.lock",
    } <= set(taken)


def test_every_deployment_names_a_flow_and_parameters_that_it_takes() -> None:
    from prefect.flows import load_flow_from_entrypoint

    found = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]

    assert sorted(one["name"] for one in found) == sorted([*OURS, "audit"])
    for one in found:
        path, name = one["entrypoint"].split(":")
        flow: Flow[..., Any] = load_flow_from_entrypoint(f"{ROOT / path}:{name}")
        given = [one.get("parameters", {}), *(each.get("parameters", {}) for each in one.get("schedules", []))]
        given += [each["parameters"] for each in one.get("triggers", [])]
        assert {parameter for each in given for parameter in each} <= flow.parameters.properties.keys()


def test_the_schedules_are_on_or_off_as_the_operations_page_says() -> None:
    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    shipped = {one["name"]: each["active"] for one in deployments for each in one.get("schedules", [])}
    page = (ROOT / "docs/operations.md").read_text().partition("## Schedules")[2].partition("\n## ")[0]
    told = re.findall(r"^\| `([a-z-]+)` \| [^|]+ \| (yes|no) \|", page, re.MULTILINE)

    assert {name: on == "yes" for name, on in told} == shipped
    assert shipped == {"reconcile": True, "audit": True, "prune": True, "backfill": False}


def test_the_audit_repairs_as_it_is_shipped() -> None:
    """What a process leaves that slept past its lease goes by itself (`tests/system/test_sleeper`)."""
    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    (audit,) = (one for one in deployments if one["name"] == "audit")

    assert audit["parameters"] == {"audit": True, "repair": True}
