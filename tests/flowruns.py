"""Runs the flow in tests: one loop for all, since Prefect connects anew for each, which takes longer than the flow."""

from __future__ import annotations

import asyncio

from prefect import State

from flows.process_photo import process_photo
from selfiegate.model import PhotoRef, Verdict
from selfiegate.runtime import Runtime, using

LOOP = asyncio.Runner()


def run(rt: Runtime, photo: PhotoRef, user_id: str, upload_order: str = "") -> State[Verdict | None]:
    """Run one photo of one user and return the flow run's last state."""

    async def process() -> State[Verdict | None]:
        state = await process_photo(photo, user_id, upload_order, return_state=True)
        # While the server writes a run's last events to SQLite it turns new runs away for two seconds.
        await asyncio.sleep(0.3)
        return state

    with using(rt):
        return LOOP.run(process())
