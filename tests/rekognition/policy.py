"""IAM for this endpoint: which call an identity-based policy allows, as far as Rekognition's own actions go."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

from tests.rekognition.protocol import AwsError

Statement = dict[str, Any]
"""Effect, Action and Resource, as in a policy document: texts or lists, with * and ?."""

_WHO = "arn:aws:sts::{account}:assumed-role/tests/tests"
_KEYS = {"Effect", "Action", "Resource", "Sid"}


def checked(statements: Sequence[Statement]) -> Sequence[Statement]:
    """Return statements that this endpoint understands; raises `ValueError` for others."""
    for statement in statements:
        if not {"Effect", "Action", "Resource"} <= statement.keys() <= _KEYS:
            raise ValueError(f"{statement} is no statement of an Effect, an Action and a Resource")
    return statements


def require_allowed(
    statements: Sequence[Statement] | None, operation: str, asked: dict[str, Any], region: str, account: str
) -> None:
    """Raise what AWS answers to a call that no statement allows, or one denies; without statements all is allowed.

    DetectFaces and ListCollections know no resource: there only "*" allows them.
    """
    if statements is None:
        return
    name = asked.get("CollectionId")
    resource = f"arn:aws:rekognition:{region}:{account}:collection/{name}" if name else "*"
    effects = {one["Effect"] for one in statements if _covers(one, f"rekognition:{operation}", resource)}
    if "Deny" in effects or "Allow" not in effects:
        denied = "Deny" in effects
        why = "with an explicit deny in an" if denied else "because no"
        end = "" if denied else f" allows the rekognition:{operation} action"
        raise AwsError(
            "AccessDeniedException",
            f"User: {_WHO.format(account=account)} is not authorized to perform: rekognition:{operation} on resource: "
            f"{resource} {why} identity-based policy{end}",
        )


def _covers(statement: Statement, action: str, resource: str) -> bool:
    is_action = any(fnmatchcase(action.lower(), one.lower()) for one in _list(statement["Action"]))
    return is_action and any(fnmatchcase(resource, one) for one in _list(statement["Resource"]))


def _list(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value
