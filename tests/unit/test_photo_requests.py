"""Which photo an event means, whose it is, and which of two is the newer."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from selfiegate.errors import WrongInput
from selfiegate.ingestion.messages import Upload
from selfiegate.ingestion.photo_requests import photo_request
from selfiegate.model import PhotoRef
from selfiegate.settings import Settings
from selfiegate.stores.memory_photos import MemoryPhotos


class Described(MemoryPhotos):
    """Photos whose uploader wrote something beside them."""

    def __init__(self, **metadata: str) -> None:
        super().__init__()
        self._metadata = metadata

    def metadata(self, photo: PhotoRef) -> Mapping[str, str]:
        return self._metadata


def upload(**told: str) -> Upload:
    return Upload.model_validate({"bucket": "photos", "key": "ann/selfie.jpg", "version": "v1", **told})


def order(**told: str) -> str:
    found = photo_request(Settings(), MemoryPhotos(), upload(**told))
    assert found
    return found.upload_order


def test_uploads_are_ordered_by_time_and_then_by_sequencer() -> None:
    told = [
        {"time": "2026-11-20T14:35:33Z", "sequencer": "0062E99A"},
        {"time": "2026-11-20T14:35:33Z", "sequencer": "62e99b"},
        {"time": "2026-11-20T14:35:33.250Z", "sequencer": "01"},
        {"time": "2026-11-20T16:35:34+02:00"},
    ]

    orders = [order(**each) for each in told]
    assert orders == sorted(orders)
    assert len(set(orders)) == 4


def test_an_event_without_a_time_leaves_the_order_to_the_claim() -> None:
    assert order(sequencer="0062E99A") == ""


def test_a_time_beyond_2286_is_the_newest_there_is() -> None:
    """Orders are compared as text, so all have equally many digits."""
    far, now = order(time="9026-01-02T03:04:05Z"), order(time="2026-11-20T14:35:33Z")

    assert len(far) == len(now)
    assert far > now
    assert order(time="2300-01-01T00:00:00Z") > now


def test_a_time_that_is_none_is_wrong_input() -> None:
    with pytest.raises(WrongInput, match="'yesterday' is not ISO 8601"):
        order(time="yesterday")


def test_the_user_may_come_from_metadata() -> None:
    found = photo_request(Settings(user_metadata="User-Id"), Described(**{"user-id": "bob"}), upload())

    assert found
    assert found.user_id == "bob"


@pytest.mark.parametrize(("metadata", "message"), [({}, "no metadata 'user-id'"), ({"user-id": "a\nb"}, "control")])
def test_metadata_that_names_nobody_is_never_guessed(metadata: dict[str, str], message: str) -> None:
    with pytest.raises(WrongInput, match=message):
        photo_request(Settings(user_metadata="user-id"), Described(**metadata), upload())


def test_our_own_thumbnails_do_not_come_round_as_photos() -> None:
    settings = Settings.model_validate({"aws": {"thumbnail_bucket": "photos"}})

    assert photo_request(settings, MemoryPhotos(), upload()) is None


def test_events_of_buckets_that_are_not_named_are_refused() -> None:
    ours, theirs = ({"aws": {"event_buckets": [name]}} for name in ("photos", "selfies"))

    assert photo_request(Settings.model_validate(ours), MemoryPhotos(), upload())
    with pytest.raises(WrongInput, match="'photos' is not among SELFIEGATE_AWS__EVENT_BUCKETS"):
        photo_request(Settings.model_validate(theirs), MemoryPhotos(), upload(user_id="bob"))
