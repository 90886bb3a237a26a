"""The flow on S3, Rekognition and DynamoDB over the wire: verdicts, races, and every call failing in turn."""

from __future__ import annotations

import asyncio
import multiprocessing as mp
from collections.abc import Iterator
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pytest
from prefect import State

from benchmarks.bare import run_photo
from selfiegate.aws import AwsSettings, client
from selfiegate.backends.scripted import scripted_photo
from selfiegate.model import PhotoRef, Verdict
from selfiegate.runtime import Runtime, open_runtime, using
from selfiegate.settings import Settings
from tests.aws import PHOTOS
from tests.proxy import Proxy
from tests.runtimes import assert_consistent

pytestmark = pytest.mark.system

LOOP = asyncio.Runner()


def runtime_on(aws: AwsSettings) -> Runtime:
    return open_runtime(Settings(backend="rekognition", records="dynamodb", aws=aws))


def upload(rt: Runtime, key: str, data: bytes) -> PhotoRef:
    client("s3", rt.settings.aws).put_object(Bucket=PHOTOS, Key=key, Body=data)
    return rt.photos.find(f"s3://{PHOTOS}/{key}")


def run(rt: Runtime, photo: PhotoRef, user_id: str) -> State[Verdict]:
    from flows.process_photo import process_photo

    async def process() -> State[Verdict]:
        state = await process_photo(photo, user_id, return_state=True)
        await asyncio.sleep(0.3)
        return state

    with using(rt):
        return LOOP.run(process())


@pytest.mark.weights
@pytest.mark.usefixtures("prefect_api")
def test_the_workshops_photos_get_the_workshops_verdicts(
    aws: AwsSettings, moto: str, pack: Any, workshop: Path
) -> None:
    from selfiegate.backends.insightface.analyser import InsightFaceAnalyser
    from tests.rekognition import RekognitionServer

    with RekognitionServer(InsightFaceAnalyser(pack), s3_url=moto, port=0) as server:
        rt = runtime_on(aws.model_copy(update={"rekognition_endpoint_url": server.url}))
        rt.faces.create()
        found = {}
        files = ["1_happy_face.jpg", "2_sunglass_face.jpg", "3_multiple_faces.jpg", "4_no_face.jpg", "1_happy_face.jpg"]
        for file, letter in zip(files, "abcde", strict=True):
            photo = upload(rt, f"user_{letter}/{file}", (workshop / file).read_bytes())
            state = run(rt, photo, f"user_{letter}")
            found[letter] = (state.name, [reason.code for reason in state.result().reasons], dict(server.calls))

        assert {letter: found[letter][:2] for letter in found} == {
            "a": ("Accepted", []),
            "b": ("Rejected", ["sunglasses"]),
            "c": ("Rejected", ["multiple_faces"]),
            "d": ("Rejected", ["no_face"]),
            "e": ("Rejected", ["face_already_enrolled"]),
        }
        assert server.violations == []
        assert server.calls["DetectFaces"] == 5
        assert (server.calls["SearchFacesByImage"], server.calls["IndexFaces"], server.calls["SearchFaces"]) == (
            2,
            1,
            1,
        )


def racing_user(aws: AwsSettings, user: int, rounds: int, barrier: Barrier, results: Any) -> None:
    rt = runtime_on(aws)
    for turn in range(rounds):
        photo = upload(rt, f"{user}/{turn}.png", scripted_photo(f"person-{turn}", size=(320, 240 + user)))
        barrier.wait()
        results.put((turn, user, photo, run_photo(rt, photo, f"user_{user}_{turn}", f"run {user} {turn}").status))


def test_one_face_of_eight_users_is_accepted_once_though_searches_lag(
    aws: AwsSettings, scripted_rekognition: Any
) -> None:
    processes, rounds = 8, 20
    scripted_rekognition.switches.delay(visible=0.3)
    aws = aws.model_copy(update={"settle_s": 0.5})
    context = mp.get_context("spawn")
    barrier, results = context.Barrier(processes, timeout=120), context.Queue()
    workers = [
        context.Process(target=racing_user, args=(aws, user, rounds, barrier, results), daemon=True)
        for user in range(processes)
    ]
    for worker in workers:
        worker.start()
    found = [results.get(timeout=300) for _ in range(processes * rounds)]

    accepted = [sum(status == "accepted" for turn, _, _, status in found if turn == n) for n in range(rounds)]
    assert accepted == [1] * rounds
    assert_consistent(runtime_on(aws), *((photo, f"user_{user}_{turn}") for turn, user, photo, _ in found))


REKOGNITION = ["DetectFaces", "SearchFacesByImage", "IndexFaces", "SearchFaces"]
STORES = ["s3:GetObject", "s3:PutObject", "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"]
FAULTS = ["throttled twice", "reply lost", "for good"]


@pytest.fixture
def proxied(aws: AwsSettings, moto: str) -> Iterator[tuple[Runtime, Proxy]]:
    proxy = Proxy(moto)
    yield runtime_on(aws.model_copy(update={"endpoint_url": proxy.url})), proxy
    proxy.close()


def walk(rt: Runtime, fault: str, break_it: Any, mend_it: Any) -> None:
    """Replace a user's photo while one call goes wrong, then with all mended."""
    older = upload(rt, "ann/1.png", scripted_photo("ann"))
    assert run(rt, older, "user_a").name == "Accepted"
    newer = upload(rt, "ann/2.png", scripted_photo("ann~"))
    break_it()
    state = run(rt, newer, "user_a")
    mend_it()
    if fault == "for good":
        assert state.type == "FAILED"
    else:
        assert state.name == "Accepted"
    for claim in rt.ledger.undecided(before=2**62):
        rt.ledger.renew(claim, -1)  # time passes

    assert run(rt, newer, "user_a").name == "Accepted"
    assert rt.profiles.get("user_a").photo == newer
    assert_consistent(rt, (older, "user_a"), (newer, "user_a"))


@pytest.mark.usefixtures("prefect_api")
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("operation", REKOGNITION)
def test_every_call_to_rekognition_may_fail(
    aws: AwsSettings, scripted_rekognition: Any, operation: str, fault: str
) -> None:
    switches = scripted_rekognition.switches

    def break_it() -> None:
        if fault == "reply lost":
            switches.lose_reply(operation, times=1)
        else:
            switches.fail(operation, "ThrottlingException", times=2 if fault == "throttled twice" else None)

    walk(runtime_on(aws), fault, break_it, switches.clear)


@pytest.mark.usefixtures("prefect_api")
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("operation", STORES)
def test_every_call_to_a_store_may_fail(proxied: tuple[Runtime, Proxy], operation: str, fault: str) -> None:
    rt, proxy = proxied
    how = "lose_reply" if fault == "reply lost" else "throttle"
    times = {"throttled twice": 2, "reply lost": 1, "for good": float("inf")}[fault]

    def mend_it() -> None:
        assert proxy.left < times or fault == "for good"  # it did go wrong
        proxy.fail("", "", 0)

    walk(rt, fault, lambda: proxy.fail(operation, how, times), mend_it)


@pytest.mark.usefixtures("prefect_api")
@pytest.mark.parametrize("fault", FAULTS)
def test_looking_up_a_rival_may_fail(proxied: tuple[Runtime, Proxy], fault: str) -> None:
    rt, proxy = proxied
    theirs, ours = upload(rt, "ann.png", scripted_photo("ann")), upload(rt, "ann2.png", scripted_photo("ann~"))
    run(rt, theirs, "user_a")
    times = {"throttled twice": 2, "reply lost": 1, "for good": float("inf")}[fault]
    proxy.fail("dynamodb:Query", "lose_reply" if fault == "reply lost" else "throttle", times)
    state = run(rt, ours, "user_b")
    proxy.fail("", "", 0)

    assert state.name == ("Failed" if fault == "for good" else "Rejected")
    assert run(rt, ours, "user_b").name == "Rejected"
    assert_consistent(rt, (theirs, "user_a"), (ours, "user_b"))
