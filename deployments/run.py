"""Runs the flow in this process, one photo after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from flows.process_photo import process_photo
from selfiegate.errors import BackendUnavailable, PhotoInProgress, SelfiegateError
from selfiegate.model import PhotoRef, Verdict


def verdicts(photos: Iterable[tuple[PhotoRef, str]]) -> list[Verdict]:
    """Run each photo of each user and return the verdicts; a fault ends it with a `SelfiegateError`."""

    async def verdict(photo: PhotoRef, user_id: str) -> Verdict:
        found = await process_photo(photo, user_id)
        if found is None:
            raise PhotoInProgress(f"another run is working on {photo.name} of {user_id}; try again in a minute")
        return found

    async def run() -> list[Verdict]:
        return [await verdict(photo, user_id) for photo, user_id in photos]

    try:
        return asyncio.run(run())
    except SelfiegateError:
        raise
    except Exception as error:  # Prefect's, when its API does not answer
        raise BackendUnavailable(f"{type(error).__name__}: {error}; `selfiegate doctor` may know more") from error
