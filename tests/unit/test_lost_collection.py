"""A collection of Rekognition that is lost, made anew, emptied or another's: nobody is accepted, nobody forgotten."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

import boto3
import pytest

from selfiegate.aws.clients import client
from selfiegate.aws.settings import AwsSettings
from selfiegate.backends.scripted import ScriptedAnalyser, scripted_photo
from selfiegate.enrolment.sequence import process_photo
from selfiegate.errors import BackendMisconfigured, BackendUnavailable
from selfiegate.known_gallery import GalleryMark
from selfiegate.model import PhotoRef
from selfiegate.privacy.sequence import forget_user
from selfiegate.runtime import Runtime, open_runtime
from selfiegate.settings import Settings
from selfiegate.steps import inline
from selfiegate.stores.sqlite_records import sqlite_records
from tests.aws.local import PHOTOS
from tests.present import present
from tests.rekognition import RekognitionServer

STORES: list[Literal["sqlite", "dynamodb"]] = ["sqlite", "dynamodb"]


class Gate:
    """A gate on Rekognition: a process after the other over the same records."""

    def __init__(self, home: Path, aws: AwsSettings, records: Literal["sqlite", "dynamodb"]) -> None:
        self.home, self.aws, self.records = home, aws, records

    def process(self, **changes: object) -> Runtime:
        """Open a runtime as a new process does."""
        return open_runtime(self.settings(**changes))

    def settings(self, **changes: object) -> Settings:
        """Return settings that compare the collection at each call."""
        aws = self.aws.model_copy(update={"compare_s": 0.0, **changes})
        return Settings(home=self.home, backend="rekognition", records=self.records, aws=aws)

    def photo(self, rt: Runtime, person: str) -> PhotoRef:
        """Put a photo of a person into the bucket."""
        key = f"{person}.png"
        client("s3", self.aws).put_object(Bucket=PHOTOS, Key=key, Body=scripted_photo(person.rstrip("0123456789")))
        return rt.photos.find(f"s3://{PHOTOS}/{key}")

    def outcome(self, rt: Runtime, person: str, user_id: str) -> str:
        """Run a photo of a person for a user."""
        photo = self.photo(rt, person)
        claim = asyncio.run(process_photo(rt, inline(rt, attempts=1), photo, user_id, f"run-of-{user_id}"))
        return claim.status

    @property
    def faces(self) -> Any:
        """Rekognition's client."""
        url = self.aws.rekognition_endpoint_url
        return boto3.client("rekognition", endpoint_url=url, region_name=self.aws.region)


@pytest.fixture(params=STORES)
def gate(request: pytest.FixtureRequest, tmp_path: Path, aws: AwsSettings) -> Gate:
    """Return a gate through which ann, bob, and eve went."""
    gate = Gate(tmp_path, aws, request.param)
    rt = gate.process()
    for person in ("ann", "bob", "eve"):
        assert gate.outcome(rt, person, person) == "accepted"
    return gate


def forget(rt: Runtime, user_id: str) -> None:
    """Forget a user, without the pause between the sweeps."""
    take = inline(rt, attempts=1)
    asyncio.run(forget_user(rt, take, user_id, "forget-run", sleep=lambda _: asyncio.sleep(0)))


def deleted(gate: Gate) -> None:
    gate.faces.delete_collection(CollectionId=gate.aws.collection)


def made_anew(gate: Gate) -> None:
    deleted(gate)
    gate.faces.create_collection(CollectionId=gate.aws.collection)


def emptied(gate: Gate) -> None:
    listed = gate.faces.list_faces(CollectionId=gate.aws.collection)["Faces"]
    gate.faces.delete_faces(CollectionId=gate.aws.collection, FaceIds=[face["FaceId"] for face in listed])


def emptied_and_filled_by_others(gate: Gate) -> None:
    emptied(gate)
    index(gate, "somebody")


def index(gate: Gate, person: str) -> None:
    """Index a face as another program does."""
    image = {"Bytes": scripted_photo(person)}
    gate.faces.index_faces(CollectionId=gate.aws.collection, Image=image, ExternalImageId=person)


WRONG = [
    (deleted, "is not there, but the records rely on"),
    (made_anew, "was made anew"),
    (emptied, "lacks the faces of"),
    (emptied_and_filled_by_others, "lacks the faces of"),
]
FAULTS = pytest.mark.parametrize(("fault", "said"), WRONG, ids=[fault.__name__ for fault, _ in WRONG])


@FAULTS
def test_a_new_process_refuses_a_lost_collection(gate: Gate, fault: Callable[[Gate], None], said: str) -> None:
    fault(gate)

    for _ in range(2):  # nor does the refusal make the next start succeed
        with pytest.raises(BackendMisconfigured, match=said):
            gate.outcome(gate.process(), "eve1", "mallory")


@FAULTS
def test_a_process_under_way_accepts_nobody_and_forgets_nobody(
    gate: Gate, fault: Callable[[Gate], None], said: str
) -> None:
    rt = gate.process()
    fault(gate)

    with pytest.raises(BackendMisconfigured, match=said):
        gate.outcome(rt, "eve1", "mallory")
    with pytest.raises(BackendMisconfigured, match=said):
        forget(rt, "eve")
    erasure = rt.erasures.get("eve")
    assert rt.profiles.get("mallory") is None
    assert erasure
    assert erasure.finished_at is None


def test_another_accounts_collection_is_refused(gate: Gate) -> None:
    with RekognitionServer(ScriptedAnalyser(), gate.aws.endpoint_url, account="210987654321") as other:
        boto3.client("rekognition", endpoint_url=other.url, region_name=gate.aws.region).create_collection(
            CollectionId=gate.aws.collection
        )

        with pytest.raises(BackendMisconfigured, match=r"210987654321.* is not the gallery that the records rely on"):
            gate.process(rekognition_endpoint_url=other.url)


def test_another_collection_is_refused(gate: Gate) -> None:
    gate.faces.create_collection(CollectionId="another")

    with pytest.raises(BackendMisconfigured, match=r"another of .* is not the gallery that the records rely on"):
        gate.process(collection="another")


def test_a_stranger_leaves_what_the_records_know_as_it_is(gate: Gate) -> None:
    known = gate.process().known_gallery
    before = known.get()
    gate.faces.create_collection(CollectionId="another")
    image = {"Bytes": scripted_photo("somebody")}
    for n in range(9):
        gate.faces.index_faces(CollectionId="another", Image=image, ExternalImageId=str(n))
    with pytest.raises(BackendMisconfigured):
        gate.process(collection="another")

    assert known.get() == before
    assert gate.outcome(gate.process(), "eve1", "mallory") == "rejected"


def test_records_that_rely_on_an_embedded_gallery_are_refused(tmp_path: Path, aws: AwsSettings) -> None:
    sqlite_records(tmp_path / "records.db").known_gallery.keep(GalleryMark(gallery_id="0123", newest=3))

    with pytest.raises(BackendMisconfigured, match="the gallery '0123' of another backend"):
        Gate(tmp_path, aws, "sqlite").process()


def test_the_same_collection_in_a_new_process_is_taken(gate: Gate) -> None:
    assert gate.outcome(gate.process(), "eve1", "mallory") == "rejected"
    assert gate.outcome(gate.process(), "gus", "gus") == "accepted"


def untied(gate: Gate) -> Runtime:
    """Bring the records to what the version before wrote, which knew no ties."""
    rt = gate.process()
    if gate.records == "sqlite":
        with closing(sqlite3.connect(gate.home / "records.db")) as records, records:
            records.execute("UPDATE gallery SET gallery_id = NULL, newest = NULL")
    else:
        table = boto3.resource("dynamodb", endpoint_url=gate.aws.endpoint_url, region_name=gate.aws.region)
        table.Table(gate.aws.ledger_table).delete_item(Key={"user_id": "\tgallery", "photo_id": "gallery"})
    assert rt.known_gallery.get() is None
    return rt


def test_records_of_the_version_before_are_tied_where_the_faces_are_there(gate: Gate) -> None:
    untied(gate)

    assert gate.outcome(gate.process(), "eve1", "mallory") == "rejected"
    made_anew(gate)
    with pytest.raises(BackendMisconfigured, match="was made anew"):
        gate.process()


@pytest.mark.parametrize("fault", [made_anew, emptied, emptied_and_filled_by_others])
def test_records_of_the_version_before_are_refused_where_the_faces_are_gone(
    gate: Gate, fault: Callable[[Gate], None]
) -> None:
    rt = untied(gate)
    fault(gate)

    for _ in range(2):
        with pytest.raises(BackendMisconfigured, match="lacks the faces of 3 of 3 users"):
            gate.process()
    assert rt.known_gallery.get() is None


def test_profiles_of_which_none_can_be_read_prove_no_collection(tmp_path: Path, aws: AwsSettings) -> None:
    gate = Gate(tmp_path, aws, "sqlite")
    assert gate.outcome(gate.process(), "ann", "ann") == "accepted"
    untied(gate)
    made_anew(gate)
    with closing(sqlite3.connect(tmp_path / "records.db")) as records, records:
        records.execute("UPDATE profiles SET profile = '{}'")

    with pytest.raises(BackendMisconfigured, match=r"none of 1 profiles that were looked up can be read .*'ann'"):
        gate.process()


def test_a_collection_of_an_older_system_is_taken_by_empty_records(tmp_path: Path, aws: AwsSettings) -> None:
    gate = Gate(tmp_path, aws, "dynamodb")
    index(gate, "ann")

    assert gate.outcome(gate.process(), "ann1", "mallory") == "rejected"


def test_before_a_collection_is_created_that_is_what_is_said(tmp_path: Path, aws: AwsSettings) -> None:
    with pytest.raises(BackendMisconfigured, match="there is no collection nowhere: run `selfiegate gallery create`"):
        Gate(tmp_path, aws, "sqlite").process(collection="nowhere")


def test_a_user_who_is_forgotten_last_leaves_a_gate_that_opens(gate: Gate) -> None:
    rt = gate.process()
    for user_id in ("ann", "bob", "eve"):
        forget(rt, user_id)

    assert rt.faces.stats().faces == 0
    assert gate.outcome(gate.process(), "eve", "fay") == "accepted"


def test_a_comparison_holds_for_a_while(gate: Gate, scripted_rekognition: Any) -> None:
    rt = gate.process(compare_s=600.0)
    before = scripted_rekognition.calls["DescribeCollection"]
    for person in ("gus", "hal"):
        assert gate.outcome(rt, person, person) == "accepted"

    assert scripted_rekognition.calls["DescribeCollection"] - before <= 1  # the model's name


def test_where_it_cannot_be_told_nothing_is_searched_and_a_retry_goes_on(gate: Gate, scripted_rekognition: Any) -> None:
    rt = gate.process()
    photo, searched = gate.photo(rt, "eve1"), scripted_rekognition.calls["SearchFacesByImage"]
    scripted_rekognition.switches.fail("DescribeCollection", "ThrottlingException", times=2)  # botocore tries twice
    with pytest.raises(BackendUnavailable, match="rekognition:DescribeCollection"):
        rt.faces.search(photo, "mallory")

    assert scripted_rekognition.calls["SearchFacesByImage"] == searched
    assert [match.user_id for match in rt.faces.search(photo, "mallory")] == ["eve"]


def test_threads_that_wait_for_a_comparison_share_its_outcome(gate: Gate, scripted_rekognition: Any) -> None:
    rt = gate.process()
    face_id = present(rt.profiles.get("eve")).face_id
    before = scripted_rekognition.calls["DescribeCollection"]
    scripted_rekognition.switches.slow(2, "DescribeCollection", times=1)
    scripted_rekognition.switches.fail("DescribeCollection", "ThrottlingException")
    with ThreadPoolExecutor(16) as pool:
        asked = [pool.submit(rt.faces.holds, face_id) for _ in range(16)]
        failures = [one.exception() for one in asked]

    assert {type(failure) for failure in failures} == {BackendUnavailable}
    assert scripted_rekognition.calls["DescribeCollection"] - before < 16


def test_a_permission_that_is_missing_is_named(gate: Gate, scripted_rekognition: Any) -> None:
    scripted_rekognition.switches.fail("DescribeCollection", "AccessDeniedException")

    with pytest.raises(BackendMisconfigured, match=r"rekognition:DescribeCollection.*`selfiegate aws check`"):
        gate.process()
