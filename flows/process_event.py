"""Every photo that an event names, in whatever shape AWS or the workshop's state machine gave it."""

from __future__ import annotations

from typing import Annotated, Any

from prefect import flow
from pydantic import Field

from flows.process_photo import process_photo
from selfiegate.model import Verdict
from tasks.photos import find_uploads


@flow(name="process-event", persist_result=False, result_serializer="json")
async def process_event(
    event: Annotated[
        dict[str, Any],
        Field(description='{"userId", "s3Bucket", "s3Key"}, its batch form, or an S3, EventBridge or CloudTrail event'),
    ],
) -> list[Verdict | None]:
    """Process the photos of one event, one after the other, each as a run of its own."""
    found = await find_uploads(event)
    states = [await process_photo(one.photo, one.user_id, one.upload_order, return_state=True) for one in found]
    return [await state.aresult() for state in states]  # a fault raises here, when all others are done
