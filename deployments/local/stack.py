"""AWS's part of `selfiegate up`: the stack of deployments/aws/template.yaml, made in moto's server."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from selfiegate.aws.clients import client, translated
from selfiegate.aws.settings import AwsSettings
from selfiegate.errors import BackendMisconfigured
from selfiegate.settings import load_settings

REGION = "eu-west-1"

_TEMPLATE = Path(__file__).parents[1] / "aws" / "template.yaml"
_STACK = "selfiegate"


def make_stack(endpoint: str) -> dict[str, str]:
    """Deploy the template, and return what a worker and a bridge have to know of it."""
    os.environ.update(AWS_ACCESS_KEY_ID="up", AWS_SECRET_ACCESS_KEY="up")  # noqa: S106  moto asks for some
    aws = AwsSettings(endpoint_url=endpoint, region=REGION)
    cloudformation, s3 = client("cloudformation", aws), client("s3", aws)
    with translated("the stack"):
        if not _TEMPLATE.is_file():
            raise BackendMisconfigured("`selfiegate up` runs from a checkout; see CONTRIBUTING.md")
        template = _TEMPLATE.read_text()
        with suppress(cloudformation.exceptions.AlreadyExistsException):  # a first try's reply came too late
            cloudformation.create_stack(StackName=_STACK, TemplateBody=template, Capabilities=["CAPABILITY_IAM"])
        cloudformation.get_waiter("stack_create_complete").wait(
            StackName=_STACK, WaiterConfig={"Delay": 1, "MaxAttempts": 60}
        )
        (made,) = cloudformation.describe_stacks(StackName=_STACK)["Stacks"]
        outputs = {output["OutputKey"]: output["OutputValue"] for output in made["Outputs"]}
        bucket = outputs["PhotoBucketName"]
        # What moto leaves out of a bucket's template.
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        s3.put_bucket_notification_configuration(
            Bucket=bucket, NotificationConfiguration={"EventBridgeConfiguration": {}}
        )
    return {
        **dict(line.split("=", 1) for line in outputs["WorkerEnvironment"].splitlines()),
        "SELFIEGATE_KEY_TEMPLATE": load_settings().key_template,
        "SELFIEGATE_BACKEND": "insightface",  # nothing here speaks Rekognition
    }
