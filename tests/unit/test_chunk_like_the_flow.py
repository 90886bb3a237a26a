"""A backfill's chunk comes to what the flow comes to, photo by photo: the same verdicts, rows, faces and thumbnails."""

from __future__ import annotations

import asyncio
import io
import math
import os
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Concatenate, NamedTuple, ParamSpec, TypeVar

import hypothesis
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from selfiegate import express, thumbnails
from selfiegate.backends.scripted import scripted_photo
from selfiegate.backfill.chunk import Chunk
from selfiegate.backfill.listing import Entry, pinned
from selfiegate.clock import now_us
from selfiegate.enrolment.protocol import claim_photo, judge_photo, withdraw
from selfiegate.enrolment.sequence import process_photo
from selfiegate.enrolment.uploads import is_later
from selfiegate.errors import BackendUnavailable, PhotoInProgress, SelfiegateError, UserForgotten
from selfiegate.ingestion.photo_requests import PhotoRequest
from selfiegate.model import Claim, PhotoRef
from selfiegate.privacy.erasures import is_forgotten
from selfiegate.privacy.sequence import forget_user
from selfiegate.runtime import Runtime, memory_runtime
from selfiegate.settings import Settings
from selfiegate.steps import in_thread, inline
from tests.protocol.small_worlds import ALIKE, BROKEN, PEOPLE, USERS, Drawn, SmallWorld, Upload, build, tapped, worlds
from tests.runtimes import assert_consistent

P = ParamSpec("P")
R = TypeVar("R")

LONG = os.environ.get("CHAOS") == "1"
POOL = ThreadPoolExecutor(1)
"""One thread: what a chunk does side by side, it does in one order."""

N = int(os.environ.get("EXAMPLES", "5000" if LONG else "200"))
examples = hypothesis.settings(
    max_examples=N,
    deadline=None,
    derandomize=not LONG,
    database=None,
    print_blob=False,
    suppress_health_check=list(hypothesis.HealthCheck),
)


class Fault(NamedTuple):
    """One call that fails."""

    call: str
    number: int
    """How many such calls go well before."""
    after: bool
    """Whether it does its work, and only its reply is lost."""


CALLS = (
    "photos.read",
    "faces.detect",
    "faces.search",
    "faces.enrol",
    "faces.rivals",
    "faces.remove",
    "faces.discard",
    "ledger.claim",
    "ledger.get",
    "ledger.claims_of",
    "ledger.note_face",
    "ledger.contest",
    "ledger.accept",
    "ledger.release",
    "ledger.decide",
    "ledger.begin_notice",
    "ledger.end_notice",
    "profiles.get",
    "profiles.put",
    "erasures.get",
    "thumbnails.put",
    "thumbnails.remove",
    "notifier.notify",
)


faults = st.builds(Fault, st.sampled_from(CALLS), st.integers(0, 12), st.booleans())
few_examples = hypothesis.settings(examples, max_examples=N // 2)


REPLACED_AND_BACK = Drawn(
    (
        Upload("user_a", ("ann",), modified=1, past="died", calls=20, again=True),
        Upload("user_a", ("ann",), past="died", calls=19),
    ),
    listing=(0, 1),
)
"""Two photos of a user won the face when their runs died, and the first one was uploaded again."""

DEAD_FACE = Drawn(
    (Upload("user_a", ("ann",)), Upload("user_a", ("bob",), past="died", calls=9), Upload("user_b", ("bob",))),
    listing=(0, 1, 2),
)
"""A run of user_a died with bob's face enrolled; user_a becomes ann, and user_b is bob."""

FACE_ON_ITS_WAY_OUT = Drawn(
    (Upload("user_a", ("ann",)), Upload("user_b", ("ann",), past="died", calls=9), Upload("user_c", ("ann",))),
    listing=(0, 2),
    being_forgotten=("user_b",),
)
"""Two users lose to the face that a dead run left of a third, who is being forgotten."""


@examples
@given(drawn=worlds() | worlds((*PEOPLE, ALIKE, ALIKE)))
@example(drawn=DEAD_FACE)
@example(drawn=FACE_ON_ITS_WAY_OUT)
@example(drawn=REPLACED_AND_BACK)
def test_the_same_photos_come_to_the_same_end(drawn: Drawn) -> None:
    one, other = build(drawn, in_memory()), build(drawn, in_memory())

    before = state(one)
    assert before == state(other)
    order = in_the_chunks_order(one)
    take_over_as_a_chunk_does(one)
    by_flow, by_chunk = by_the_flow(one.rt, order), by_a_chunk_and_the_next(other.rt, other.entries)
    assert by_flow == by_chunk
    assert as_a_chunk_searches(state(one), state(other), before) == state(other)


@few_examples
@given(drawn=worlds(), fault=faults)
def test_after_a_fault_and_a_second_run_what_cannot_depend_on_the_order_is_the_same(drawn: Drawn, fault: Fault) -> None:
    """Another photo may meet the fault, so that of two equal faces the other one wins."""
    assert_like_the_flow(by_a_chunk, dated(drawn), fault)


@few_examples
@given(drawn=worlds(), fault=faults)
def test_the_express_lane_and_its_single_runs_come_to_the_same_in_that(drawn: Drawn, fault: Fault) -> None:
    assert_like_the_flow(by_the_lane, dated(drawn), fault)


def assert_like_the_flow(way: Callable[[Runtime, Sequence[Entry]], dict[str, str]], drawn: Drawn, fault: Fault) -> None:
    one, other = build(drawn, in_memory()), build(drawn, in_memory())
    for world, take in ((one, by_the_flow), (other, way)):
        take(failing(world.rt, fault), world.entries)
        for _ in range(2):
            end_leases(world, drawn)
            take(world.rt, world.entries)
    alone = users_alone(drawn)

    assert parts_of(alone, state(one)) == parts_of(alone, state(other))
    assert holders_of_faces(one, drawn) == holders_of_faces(other, drawn)
    for world in (one, other):
        assert_promises_once_all_is_done(world, drawn)


def test_a_face_that_no_row_names_costs_no_other_photo_of_its_user() -> None:
    """A run died between enrolling bob's face and noting it: user_b contests no other photo of user_a for it."""
    died = Upload("user_a", ("bob",), past="died", calls=9)
    listed = Upload("user_a", ("ann",)), Upload("user_b", ("bob",)), Upload("user_a", ("ann",))
    world = build(Drawn((*listed, died), (0, 1, 2)), in_memory())

    assert by_a_chunk(world.rt, world.entries)["2.png"] == "accepted"


def test_a_dead_runs_face_refuses_others_in_the_flow_until_its_photo_is_run_and_not_in_a_chunk() -> None:
    one, other = build(DEAD_FACE, in_memory()), build(DEAD_FACE, in_memory())

    assert by_the_flow(one.rt, in_the_chunks_order(one))["2.png"] == "rejected"
    assert by_a_chunk(other.rt, other.entries)["2.png"] == "accepted"


def test_the_thumbnail_of_a_turned_photo_is_upright_either_way() -> None:
    for way in (by_the_flow, by_a_chunk):
        rt = memory_runtime(Settings())
        rt.photos.add("a.png", scripted_photo("ann", size=(320, 240), turned=90))
        ended = way(rt, [Entry(uri="a.png", user_id="user_a")])
        (key,) = rt.thumbnails.keys()

        assert ended == {"a.png": "accepted"}
        assert Image.open(io.BytesIO(rt.thumbnails.read(key) or b"")).size == (188, 250)


def in_memory() -> Runtime:
    """Return stores in memory; nobody waits long for another's lease."""
    return memory_runtime(Settings(lease_s=0.01))


def in_the_chunks_order(world: SmallWorld) -> list[Entry]:
    """Return the listing in the order in which a chunk decides.

    Photos that are the profile and were only uploaded again; photos that won their face before their run died; then the
    first usable photo of each user, the second, and so on;
    among these the oldest claims. New claims are made in the listing's order.
    """
    turns = Counter[str]()

    def rank(number: int, entry: Entry) -> tuple[bool, int, float, int]:
        ref, turn = world.listed[number], turns[entry.user_id]
        row = world.rt.ledger.get(ref, entry.user_id)
        if row and row.verdict and is_later(entry.upload_order, row):
            if is_profile(world.rt, row):
                return False, -1, 0, number
            row = None  # it is opened anew
        if takes_a_turn(world.rt, ref, entry, row):
            turns[entry.user_id] += 1
        return row is None or row.status != "accepting", turn, row.claimed_at if row else math.inf, number

    ranks = [(rank(number, entry), entry) for number, entry in enumerate(world.entries)]
    return [entry for _, entry in sorted(ranks, key=lambda ranked: ranked[0])]


def take_over_as_a_chunk_does(world: SmallWorld) -> None:
    """Take back what dead runs left half done of the listed photos, before any photo is decided.

    A chunk does this to all its photos at once. The flow does it to a photo when that photo's turn comes, and refuses
    others for the dead run's face until then, even where the dead run's photo is refused later. Both keep the promises
    of docs/enrolment.md, but different users get their faces.
    """
    rt = world.rt
    for ref, entry in zip(world.listed, world.entries, strict=True):
        row = rt.ledger.get(ref, entry.user_id)
        if row and row.status == "pending":
            with suppress(SelfiegateError):  # held by a live run, or gone, or its user is being forgotten
                photo = pinned(rt.photos, entry)
                withdraw(rt, claim_photo(rt, photo, entry.user_id, "test", entry.upload_order))


def is_profile(rt: Runtime, row: Claim) -> bool:
    profile = rt.profiles.get(row.user_id)
    return profile is not None and (profile.photo, row.status) == (row.photo, "accepted")


def takes_a_turn(rt: Runtime, ref: PhotoRef, entry: Entry, row: Claim | None) -> bool:
    """Say whether a photo is decided by its face."""
    if row and (row.verdict or row.lease_until > now_us()):
        return False
    forgotten = row is None and is_forgotten(rt.erasures, entry.user_id, entry.upload_order)
    return not forgotten and not judge_photo(rt, ref).reasons


def by_the_flow(rt: Runtime, entries: Sequence[Entry]) -> dict[str, str]:
    """Process the photos one after the other; return what became of each."""

    async def one_by_one() -> dict[str, str]:
        return {entry.uri: await one(entry) for entry in entries}

    async def one(entry: Entry) -> str:
        try:
            photo = pinned(rt.photos, entry)
            take = inline(rt, attempts=1)
            return (await process_photo(rt, take, photo, entry.user_id, "test", entry.upload_order)).status
        except SelfiegateError as error:
            return fault(error)

    return asyncio.run(one_by_one())


def by_the_lane(rt: Runtime, entries: Sequence[Entry]) -> dict[str, str]:
    """Process the photos together, and those that fail alone, as the express lane does; return what became of each."""
    requests = []
    for one in entries:
        with suppress(SelfiegateError):  # it is gone
            photo = pinned(rt.photos, one)
            requests.append(PhotoRequest(photo=photo, user_id=one.user_id, upload_order=one.upload_order))

    async def take(step: Callable[Concatenate[Runtime, P], R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        return await in_thread(step, rt, *args, **kwargs)

    async def run_alone(one: PhotoRequest) -> tuple[str, str]:
        try:
            found = await process_photo(rt, inline(rt, attempts=1), one.photo, one.user_id, "alone", one.upload_order)
        except SelfiegateError as error:
            return fault(error), "alone"
        return found.status, "alone"

    try:
        ends = asyncio.run(express.process_photos(take, run_alone, requests, "lane"))
    except BackendUnavailable:
        return {one.uri: "later" for one in entries}
    return {end.outcome.uri: end.verdict for end in ends}


def fault(error: SelfiegateError) -> str:
    if isinstance(error, UserForgotten):
        return "forgotten"
    return "later" if isinstance(error, BackendUnavailable) else "failed"


def by_a_chunk(rt: Runtime, entries: Sequence[Entry]) -> dict[str, str]:
    """Process the photos as one chunk; return what became of each."""
    return by_one_chunk(rt, entries)[0]


def by_a_chunk_and_the_next(rt: Runtime, entries: Sequence[Entry]) -> dict[str, str]:
    """Do the same, and once more with those that are put off: one uploaded again waits for another of its chunk."""
    ended, again = by_one_chunk(rt, entries)
    return ended | by_one_chunk(rt, again)[0] if 0 < len(again) < len(entries) else ended


def by_one_chunk(rt: Runtime, entries: Sequence[Entry]) -> tuple[dict[str, str], list[Entry]]:
    """Return what became of each, and what is put off."""
    try:
        outcomes, again = Chunk(rt, "test", POOL, POOL, notify=True, local=True).run(entries)
    except BackendUnavailable:
        outcomes, again = [], [(entry, "") for entry in entries]
    ended: dict[str, str] = {one.uri: one.status for one in outcomes}
    for one in outcomes:
        if one.status == "skipped":
            with suppress(BackendUnavailable):  # our own look may meet a fault that the chunk did not come to
                row = one.photo and rt.ledger.get(one.photo, one.user_id)
                ended[one.uri] = row.status if row else "forgotten"
    return {**ended, **{entry.uri: "later" for entry, _ in again}}, [entry for entry, _ in again]


def state(world: SmallWorld) -> dict[str, Any]:
    """Tell all that the stores hold, photos by their names."""
    rt = world.rt
    names = {(user_id, ref.id): f"{user_id} {ref.key}" for ref in world.refs for user_id in USERS}
    origins = {rt.faces.origin(ref, user_id): names[user_id, ref.id] for ref in world.refs for user_id in USERS}
    folders = {thumbnails.folder(ref, user_id): names[user_id, ref.id] for ref in world.refs for user_id in USERS}
    faces = {face.face_id: origins[face.origin] for face in rt.faces.faces()}
    rows = [row for user_id in USERS for row in rt.ledger.claims_of(user_id)]
    notifier: Any = rt.notifier
    return {
        "rows": {names[row.user_id, row.photo.id]: told(row, faces) for row in rows},
        "faces": sorted(faces.values()),
        "thumbnails": sorted(folders[key.rpartition("/")[0]] for key in rt.thumbnails.keys()),  # noqa: SIM118  a store
        "profiles": {one.user_id: (one.photo.key, faces.get(one.face_id), one.remains) for one in rt.profiles.all()},
        "notices": sorted((names[one.user_id, one.photo.id], one.status) for one in notifier.sent),
    }


class Told(NamedTuple):
    """What a row tells."""

    status: str
    face: str | bool | None
    """The photo of the face that it names; True where that face is gone."""
    notice: str
    codes: tuple[str, ...] = ()
    matched: str | None = None
    score: float | None = None


def told(row: Claim, faces: dict[str, str]) -> Told:
    face = faces.get(row.face_id, True) if row.face_id else None
    if (verdict := row.verdict) is None:
        return Told(row.status, face, row.notice)
    # Of a user's faces that match, a photo may be refused for any: so for any score.
    score = None if verdict.score is None or verdict.matched_user_id else round(verdict.score, 3)
    codes = tuple(reason.code for reason in verdict.reasons)
    return Told(row.status, face, row.notice, codes, verdict.matched_user_id, score)


def as_a_chunk_searches(by_flow: dict[str, Any], by_chunk: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """Return the flow's state as a chunk tells it, which searches when it begins, and again when it confirms.

    A photo refused as a different person is not confirmed: whom the chunk itself accepts is not held against it.
    A photo that loses to two users names one of them; the chunk may name the one whose run died, or one that lost, too.
    """
    rows, undecided = dict(by_flow["rows"]), set[str]()
    for name, row in by_chunk["rows"].items():
        if row.status in ("pending", "accepting") and row.face:
            undecided.add(name.split()[0])
    for name, row in by_chunk["rows"].items():
        flow = rows[name]
        new = flow.matched and by_chunk["profiles"].get(flow.matched) != before["profiles"].get(flow.matched)
        both = flow.codes == ("face_already_enrolled", "different_person")
        if new and both and row.codes == ("different_person",):
            rows[name] = flow._replace(codes=row.codes, matched=None, score=row.score)
        elif row.codes == flow.codes and ((new and row.matched in undecided) or lost_too(row, flow, by_chunk)):
            rows[name] = flow._replace(matched=row.matched)
    return {**by_flow, "rows": rows}


def lost_too(row: Told, flow: Told, by_chunk: dict[str, Any]) -> bool:
    """Say whether the user whom a chunk names lost to the user whom the flow names."""
    rows = by_chunk["rows"].items()
    return any(name.split()[0] == row.matched and other.matched == flow.matched for name, other in rows)


def failing(rt: Runtime, fault: Fault) -> Runtime:
    """Let one call fail."""
    left = fault.number

    def tap(call: str, work: Callable[[], Any]) -> Any:
        nonlocal left
        if call != fault.call or (left := left - 1) != -1:
            return work()
        if fault.after:
            work()
        raise BackendUnavailable(f"{call} does not answer")

    return tapped(rt, tap)


def dated(drawn: Drawn) -> Drawn:
    """Date each upload, so that it is known which photo of a user is the newest, whenever it is claimed."""
    return drawn._replace(uploads=tuple(upload._replace(modified=n) for n, upload in enumerate(drawn.uploads, 1)))


def end_leases(world: SmallWorld, drawn: Drawn, held: bool = False) -> None:
    """Let all leases end; those of runs that are alive only where that is asked for."""
    for ref, upload in zip(world.refs, drawn.uploads, strict=True):
        row = world.rt.ledger.get(ref, upload.user_id)
        if row and (held or upload.past != "held"):
            world.rt.ledger.renew(row, -1)


def shown(drawn: Drawn) -> dict[str, set[str]]:
    """Return whom each user's usable photos show."""
    people = {user_id: set[str]() for user_id in USERS}
    for upload in drawn.uploads:
        if len(upload.people) == 1 and upload.people != BROKEN:
            people[upload.user_id].add(upload.people[0].rstrip("~"))
    return people


def users_alone(drawn: Drawn) -> set[str]:
    """Return the users who show one person at most, whom nobody else shows.

    Not who has several photos of which one vanishes later: it is refused unless it was decided before another won.
    """
    people = shown(drawn)
    counts = Counter(upload.user_id for upload in drawn.uploads)
    vanish = {upload.user_id for upload in drawn.uploads if upload.gone == "later" and counts[upload.user_id] > 1}
    return {
        user_id
        for user_id, mine in people.items()
        if len(mine) < 2 and not any(mine & theirs for other, theirs in people.items() if other != user_id)
    } - vanish


def parts_of(users: set[str], whole: dict[str, Any]) -> dict[str, Any]:
    """Return what concerns some users; without scores, and how often a user was told: a reply may have been lost."""

    def theirs(name: str) -> bool:
        return name.split()[0] in users

    return {
        "rows": {name: row._replace(score=None) for name, row in whole["rows"].items() if theirs(name)},
        "faces": [name for name in whole["faces"] if theirs(name)],
        "thumbnails": [name for name in whole["thumbnails"] if theirs(name)],
        "profiles": {user_id: profile for user_id, profile in whole["profiles"].items() if user_id in users},
        "notices": {notice for notice in whole["notices"] if theirs(notice[0])},
    }


def holders_of_faces(world: SmallWorld, drawn: Drawn) -> dict[str, int]:
    """Return how many users hold each face that is shown only by users who show no other."""
    people = shown(drawn)
    mixed = set[str]().union(*(some for some in people.values() if len(some) > 1))
    profiles = {profile.user_id for profile in world.rt.profiles.all()}
    return {
        who: sum(user_id in profiles for user_id in USERS if who in people[user_id])
        for who in set[str]().union(*people.values()) - mixed
    }


def assert_promises_once_all_is_done(world: SmallWorld, drawn: Drawn) -> None:
    """End erasures and photos that the listing left out; then stores agree, and nobody has another's face."""
    rt, take = world.rt, inline(world.rt, attempts=1)
    for user_id in drawn.being_forgotten:
        asyncio.run(forget_user(rt, take, user_id, "an erasure", sleep=no_time))
    end_leases(world, drawn, held=True)
    photos = [(ref, upload.user_id) for ref, upload in zip(world.refs, drawn.uploads, strict=True)]
    for ref, user_id in photos:
        if rt.ledger.get(ref, user_id):
            with suppress(PhotoInProgress):  # uploaded again, it waits for the photo that had replaced it
                asyncio.run(process_photo(rt, take, ref, user_id, "the end"))
    for ref, user_id in photos:
        if rt.ledger.get(ref, user_id):
            asyncio.run(process_photo(rt, take, ref, user_id, "the end"))
    by_a_chunk(rt, world.entries)  # what was uploaded again, and held by another run until now
    done = state(world)
    by_a_chunk(rt, world.entries)

    assert state(world) == done, "running photos again changed something"
    assert_consistent(rt, *photos)
    shows = {
        ref: upload.people[0].rstrip("~")
        for ref, upload in zip(world.refs, drawn.uploads, strict=True)
        if upload.people
    }
    people = [shows[profile.photo] for profile in rt.profiles.all()]
    assert len(people) == len(set(people)), f"two users have one face: {people}"


async def no_time(seconds: float) -> None:
    """Nobody is at work any more."""
