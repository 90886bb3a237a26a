"""Walks every permission that the flow needs in AWS and says what to do where one is missing."""

from __future__ import annotations

import re
from typing import Literal

from rich.table import Table

from deployments.aws.permissions import permissions
from deployments.aws.probes import Missing, Permission, Where
from deployments.aws.regions import SETTING, compare, unknown
from selfiegate.aws.clients import client
from selfiegate.aws.settings import AwsSettings
from selfiegate.cli.console import out, shown
from selfiegate.errors import SelfiegateError
from selfiegate.values import Value

Status = Literal["ok", "missing", "not proven"]

_DENIED = {"403", "AccessDenied", "AccessDeniedException", "AuthorizationError", "AuthorizationErrorException"}
# ValidationException: a table or an index of this name has other keys.
_ABSENT = {
    "AWS.SimpleQueueService.NonExistentQueue",
    "NoSuchBucket",
    "NotFound",
    "NotFoundException",
    "QueueDoesNotExist",
    "ResourceNotFound",
    "ResourceNotFoundException",
    "ValidationException",
}
_MARKS = {"ok": "[green]✓[/]", "missing": "[red]✗[/]", "not proven": "[yellow]?[/]"}


class Finding(Value):
    """What is known of one permission; `todo` is empty only where nothing is to be done, `note` is worth knowing."""

    status: Status
    service: str
    action: str
    resource: str
    todo: str = ""
    note: str = ""


def examine(settings: AwsSettings, photo_bucket: str | None) -> bool:
    """Print one row per permission; return whether none is missing."""
    findings = check(settings, photo_bucket)
    table = Table(box=None, show_header=False, padding=(0, 1))
    for _ in range(3):
        table.add_column(overflow="fold")  # a shortened ARN would be of no use
    for finding in findings:
        lines = filter(None, (finding.resource, finding.todo, finding.note))
        table.add_row(f"{_MARKS[finding.status]} {finding.status}", finding.action, "\n".join(map(shown, lines)))
    out.print(table)
    return all(finding.status != "missing" for finding in findings)


def check(settings: AwsSettings, photo_bucket: str | None) -> list[Finding]:
    """Try each permission with this process's credentials; changes nothing that stays.

    Costs a few calls of Rekognition. Of what the bridge may do, it tries what settings name queues for.
    """
    region = str(client("sts", settings).meta.region_name)
    if fault := unknown(settings, region):
        return [_region(region, fault)]
    credentials, where = _credentials(settings)
    if where is None:
        return [credentials]
    found: dict[Permission, Finding] = {}
    for permission in permissions(settings, photo_bucket, where):
        before = found[permission.after] if permission.after else None
        found[permission] = _examined(permission, settings, before)
    return [credentials, _region(region, *compare(settings, photo_bucket, region)), *found.values()]


def _region(region: str, todo: str, note: str = "") -> Finding:
    status: Status = "missing" if todo else "ok"
    return Finding(status=status, service="aws", action=SETTING, resource=region, todo=todo, note=note)


def _credentials(settings: AwsSettings) -> tuple[Finding, Where | None]:
    """Tell who we are, which needs no permission, and where."""
    anybody = Permission("sts:GetCallerIdentity", "*", None)
    sts = client("sts", settings)
    try:
        arn = str(sts.get_caller_identity()["Arn"])
    except Exception as error:  # botocore's; nothing can be walked without credentials
        mend = "set AWS_PROFILE, a role, or SELFIEGATE_AWS__CREDENTIALS_BLOCK; STS must be in reach"
        return _finding(anybody, "missing", f"no usable credentials: {error}; {mend}"), None
    _, partition, _, _, account, _ = arn.split(":", 5)
    return _finding(anybody, "ok", f"as {arn}"), Where(partition, str(sts.meta.region_name), account)


def _examined(permission: Permission, settings: AwsSettings, before: Finding | None) -> Finding:
    if permission.probe is None:
        return _finding(permission, "not proven", permission.unproven)
    if before and before.status != "ok":
        return _finding(permission, "not proven", f"cannot be told before {before.action} is ok")
    try:
        note = permission.probe(client(permission.service, settings))
    except Missing as missing:
        return _finding(permission, "missing", str(missing))
    except SelfiegateError:
        raise
    except Exception as error:  # botocore's, which only the adapters import: told apart by their codes
        return _told(permission, error)
    return _finding(permission, "ok", note=note if isinstance(note, str) else "")


def _told(permission: Permission, error: Exception) -> Finding:
    """Read an error of AWS: who may not is told so before anything else about the request."""
    code, message = _code_and_message(error)
    if code in permission.proves:
        return _finding(permission, "ok")
    if code in _DENIED and permission.is_operators:
        return _finding(permission, "not proven", "refused to this role; the operator's (OperatorRole) may look")
    if code in _DENIED and permission.is_bridges:
        return _finding(permission, "not proven", "refused to this role; the bridge's (BridgeRole) may do so")
    if code in _DENIED:
        return _finding(permission, "missing", f"allow {_refused(message) or permission.action} on this resource")
    if code in _ABSENT and permission.absent:
        return _finding(permission, "missing", permission.absent)
    if code:
        return _finding(permission, "not proven", f"AWS answered {code}: {message}; try again")
    mend = "see SELFIEGATE_AWS__REGION, SELFIEGATE_AWS__ENDPOINT_URL and the network"
    return _finding(permission, "missing", f"no answer: {error}; {mend}")


def _code_and_message(error: Exception) -> tuple[str, str]:
    response = getattr(error, "response", None) or {}
    details = response.get("Error", {})
    return str(details.get("Code", "")), str(details.get("Message", ""))


def _refused(message: str) -> str:
    """Return the action that AWS names, which may be another one: kms:GenerateDataKey, say."""
    named = re.search(r"not authorized to perform: ([\w-]+:\w+)", message)
    return named[1] if named else ""


def _finding(permission: Permission, status: Status, todo: str = "", note: str = "") -> Finding:
    resource, action = permission.resource, permission.action
    return Finding(status=status, service=permission.service, action=action, resource=resource, todo=todo, note=note)
