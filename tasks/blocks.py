"""What Prefect users keep in blocks: AWS credentials, and where notices go."""

from __future__ import annotations

from typing import Any

from prefect.blocks.core import Block

from selfiegate.aws_settings import AwsSettings
from selfiegate.errors import BackendMisconfigured, BackendUnavailable
from selfiegate.model import Verdict
from selfiegate.report import plain
from selfiegate.runtime import Runtime, open_runtime
from selfiegate.settings import Settings


def open_with_blocks(settings: Settings) -> Runtime:
    """Build the runtime with the blocks that the settings name."""
    if settings.aws.credentials_block:
        from selfiegate.aws import take_sessions_from

        take_sessions_from(_session)
    block = settings.notification_block
    return open_runtime(settings, [BlockNotices(block)] if block else [])


def load(name: str, setting: str) -> Any:
    """Load a block by 'type/name'; called from threads, where Prefect's client is synchronous."""
    try:
        return Block.load(name)
    except ValueError as error:
        raise BackendMisconfigured(f"there is no Prefect block {name!r} ({error}); mend {setting}") from error


def _session(settings: AwsSettings) -> Any:
    """Return the block's session; only its region gives way to a set one."""
    import prefect_aws  # noqa: F401  registers the block's type

    block = load(f"aws-credentials/{settings.credentials_block}", "SELFIEGATE_AWS__CREDENTIALS_BLOCK")
    if settings.region:
        block = block.model_copy(update={"region_name": settings.region})
    return block.get_boto3_session()


class BlockNotices:
    """Sends notices through any Prefect notification block: Slack, Teams, webhook and so on."""

    def __init__(self, name: str) -> None:
        self._name = name

    def notify(self, verdict: Verdict) -> None:
        """Send the reasons of a verdict; one without reasons has nothing to tell."""
        if not verdict.reasons:
            return
        about = f"{plain(verdict.photo.name)} of {plain(verdict.user_id)}"
        reasons = "\n".join(f"- {reason.message}" for reason in verdict.reasons)
        block = load(self._name, "SELFIEGATE_NOTIFICATION_BLOCK")
        try:
            block.notify(f"{about}\n{reasons}", subject="Non-compliant photo encountered")
        except Exception as error:  # each block raises its own
            raise BackendUnavailable(f"the Prefect block {self._name}: {type(error).__name__}: {error}") from error
