"""A duplicate that a search missed is found when the face is looked up once more, and loses by the protocol."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from selfiegate.audit.rounds import orphans
from selfiegate.aws.clients import client
from selfiegate.aws.settings import AwsSettings
from selfiegate.backends.embedding import EmbeddingBackend
from selfiegate.backends.scripted import ScriptedAnalyser, scripted_photo
from selfiegate.clock import LAST_MOMENT
from selfiegate.enrolment.sequence import process_photo
from selfiegate.galleries.sqlite import SqliteGallery
from selfiegate.model import Claim
from selfiegate.notices.memory import MemoryNotices
from selfiegate.privacy.erasures import request_erasure
from selfiegate.privacy.sequence import forget_user
from selfiegate.rechecks import MOST_RECHECKS
from selfiegate.reconciliation import Reconciled, Restarts, reconcile
from selfiegate.runtime import Runtime, memory_runtime, open_runtime
from selfiegate.settings import Settings
from selfiegate.steps import Take, inline
from selfiegate.stores.memory_photos import MemoryPhotos
from tests.aws.local import PHOTOS
from tests.present import present
from tests.protocol.lagging import LaggingFaces
from tests.rekognition import RekognitionServer
from tests.runtimes import THRESHOLDS


class Killed(BaseException):
    """The process is gone."""


USERS = ("ann", "bob", "cid", "dan")


def enrol(rt: Runtime, user_id: str, uri: str) -> Claim:
    photo = rt.photos.find(uri)
    return asyncio.run(process_photo(rt, inline(rt, attempts=1), photo, user_id, f"run of {user_id}"))


def reconciled(rt: Runtime, dies: bool = False) -> Reconciled:
    """Reconcile once; the process may die before it runs a photo again."""

    async def photo(row: Claim) -> str:
        if dies:
            raise Killed
        claim = await process_photo(rt, inline(rt, attempts=1), row.photo, row.user_id, "reconcile", notify=False)
        return present(claim.verdict).outcome

    async def none() -> int:
        return 0

    async def no_erasure(_: object) -> str:
        return ""

    return asyncio.run(reconcile(rt, inline(rt, attempts=1), Restarts(photo, no_erasure, none)))


@pytest.mark.parametrize("records", ["sqlite", "dynamodb"])
def test_what_rekognitions_lag_let_through_is_found_later(
    tmp_path: Path, aws: AwsSettings, scripted_rekognition: RekognitionServer, records: Literal["sqlite", "dynamodb"]
) -> None:
    lagging = aws.model_copy(update={"settle_s": 0.1})
    rt = open_runtime(Settings(home=tmp_path, backend="rekognition", records=records, aws=lagging, recheck_after_s=0.5))
    scripted_rekognition.switches.delay(visible=3600)
    for user_id in USERS:
        client("s3", aws).put_object(Bucket=PHOTOS, Key=f"{user_id}/1.png", Body=scripted_photo("one person"))
        assert enrol(rt, user_id, f"s3://{PHOTOS}/{user_id}/1.png").status == "accepted"
    scripted_rekognition.switches.delay(visible=0)
    assert orphans(rt) == []  # the audit has nothing against them
    time.sleep(1)
    reconciled(rt)

    rows = {user_id: rt.ledger.claims_of(user_id)[0] for user_id in USERS}
    assert {user_id: row.status for user_id, row in rows.items()} == {
        "ann": "accepted",
        "bob": "rejected",
        "cid": "rejected",
        "dan": "rejected",
    }
    assert [profile.user_id for profile in rt.profiles.all()] == ["ann"]
    assert [face.user_id for face in rt.faces.faces()] == ["ann"]
    calls = scripted_rekognition.calls
    assert (calls["SearchFaces"], calls["DetectFaces"], calls["IndexFaces"]) == (8, 4, 4), "one look an accepted photo"


class Blind:
    """Two accepted users of one face, in memory: their searches found nothing of each other."""

    def __init__(self, after_s: float = 0.01, **silent: bool) -> None:
        self.faces = LaggingFaces(one_sided=False, thresholds=THRESHOLDS)
        lagging: Any = self.faces
        self.notices = MemoryNotices()
        rt = replace(memory_runtime(Settings(recheck_after_s=after_s)), faces=lagging, notifier=self.notices)
        self.rt, self.photos = rt, rt.photos
        self.faces.blind = True
        for user_id in ("ann", "bob"):
            self.upload(user_id, notify=not silent.get(user_id, False))
        self.faces.blind = False

    def upload(self, user_id: str, number: int = 1, notify: bool = True) -> Claim:
        """Let a user upload a photo of the one person."""
        self.faces.catch_up()
        photo = self.photos.add(f"{user_id}/one-{number}.png", scripted_photo("one", size=(96 + number, 96)))
        return asyncio.run(process_photo(self.rt, self.take, photo, user_id, f"{user_id} {number}", notify=notify))

    @property
    def take(self) -> Take:
        return inline(self.rt, attempts=1)

    def rows(self, user_id: str) -> list[str]:
        """Return a user's verdicts, the oldest photo's first."""
        return [row.status for row in self.rt.ledger.claims_of(user_id)]

    def codes(self, user_id: str) -> list[str]:
        """Return why a user's last photo was refused."""
        return [reason.code for reason in present(self.rt.ledger.claims_of(user_id)[-1].verdict).reasons]

    def is_due(self, user_id: str) -> bool:
        """Say whether a user's face is to be looked up."""
        return user_id in {row.user_id for row in self.rt.ledger.to_recheck(LAST_MOMENT, 100)}


def test_the_younger_enrolment_loses_late_and_leaves_no_trace() -> None:
    blind = Blind()
    time.sleep(0.1)
    done = reconciled(blind.rt)

    assert [(line.found, line.user, line.done) for line in done.lines] == [
        ("face of two users", "bob", "run again: Rejected")
    ]
    assert (blind.rows("ann"), blind.rows("bob"), blind.codes("bob")) == (
        ["accepted"],
        ["rejected"],
        ["face_already_enrolled"],
    )
    assert [profile.user_id for profile in blind.rt.profiles.all()] == ["ann"]
    assert [face.user_id for face in blind.faces.faces()] == ["ann"]
    assert {key.partition("-")[0] for key in blind.rt.thumbnails.keys()} == {"ann"}  # noqa: SIM118  a store
    assert [verdict.user_id for verdict in blind.notices.sent] == ["bob"]
    time.sleep(0.1)
    assert reconciled(blind.rt).lines == []
    assert len(blind.notices.sent) == 1
    assert not blind.is_due("ann"), "nothing is looked up for ever"


def test_who_has_held_the_face_for_longer_keeps_it_with_a_newer_photo() -> None:
    blind = Blind()
    blind.faces.blind = True
    blind.upload("ann", 2)
    blind.faces.blind = False
    time.sleep(0.1)
    reconciled(blind.rt)

    assert (blind.rows("ann"), blind.rows("bob")) == (["accepted", "accepted"], ["rejected"])


def test_a_face_that_a_newer_photo_replaced_is_not_looked_up() -> None:
    blind = Blind()
    blind.faces.blind = True
    blind.upload("bob", 2)
    blind.faces.blind = False
    time.sleep(0.1)
    reconciled(blind.rt)

    assert blind.rows("bob") == ["accepted", "rejected"]
    assert blind.rt.profiles.get("bob") is None, "the newer photo lost, and the older one's face was gone"
    assert [face.user_id for face in blind.faces.faces()] == ["ann"]


def test_a_photo_that_is_gone_by_then_loses_for_the_same_reason() -> None:
    blind = Blind()
    for row in blind.rt.ledger.claims_of("bob"):
        blind.photos.erase(row.photo, LAST_MOMENT)
    time.sleep(0.1)
    reconciled(blind.rt)

    assert blind.codes("bob") == ["face_already_enrolled"]
    assert [face.user_id for face in blind.faces.faces()] == ["ann"]


def test_who_was_forgotten_meanwhile_takes_the_face_from_nobody() -> None:
    blind = Blind()
    time.sleep(0.1)
    with pytest.raises(Killed):
        reconciled(blind.rt, dies=True)
    assert blind.rows("bob") == ["pending"]
    asyncio.run(forget_user(blind.rt, blind.take, "ann", "an erasure", sleep=lambda _: asyncio.sleep(0)))
    reconciled(blind.rt)

    assert (blind.rows("ann"), blind.rows("bob")) == ([], ["accepted"])
    assert [profile.user_id for profile in blind.rt.profiles.all()] == ["bob"]
    assert [face.user_id for face in blind.faces.faces()] == ["bob"]


def test_who_is_being_forgotten_takes_the_face_from_nobody() -> None:
    blind = Blind()
    request_erasure(blind.rt, "ann", "an erasure")
    time.sleep(0.1)
    reconciled(blind.rt)

    assert blind.rows("bob") == ["accepted"]
    assert blind.is_due("bob"), "it is looked at again"


def test_a_process_that_dies_after_a_late_contest_leaves_it_to_the_next() -> None:
    blind = Blind()
    time.sleep(0.1)
    with pytest.raises(Killed):
        reconciled(blind.rt, dies=True)
    done = reconciled(blind.rt)

    assert [(line.found, line.done) for line in done.lines] == [("unfinished photo", "run again: Rejected")]
    assert (blind.rows("bob"), len(blind.notices.sent)) == (["rejected"], 1)


def test_who_was_enrolled_in_silence_loses_in_silence() -> None:
    blind = Blind(bob=True)
    time.sleep(0.1)
    reconciled(blind.rt)

    assert (blind.rows("bob"), blind.notices.sent) == (["rejected"], [])


def test_nothing_is_looked_up_before_its_time() -> None:
    blind = Blind(after_s=600)

    assert reconciled(blind.rt).lines == []
    assert blind.is_due("ann")
    assert blind.is_due("bob")


def test_nothing_is_looked_up_where_that_is_switched_off() -> None:
    blind = Blind(after_s=0)

    assert list(blind.rt.ledger.to_recheck(LAST_MOMENT, 100)) == []
    assert blind.rows("bob") == ["accepted"]


def test_a_row_that_cannot_be_decided_is_looked_at_six_times() -> None:
    blind = Blind()
    request_erasure(blind.rt, "ann", "an erasure that never ends")
    while blind.is_due("bob"):
        time.sleep(0.1)
        reconciled(blind.rt)

    assert [(row.status, row.rechecks) for row in blind.rt.ledger.claims_of("bob")] == [("accepted", MOST_RECHECKS)]


def test_the_embedded_gallery_finds_late_what_its_search_misses(tmp_path: Path) -> None:
    """Put decoys there: their signs are ann's, though they are unlike ann; bob is the other way about."""
    gallery = SqliteGallery(tmp_path / "gallery.db", ScriptedAnalyser.model)
    few, many = np.full(8, np.sqrt(0.72 / 8)), np.full(504, np.sqrt(0.28 / 504))
    rng = np.random.default_rng(1)
    signs = rng.choice([1, 1, 1, -1], (200, 504))
    decoys = [("decoy", f"decoy {n}", np.concatenate([-few, many * signs[n]])) for n in range(200)]
    faces = [("ann", "ann", np.concatenate([few, many])), ("bob", "bob", np.concatenate([few, -many])), *decoys]
    gallery.add_all((face_id, user_id, face.astype(np.float32)) for user_id, face_id, face in faces)
    settings = Settings(home=tmp_path)
    backend = EmbeddingBackend(ScriptedAnalyser(), gallery, MemoryPhotos(), settings.photos, THRESHOLDS)

    assert backend.rivals("ann", "ann") == []
    assert [match.user_id for match in backend.late_rivals("ann", "ann")] == ["bob"]
