"""Every photo that an event names, in whatever shape AWS or the workshop's state machine gave it."""

from __future__ import annotations

from typing import Annotated, Any

from prefect import flow
from pydantic import Field

from flows.process_photo import process_photo
from selfiegate.errors import WrongInput
from selfiegate.ingestion.messages import Upload
from selfiegate.model import Verdict
from tasks.photos import find_photo, read_uploads


@flow(name="process-event", persist_result=False, result_serializer="json")
async def process_event(
    event: Annotated[
        dict[str, Any],
        Field(description='{"userId", "s3Bucket", "s3Key"}, its batch form, or an S3, EventBridge or CloudTrail event'),
    ],
) -> list[Verdict | None]:
    """Process the photos of one event, one after the other, each as a run of its own.

    A record that is wrong, or a photo that fails, keeps back no other one. Once all others are done, the run fails
    and names each wrong record; else it fails with the first fault.
    """
    found, wrong = await read_uploads(event)
    ended = [await _processed(upload) for upload in found]
    wrong += [str(end) for end in ended if isinstance(end, WrongInput)]
    if wrong:
        raise WrongInput("; ".join(wrong))
    if faults := [end for end in ended if isinstance(end, Exception)]:
        raise faults[0]
    return [end for end in ended if end is None or isinstance(end, Verdict)]


async def _processed(upload: Upload) -> Verdict | Exception | None:
    """Return a photo's verdict, or the error that it ended with."""
    try:
        one = await find_photo(upload)
        return await process_photo(one.photo, one.user_id, one.upload_order) if one else None
    except Exception as error:  # whatever it is, the other photos come first
        return error
