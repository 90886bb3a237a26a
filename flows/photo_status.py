"""What became of one user's photos."""

from __future__ import annotations

from typing import Annotated

from prefect import flow
from prefect.states import Completed
from pydantic import Field

from selfiegate.photo_status import UserStatus
from selfiegate.user_ids import UserId
from tasks.photo_status import look_at_photos, show_status
from tasks.steps import opened


@flow(name="photo-status", flow_run_name="{user_id}: photos", persist_result=False, result_serializer="json")
async def photo_status(
    user_id: Annotated[UserId, Field(description="Whose photos")],
    limit: Annotated[int, Field(ge=1, le=1000, description="Photos to show, the newest, at most")] = 50,
) -> UserStatus:
    """Show what became of a user's photos: verdict, reasons, notice and the run, whatever took them. Changes nothing.

    Ends Completed, named Known or Unknown; the table is among the artifacts. It shows nothing biometric and no other
    user. An erasure of the user removes this run, too.
    """
    await opened()
    found = await look_at_photos(user_id, limit)
    await show_status(found)
    message = f"{len(found.photos)} photos" + (f", {found.more} older ones are not shown" if found.more else "")
    return Completed(  # type: ignore[return-value]
        name="Known" if found.is_known else "Unknown", message=message, data=found
    )
