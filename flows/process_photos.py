"""Many photos that waited together, from upload to verdict: the express lane."""

from __future__ import annotations

from typing import Annotated, Any

from prefect import State, flow
from prefect.runtime import flow_run
from prefect.states import Completed
from pydantic import Field

from flows.process_photo import process_photo
from selfiegate import express
from selfiegate.ingestion.photo_requests import PhotoRequest
from tasks.express import counts_of, in_words, meter, show_ends
from tasks.run_history import name_users
from tasks.steps import as_task, opened


def run_name() -> str:
    """Name a run after how many photos it takes."""
    return f"{len(flow_run.parameters['photos'])} photos"


@flow(name="process-photos", flow_run_name=run_name, persist_result=False, result_serializer="json")
async def process_photos(
    photos: Annotated[list[PhotoRequest], Field(min_length=1, max_length=80, description="Photos with their users")],
) -> dict[str, Any]:
    """Check many selfies at the speed of the models, each as `process-photo` does, and tell users what is wrong.

    Ends Completed, named Processed, with a table of what became of each photo. A photo that fails here gets a run of
    `process-photo` of its own at once, and that run is the one that fails. What is done with the photos together stands
    in `selfiegate.express`.
    """
    await name_users({one.user_id for one in photos})
    await opened()
    ends = await express.process_photos(as_task, run_alone, photos, str(flow_run.id), meter)
    await show_ends(ends)
    counts = counts_of(ends)
    return Completed(name="Processed", message=in_words(counts), data=counts)  # type: ignore[return-value]


async def run_alone(one: PhotoRequest) -> tuple[str, str]:
    """Run a photo as a run of its own; return how that ended, and its id. A fault shows as a red run."""
    state: State[Any] = await process_photo(one.photo, one.user_id, one.upload_order, return_state=True)
    return str(state.name), str(state.state_details.flow_run_id)
