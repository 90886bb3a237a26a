"""The manifests, held against Kubernetes' own schemas and against what they start: no cluster is at hand."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import jsonpatch
import kubernetes_validate
import prefect.settings
import pytest
import typer
import yaml

from deployments.cli import services
from deployments.cli.app import app
from deployments.worker import _LAST_S
from selfiegate.errors import WrongSetting
from selfiegate.settings import Settings, leaves, load_settings
from selfiegate.wrong_settings import env_name

DEPLOYMENTS = Path(__file__).parents[2] / "deployments"
FOLDER = DEPLOYMENTS / "kubernetes"
EXAMPLE = "secrets.example.yaml"
KUSTOMIZATION = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
COMPOSE = yaml.safe_load((DEPLOYMENTS / "compose.yaml").read_text())["services"]
IMAGE = dict(re.findall(r"(\w+)=(\S+)", (DEPLOYMENTS / "Dockerfile").read_text()))
OBJECTS: list[dict[str, Any]] = [
    one for file in sorted(FOLDER.glob("*.yaml")) for one in yaml.safe_load_all(file.read_text()) if "metadata" in one
]
PODS: dict[str, dict[str, Any]] = {
    one["metadata"]["name"]: one["spec"]["template"] for one in OBJECTS if one["kind"] in {"Deployment", "Job"}
}
CONTAINERS: dict[str, dict[str, Any]] = {name: pod["spec"]["containers"][0] for name, pod in PODS.items()}


def named(kind: str) -> dict[str, dict[str, Any]]:
    return {one["metadata"]["name"]: one for one in OBJECTS if one["kind"] == kind}


def of_gpus() -> dict[str, Any]:
    """Return the worker as the folder `gpu` changes it."""
    (patch,) = yaml.safe_load((FOLDER / "gpu" / "kustomization.yaml").read_text())["patches"]
    worker: dict[str, Any] = jsonpatch.apply_patch(
        named(patch["target"]["kind"])[patch["target"]["name"]], yaml.safe_load(patch["patch"])
    )
    return worker


@pytest.mark.parametrize("version", ["1.30", kubernetes_validate.latest_version()])
def test_kubernetes_takes_every_object(version: str) -> None:
    for one in [*OBJECTS, of_gpus()]:
        kubernetes_validate.validate(one, version, strict=True)


def test_a_field_that_kubernetes_does_not_know_is_found() -> None:
    with pytest.raises(kubernetes_validate.ValidationError, match="replica"):
        kubernetes_validate.validate({**OBJECTS[0], "replica": 3}, kubernetes_validate.latest_version(), strict=True)


def test_kustomize_takes_every_file_but_the_example() -> None:
    files = {file.name for file in FOLDER.glob("*.yaml")} - {"kustomization.yaml", EXAMPLE}

    assert set(KUSTOMIZATION["resources"]) == files


def test_each_image_is_one_that_kustomize_names_anew() -> None:
    assert {container["image"] for container in CONTAINERS.values()} == {one["name"] for one in KUSTOMIZATION["images"]}


def test_what_pods_refer_to_is_there() -> None:
    there = {("configMapRef", name) for name in named("ConfigMap")} | {("secretRef", name) for name in named("Secret")}
    asked = {
        (kind, reference["name"])
        for container in CONTAINERS.values()
        for one in container["envFrom"]
        for kind, reference in one.items()
    }

    assert asked == there
    mounted = {(name, mount["name"]) for name, one in CONTAINERS.items() for mount in one["volumeMounts"]}
    assert mounted == {(name, volume["name"]) for name, pod in PODS.items() for volume in pod["spec"]["volumes"]}


def test_the_bridge_alone_knows_the_token_of_webhooks() -> None:
    knows = {name for name, one in CONTAINERS.items() if {"secretRef": {"name": "bridge"}} in one["envFrom"]}

    assert knows == {"bridge"}


def test_services_and_budgets_select_pods_and_pods_are_selected_by_their_own() -> None:
    labels = {name: PODS[name]["metadata"]["labels"] for name in named("Deployment")}
    for name, service in named("Service").items():
        assert service["spec"]["selector"] == labels[name]
    for name, one in (named("Deployment") | named("PodDisruptionBudget")).items():
        assert one["spec"]["selector"]["matchLabels"] == labels[name]
    assert named("PodDisruptionBudget").keys() == {"worker", "bridge"}
    assert all(named("Deployment")[name]["spec"]["replicas"] > 1 for name in named("PodDisruptionBudget"))


def test_commands_are_ours_or_those_of_compose() -> None:
    commands = typer.main.get_command(app)
    for name, container in CONTAINERS.items():
        program, *words = container["args"]
        if program == "selfiegate":
            found: Any = commands
            for word in words:
                found = found.commands[word]
        assert container["args"] == COMPOSE[name]["command"]


def test_every_setting_is_there_and_they_go_together(monkeypatch: pytest.MonkeyPatch) -> None:
    together = dict(named("ConfigMap")["selfiegate"]["data"])
    for secret in ("selfiegate", "bridge"):
        together |= named("Secret")[secret]["stringData"]
    for name, value in together.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(WrongSetting, match="SELFIEGATE_BRIDGE__TOKEN"):  # an example is no secret
        load_settings()
    monkeypatch.setenv("SELFIEGATE_BRIDGE__TOKEN", "0123456789abcdef")
    settings = load_settings()

    assert not settings.is_of_one_machine
    assert settings.aws.thumbnail_bucket  # no disk is shared
    known = {env_name(path) for path, _ in leaves(Settings)}
    given = {name for one in named("Secret").values() for name in one["stringData"]} | together.keys()
    given |= {one["name"] for container in CONTAINERS.values() for one in container.get("env", [])}
    for name in given:
        assert name in known or name.startswith("AWS_") or hasattr(prefect.settings, name), name


def test_addresses_lead_to_services_and_ports_to_what_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    api, services_ = named("ConfigMap")["selfiegate"]["data"]["PREFECT_API_URL"], named("Service")
    ports = {
        name: container["ports"][0]["containerPort"] for name, container in CONTAINERS.items() if "ports" in container
    }

    assert api == f"http://prefect:{services_['prefect']['spec']['ports'][0]['port']}/api"
    assert ports == {
        "prefect": 4200,
        "worker": int(IMAGE["PREFECT_WORKER_WEBSERVER_PORT"]),
        "bridge": load_settings().bridge.port,
    }
    assert {IMAGE["SELFIEGATE_BRIDGE__HOST"], IMAGE["PREFECT_WORKER_WEBSERVER_HOST"]} == {"0.0.0.0"}  # noqa: S104
    for name, service in services_.items():
        assert service["spec"]["ports"][0]["targetPort"] == CONTAINERS[name]["ports"][0]["name"]


@pytest.mark.parametrize("name", named("Deployment"))
def test_each_deployment_is_probed_where_it_answers(name: str) -> None:
    container = CONTAINERS[name]
    probes = [container[kind]["httpGet"] for kind in ("startupProbe", "livenessProbe")]

    path = "/api/health" if name == "prefect" else "/health"
    assert probes == [{"path": path, "port": container["ports"][0]["name"]}] * 2


def test_a_worker_may_drain_before_it_is_killed() -> None:
    patience = inspect.signature(services.worker).parameters["patience"].default
    for name in ("worker", "bridge"):
        grace_s = PODS[name]["spec"]["terminationGracePeriodSeconds"]
        assert patience + _LAST_S < grace_s
    assert COMPOSE["worker"]["stop_grace_period"] == f"{PODS['worker']['spec']['terminationGracePeriodSeconds']}s"


def test_no_two_servers_of_prefect_run_at_once() -> None:
    spec = named("Deployment")["prefect"]["spec"]

    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})


@pytest.mark.parametrize("name", PODS)
def test_pods_are_restricted_and_write_to_volumes_alone(name: str) -> None:
    pod, container = PODS[name]["spec"], CONTAINERS[name]

    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert (pod["securityContext"]["runAsNonRoot"], pod["automountServiceAccountToken"]) == (True, False)
    written = {"/tmp"} | ({"/data"} if container["args"][0] == "selfiegate" else set())  # noqa: S108
    assert {mount["mountPath"] for mount in container["volumeMounts"]} == written
    assert {"memory"} <= container["resources"]["limits"].keys() <= {"memory", "nvidia.com/gpu"}


def test_prefects_servers_ui_is_unpacked_where_its_user_may_write() -> None:
    """The image's own folder belongs to root: without it the server would serve no UI."""
    assert IMAGE["PREFECT_UI_STATIC_DIRECTORY"].startswith("/tmp/")  # noqa: S108
    homes = [CONTAINERS["prefect"]["env"][0]["value"], named("ConfigMap")["selfiegate"]["data"]["PREFECT_HOME"]]
    assert homes == ["/tmp/prefect"] * 2  # noqa: S108


def test_a_gpu_worker_asks_for_one_gpu_and_its_image() -> None:
    worker = of_gpus()["spec"]["template"]["spec"]

    assert worker["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert worker["containers"][0]["image"] == KUSTOMIZATION["images"][0]["newName"] + "-gpu:1"
    assert worker["containers"][0]["args"] == CONTAINERS["worker"]["args"]
