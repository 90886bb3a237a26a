"""`selfiegate gallery rebuild`: everybody is enrolled again, and nobody who was forgotten."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from selfiegate.audit import orphans
from selfiegate.aws.clients import client
from selfiegate.aws.settings import AwsSettings
from selfiegate.backups.rebuilding import rebuild_collection
from selfiegate.cli.app import app
from selfiegate.errors import BackendMisconfigured, WrongInput
from selfiegate.privacy.erasures import request_erasure
from tests.aws.local import PHOTOS
from tests.present import present
from tests.unit.test_lost_collection import Gate, deleted, emptied, forget, index, made_anew


@pytest.fixture(params=["sqlite", "dynamodb"])
def gate(request: pytest.FixtureRequest, tmp_path: Path, aws: AwsSettings) -> Gate:
    """Return a gate through which ann, bob, and eve went, and at which carl was forgotten."""
    gate = Gate(tmp_path, aws, request.param)
    rt = gate.process()
    for person in ("ann", "bob", "carl", "eve"):
        assert gate.outcome(rt, person, person) == "accepted"
    forget(rt, "carl")
    return gate


@pytest.mark.parametrize("fault", [deleted, made_anew, emptied])
def test_everybody_is_enrolled_again_and_nobody_who_was_forgotten(gate: Gate, fault: Callable[[Gate], None]) -> None:
    fault(gate)
    done = rebuild_collection(gate.settings(), 0)
    rt = gate.process()

    assert (done.enrolled, done.dropped) == (3, ())
    assert sorted(face.user_id for face in rt.faces.faces()) == ["ann", "bob", "eve"]
    assert orphans(rt) == []
    assert gate.outcome(rt, "eve1", "mallory") == "rejected"
    assert gate.outcome(rt, "ann1", "eve") == "rejected"
    assert gate.outcome(rt, "eve2", "eve") == "accepted"
    forget(rt, "bob")
    assert sorted(face.user_id for face in rt.faces.faces()) == ["ann", "eve"]


def test_a_rebuild_where_nothing_lacks_changes_nothing(gate: Gate) -> None:
    before = list(gate.process().profiles.all())

    assert rebuild_collection(gate.settings(), 0).enrolled == 0
    assert list(gate.process().profiles.all()) == before


def test_everybody_moves_to_another_collection(gate: Gate) -> None:
    rebuild_collection(gate.settings(collection="another"), 0)
    rt = gate.process(collection="another")

    assert {profile.model for profile in rt.profiles.all()} == {"rekognition/another@7.0"}
    assert gate.outcome(rt, "eve1", "mallory") == "rejected"
    with pytest.raises(BackendMisconfigured, match="is not the gallery that the records rely on"):
        gate.process()


def test_a_rebuild_that_was_interrupted_goes_on_and_until_then_nothing_else_works(
    gate: Gate, scripted_rekognition: Any
) -> None:
    rt = gate.process()
    made_anew(gate)
    scripted_rekognition.switches.fail("IndexFaces", "AccessDeniedException", times=1)
    with pytest.raises(BackendMisconfigured, match="IndexFaces"):
        rebuild_collection(gate.settings(), 0)
    for use in (lambda: gate.outcome(rt, "eve1", "mallory"), lambda: forget(rt, "eve"), gate.process):
        with pytest.raises(BackendMisconfigured, match="a rebuild of the gallery was begun and has not ended"):
            use()

    rebuild_collection(gate.settings(), 0)
    assert gate.outcome(gate.process(), "bob1", "mallory") == "rejected"


def test_calls_that_are_turned_away_are_repeated(gate: Gate, scripted_rekognition: Any) -> None:
    made_anew(gate)
    scripted_rekognition.switches.fail("IndexFaces", "ThrottlingException", times=6)

    assert rebuild_collection(gate.settings(), 0).enrolled == 3


def test_photos_that_are_gone_are_the_operators_to_decide(gate: Gate) -> None:
    eves = present(gate.process().profiles.get("eve")).photo
    client("s3", gate.aws).delete_object(Bucket=PHOTOS, Key=eves.key, VersionId=eves.version)
    made_anew(gate)
    with pytest.raises(WrongInput, match=r"photos of 1 profiles cannot be used any more, .*eve.png.*--drop-missing 1"):
        rebuild_collection(gate.settings(), 0)
    with pytest.raises(BackendMisconfigured, match="has not ended"):
        gate.process()
    done = rebuild_collection(gate.settings(), 1)
    rt = gate.process()

    assert done.dropped == ("eve",)
    assert rt.profiles.get("eve") is None
    assert gate.outcome(rt, "eve1", "eve") == "accepted"


def test_a_user_id_that_rekognition_cannot_store_is_the_operators_to_decide(tmp_path: Path, aws: AwsSettings) -> None:
    gate = Gate(tmp_path, aws, "sqlite")
    rt = gate.process()
    assert gate.outcome(rt, "ann", "ann") == "accepted"
    anns = present(rt.profiles.get("ann"))  # of an embedded gallery, or of an older system
    rt.profiles.put(anns.model_copy(update={"user_id": "x" * 255, "photo": gate.photo(rt, "eve")}), replacing=None)
    made_anew(gate)
    with pytest.raises(WrongInput, match=r"1 profiles cannot be used any more.*--drop-missing 1"):
        rebuild_collection(gate.settings(), 0)

    assert rebuild_collection(gate.settings(), 1).dropped == ("x" * 255,)
    assert [face.user_id for face in gate.process().faces.faces()] == ["ann"]


def test_profiles_that_cannot_be_read_are_the_operators_to_decide_too(tmp_path: Path, aws: AwsSettings) -> None:
    gate = Gate(tmp_path, aws, "sqlite")
    rt = gate.process()
    for person in ("ann", "eve"):
        assert gate.outcome(rt, person, person) == "accepted"
    with closing(sqlite3.connect(tmp_path / "records.db")) as records, records:
        records.execute("UPDATE profiles SET profile = '{}' WHERE user_id = 'eve'")
    made_anew(gate)
    with pytest.raises(WrongInput, match=r"1 profiles cannot be read, that of 'eve' .*--drop-missing 1"):
        rebuild_collection(gate.settings(), 0)
    with pytest.raises(BackendMisconfigured, match="was made anew"):  # as before: nothing was begun
        gate.process()
    rebuild_collection(gate.settings(), 1)
    rt = gate.process()
    forget(rt, "eve")

    assert [face.user_id for face in rt.faces.faces()] == ["ann"]


def test_a_user_who_is_being_forgotten_is_not_enrolled_again(gate: Gate) -> None:
    rt = gate.process()
    request_erasure(rt, "eve", "a run that dies")
    made_anew(gate)
    rebuild_collection(gate.settings(), 0)

    assert sorted(face.user_id for face in gate.process().faces.faces()) == ["ann", "bob"]


def test_a_collection_of_strangers_is_not_filled(gate: Gate) -> None:
    made_anew(gate)
    index(gate, "somebody")

    with pytest.raises(BackendMisconfigured, match=r"none of 1 faces .* is of a photo that the records know"):
        rebuild_collection(gate.settings(), 0)
    with pytest.raises(BackendMisconfigured, match="was made anew"):
        gate.process()


def test_a_face_that_somebody_else_enrolled_meanwhile_is_told(gate: Gate, caplog: pytest.LogCaptureFixture) -> None:
    rt = gate.process(compare_s=600.0)
    made_anew(gate)
    assert gate.outcome(rt, "eve1", "mallory") == "accepted"  # before the next comparison
    rebuild_collection(gate.settings(), 0)

    assert "the faces of 'eve' and 'mallory' match" in caplog.text


def environment(gate: Gate) -> dict[str, str]:
    """Return what a command's environment says of a gate."""
    values = {
        "SELFIEGATE_HOME": gate.home,
        "SELFIEGATE_BACKEND": "rekognition",
        "SELFIEGATE_RECORDS": gate.records,
        "SELFIEGATE_AWS__REGION": gate.aws.region,
        "SELFIEGATE_AWS__ENDPOINT_URL": gate.aws.endpoint_url,
        "SELFIEGATE_AWS__REKOGNITION_ENDPOINT_URL": gate.aws.rekognition_endpoint_url,
        "SELFIEGATE_AWS__THUMBNAIL_BUCKET": gate.aws.thumbnail_bucket,
        "SELFIEGATE_AWS__SETTLE_S": "0",
    }
    return {name: str(value) for name, value in values.items()}


def test_the_command_rebuilds_and_says_what_is_next(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment(gate).items():
        monkeypatch.setenv(name, value)
    deleted(gate)
    created = CliRunner().invoke(app, ["gallery", "create"])
    rebuilt = CliRunner().invoke(app, ["gallery", "rebuild"])

    assert (created.exit_code, rebuilt.exit_code) == (0, 0)
    assert "rebuilt: 3 faces enrolled again" in rebuilt.output
    assert "selfiegate reconcile --audit" in rebuilt.output


def test_a_rebuild_that_is_killed_anywhere_is_gone_on_with(gate: Gate, scripted_rekognition: Any) -> None:
    made_anew(gate)
    command = [sys.executable, "-m", "selfiegate", "gallery", "rebuild"]
    for operation in ("SearchFacesByImage", "IndexFaces", "DescribeCollection"):
        scripted_rekognition.switches.clear()
        scripted_rekognition.calls.clear()
        scripted_rekognition.switches.slow(1, operation)
        killed = subprocess.Popen(command, env=os.environ | environment(gate))
        give_up = time.monotonic() + 120
        while scripted_rekognition.calls[operation] == 0 and killed.poll() is None and time.monotonic() < give_up:
            time.sleep(0.01)
        killed.kill()
        assert killed.wait() == -signal.SIGKILL
        with pytest.raises(BackendMisconfigured, match=r"was made anew|has not ended"):
            gate.process()
    scripted_rekognition.switches.clear()
    rebuild_collection(gate.settings(), 0)
    rt = gate.process()

    assert sorted(face.user_id for face in rt.faces.faces()) == ["ann", "bob", "eve"]
    assert orphans(rt) == []


def test_the_embedded_gallery_is_restored_instead(gate: Gate) -> None:
    with pytest.raises(WrongInput, match="`selfiegate restore` makes the embedded gallery anew"):
        rebuild_collection(gate.settings().model_copy(update={"backend": "insightface"}), 0)
