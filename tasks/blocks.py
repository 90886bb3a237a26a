"""What Prefect users keep in blocks: AWS credentials, and where notices go."""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import httpx
from prefect.blocks.core import Block

from selfiegate.aws.settings import AwsSettings
from selfiegate.errors import BackendMisconfigured, BackendUnavailable, WrongSetting
from selfiegate.model import Verdict
from selfiegate.runtime import Runtime, open_runtime
from selfiegate.settings import Settings
from selfiegate.untrusted_text import plain

if TYPE_CHECKING:  # boto3 is loaded where settings name AWS
    from selfiegate.aws.clients import Access


def connect(settings: Settings) -> None:
    """Let AWS clients be made with the blocks that the settings name, and wait for the limits in Prefect."""
    if settings.aws.credentials_block or settings.aws.s3_block:
        from selfiegate.aws.clients import take_access_from

        take_access_from(_access)
    if settings.aws.rate_limits:
        from selfiegate.aws.clients import throttle_with

        throttle_with(_wait_for_slot)


def open_with_blocks(settings: Settings) -> Runtime:
    """Build the runtime with the blocks that the settings name."""
    connect(settings)
    block = settings.notification_block
    return open_runtime(settings, [BlockNotices(block)] if block else [])


def load(name: str, setting: str) -> Any:
    """Load a block by 'type/name'; `setting` is what names it."""
    try:
        return _ended(Block.load(name))
    except ValueError as error:
        raise BackendMisconfigured(f"there is no Prefect block {name!r} ({error}); mend {setting}") from error
    except httpx.HTTPError as error:
        raise BackendUnavailable(f"Prefect's API does not give the block {name!r}: {error}") from error


def _ended(answer: Any) -> Any:
    """Return what a method of Prefect's gives, in the thread of a step.

    The thread has no loop, but it inherits the context of the flow's; so some of Prefect's methods return a
    coroutine there.
    """
    return asyncio.run(answer) if inspect.iscoroutine(answer) else answer


def _wait_for_slot(action: str) -> None:
    """Wait for a slot of a global concurrency limit; where none has this name, for nothing."""
    from prefect.concurrency.sync import rate_limit

    try:
        rate_limit(f"rekognition-{action}", timeout_seconds=30)
    except TimeoutError as error:
        raise BackendUnavailable(f"no slot of the limit rekognition-{action} came free in 30 s") from error
    except httpx.HTTPError as error:
        raise BackendUnavailable(f"Prefect's API does not tell of the limit rekognition-{action}: {error}") from error


def _access(service: str, settings: AwsSettings) -> Access:
    """Return the access that blocks give to a service; S3 may have a block, and so a region, of its own."""
    import prefect_aws  # registers the blocks' types, too

    from selfiegate.aws.clients import access_of_environment

    if service == "s3" and settings.s3_block:
        block = load(settings.s3_block, "SELFIEGATE_AWS__S3_BLOCK")
        credentials = getattr(block, "credentials", block)
        access = _access_by(credentials, credentials.region_name or settings.region)
        endpoint = access.arguments.get("endpoint_url") or settings.endpoint_of(service) or settings.endpoint_url
        if isinstance(credentials, prefect_aws.MinIOCredentials) and not endpoint:
            raise WrongSetting(
                f"SELFIEGATE_AWS__S3_BLOCK is {settings.s3_block!r}, and its key would go to AWS: "
                "name MinIO's address in the block, or in SELFIEGATE_AWS__S3_ENDPOINT_URL"
            )
        return access
    if settings.credentials_block:
        credentials = load(settings.credentials_block, "SELFIEGATE_AWS__CREDENTIALS_BLOCK")
        return _access_by(credentials, settings.region or credentials.region_name)
    return access_of_environment(service, settings)


def _access_by(credentials: Any, region: str | None) -> Access:
    from selfiegate.aws.clients import Access

    session = credentials.model_copy(update={"region_name": region}).get_boto3_session()
    return Access(session, credentials.aws_client_parameters.get_params_override())


# Slack reads <!channel> and <https://...|text> in what a webhook sends; file names come from strangers.
_NO_MENTIONS = str.maketrans("<>", "‹›")


class BlockNotices:
    """Sends notices through any Prefect notification block: Slack, Teams, webhook and so on."""

    def __init__(self, name: str) -> None:
        self._name = self.way = name

    def notify(self, verdict: Verdict, told: Collection[str] = ()) -> None:
        """Send the reasons of a verdict; one without reasons has nothing to tell."""
        if not verdict.reasons:
            return
        about = f"{plain(verdict.photo.name)} of {plain(verdict.user_id)}".translate(_NO_MENTIONS)
        reasons = "\n".join(f"- {reason.message}" for reason in verdict.reasons)
        block = load(self._name, "SELFIEGATE_NOTIFICATION_BLOCK")
        try:
            _ended(block.notify(f"{about}\n{reasons}", subject="Non-compliant photo encountered"))
        except Exception as error:  # each block raises its own
            # A webhook's address is its password, and errors name it; neither text nor cause may reach a log.
            why = re.sub(r"\w+://\S+", "(its address)", f"{type(error).__name__}: {error}")
            raise BackendUnavailable(f"the Prefect block {self._name}: {why}") from None
