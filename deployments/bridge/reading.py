"""Messages of the queue as photos with their users."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from selfiegate.errors import SelfiegateError, WrongInput
from selfiegate.ingestion.messages import read_event
from selfiegate.ingestion.photo_requests import PhotoRequest, photo_request
from selfiegate.ports import PhotoStore
from selfiegate.settings import Settings


class Reading(NamedTuple):
    """What a message says: photos, what is wrong with it, and what could not be looked up now."""

    photo_requests: Sequence[PhotoRequest] = ()
    wrong: Sequence[str] = ()
    later: Sequence[str] = ()


def read(settings: Settings, photos: PhotoStore, body: str) -> Reading:
    """Read each photo of a message by itself: a wrong one does not keep back the others."""
    event = read_event(body)
    photo_requests, wrong, later = [], event.wrong, []
    for upload in event.uploads:
        try:
            photo_requests.append(photo_request(settings, photos, upload))
        except WrongInput as error:
            wrong.append(str(error))
        except SelfiegateError as error:
            later.append(str(error))
    return Reading([one for one in photo_requests if one], wrong, later)
