"""deployments/aws/template.yaml, read, and deployed to moto's server.

moto's CloudFormation knows neither collections nor a table's TTL; both are made by hand. It knows no API destination
either; the webhook's ARN is written in.
"""

from __future__ import annotations

import json
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import boto3
import pytest
import requests
import yaml

from selfiegate.settings import Settings, load_settings

REGION = "eu-west-1"
SENDER = "gate@riders.example"
WEBHOOK = f"arn:aws:events:{REGION}:123456789012:api-destination/webhook"
TEMPLATE = Path(__file__).parents[2] / "deployments" / "aws" / "template.yaml"
COMPUTE = TEMPLATE.with_name("compute.yaml")


class _Loader(yaml.SafeLoader):
    """Reads `!Sub x` as {"Sub": x}."""


def _tagged(loader: _Loader, tag: str, node: yaml.Node) -> dict[str, Any]:
    match node:
        case yaml.ScalarNode():
            return {tag: loader.construct_scalar(node)}
        case yaml.SequenceNode():
            return {tag: loader.construct_sequence(node, deep=True)}
        case yaml.MappingNode():
            return {tag: loader.construct_mapping(node, deep=True)}
    raise TypeError(f"{tag} stands before a {type(node).__name__}")


_Loader.add_multi_constructor("!", _tagged)


def template(path: Path = TEMPLATE) -> dict[str, Any]:
    """Return a template as plain values."""
    found: dict[str, Any] = yaml.load(path.read_text(), _Loader)  # noqa: S506  a safe loader
    return found


class Stack(NamedTuple):
    """A deployed stack: the server's URL, the template's outputs, and the policies with all ARNs filled in."""

    url: str
    outputs: dict[str, str]
    policies: dict[str, list[dict[str, Any]]]

    def client(self, service: str) -> Any:
        """Return a client that may do everything."""
        return boto3.client(service, endpoint_url=self.url, region_name=REGION)

    def granted(self, *policies: str) -> set[tuple[str, str]]:
        """Return what these policies allow, as (action, resource)."""
        statements = [statement for policy in policies for statement in self.policies[policy]]
        return {
            (action, resource)
            for statement in statements
            for action in _listed(statement["Action"])
            for resource in _listed(statement["Resource"])
        }


def deploy(url: str, **parameters: str) -> Stack:
    """Empty moto's server and deploy the template as the stack `selfiegate`."""
    requests.post(f"{url}/moto-api/reset", timeout=10).raise_for_status()
    stack = Stack(url, {}, {})
    cloudformation, iam = stack.client("cloudformation"), stack.client("iam")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # moto names the kinds of resources that it does not know
        cloudformation.create_stack(
            StackName="selfiegate",
            TemplateBody=TEMPLATE.read_text().replace("!GetAtt Webhook.Arn", WEBHOOK),
            Capabilities=["CAPABILITY_IAM"],
            Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()],
        )
    (made,) = cloudformation.describe_stacks(StackName="selfiegate")["Stacks"]
    stack.outputs.update((output["OutputKey"], output["OutputValue"]) for output in made["Outputs"])
    for policy in iam.list_policies(Scope="Local")["Policies"]:
        version = iam.get_policy_version(PolicyArn=policy["Arn"], VersionId=policy["DefaultVersionId"])
        stack.policies[policy["PolicyName"].split("-")[1]] = version["PolicyVersion"]["Document"]["Statement"]
    switch = {"Enabled": True, "AttributeName": "expires_at"}
    stack.client("dynamodb").update_time_to_live(TableName="selfiegate-ledger", TimeToLiveSpecification=switch)
    return stack


@contextmanager
def acting_with(stack: Stack, actions: set[str]) -> Iterator[None]:
    """Be a user who may do these, on everything: moto looks at the actions of policies, hardly at resources."""
    iam, name = stack.client("iam"), f"user-{uuid.uuid4()}"
    iam.create_user(UserName=name)
    statement = {"Effect": "Allow", "Action": sorted(actions), "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=document)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
        patch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
        requests.post(f"{stack.url}/moto-api/reset-auth", data="0", timeout=10).raise_for_status()
        try:
            yield
        finally:
            requests.post(f"{stack.url}/moto-api/reset-auth", data="inf", timeout=10).raise_for_status()


def worker_settings(stack: Stack, **changes: str) -> Settings:
    """Return the settings of a worker that lives in the environment that the stack puts out."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**environment_of(stack), **changes}.items():
            patch.setenv(name, value)
        return load_settings()


def environment_of(stack: Stack) -> dict[str, str]:
    """Return the worker's environment that the stack puts out."""
    return dict(line.split("=", 1) for line in stack.outputs["WorkerEnvironment"].splitlines())


def _listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value
