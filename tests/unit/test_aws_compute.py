"""The template of worker and bridge on ECS: what its tasks run, read and may; deployed to moto's server."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path
from typing import Any

import boto3
import pytest
import requests

from tests.aws.stack import COMPUTE, REGION, template

DOCKERFILE = Path(__file__).parents[2] / "deployments" / "Dockerfile"
ROLE = "arn:aws:iam::123456789012:role/"
NEEDED = {
    "Image": "123456789012.dkr.ecr.eu-west-1.amazonaws.com/selfiegate:1",
    "EnvironmentFile": "arn:aws:s3:::config/selfiegate.env",
    "WorkerRoleArn": f"{ROLE}worker",
    "BridgeRoleArn": f"{ROLE}bridge",
    "PrefectApiUrl": "https://api.prefect.cloud/api/accounts/a/workspaces/w",
    "Subnets": "subnet-1,subnet-2",
    "SecurityGroups": "sg-1",
}
SECRET = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:prefect-a1b2c3"  # noqa: S105  an ARN


def tasks(url: str, **more: str) -> dict[str, Any]:
    """Empty moto's server, deploy, and return each task definition by its container's name."""
    requests.post(f"{url}/moto-api/reset", timeout=30).raise_for_status()
    cloudformation, ecs = (
        boto3.client(name, endpoint_url=url, region_name=REGION) for name in ("cloudformation", "ecs")
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # moto names what it does not know
        cloudformation.create_stack(
            StackName="compute",
            TemplateBody=COMPUTE.read_text(),
            Capabilities=["CAPABILITY_IAM"],
            Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in (NEEDED | more).items()],
        )
    found = [
        ecs.describe_task_definition(taskDefinition=arn)["taskDefinition"]
        for arn in ecs.list_task_definitions()["taskDefinitionArns"]
    ]
    return {one["containerDefinitions"][0]["name"]: one for one in found}


def task(name: str) -> dict[str, Any]:
    """Return a task definition as the template writes it."""
    found: dict[str, Any] = template(COMPUTE)["Resources"][f"{name.title()}Task"]["Properties"]
    return found


def test_worker_and_bridge_run_with_their_own_roles_and_the_stacks_environment(moto: str) -> None:
    found = tasks(moto)

    for name in ("worker", "bridge"):
        (container,) = found[name]["containerDefinitions"]
        assert task(name)["TaskRoleArn"] == {"Ref": f"{name.title()}RoleArn"}  # moto leaves it out
        assert container["command"] == ["selfiegate", name]
        assert container["environmentFiles"] == [{"type": "s3", "value": NEEDED["EnvironmentFile"]}]
        assert container["environment"] == [{"name": "PREFECT_API_URL", "value": NEEDED["PrefectApiUrl"]}]
        assert not container.get("secrets")


def test_the_api_key_comes_from_the_secret_alone(moto: str) -> None:
    found = tasks(moto, PrefectApiKeySecret=SECRET)

    for one in found.values():
        assert one["containerDefinitions"][0]["secrets"] == [{"name": "PREFECT_API_KEY", "valueFrom": SECRET}]


def test_tasks_are_asked_for_their_health_as_the_image_is() -> None:
    health = re.search(r"HEALTHCHECK[^[]*(\[.*\])", DOCKERFILE.read_text())
    containers = [task(name)["ContainerDefinitions"][0] for name in ("worker", "bridge")]

    assert health
    image = ["CMD", *json.loads(health[1])]
    assert [one["HealthCheck"]["Command"] for one in containers] == [image, image]


@pytest.mark.parametrize("name", [*NEEDED, "PrefectApiKeySecret", "Workers", "Cpu", "Memory", "LogDays", "LogKeyArn"])
def test_each_parameter_is_used(name: str) -> None:
    assert re.search(rf"!Ref {name}\b", COMPUTE.read_text())
