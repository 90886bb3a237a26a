"""Users race for faces while their processes are killed and their stores fail: what remains is what was promised.

A few minutes' worth here; `CHAOS_ROUNDS` (`make chaos`) asks for more, with other dice each time.
"""

from __future__ import annotations

import contextlib
import os
import random
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pytest

from selfiegate.backends.scripted import ScriptedAnalyser, scripted_photo
from selfiegate.errors import BackendMisconfigured
from tests.chaos import check, rounds
from tests.chaos.galleries import LOSSES, Loss, LostGallery
from tests.chaos.rounds import BOTH, CALLS, FILES, Tally
from tests.chaos.worker import Fate, Photo, Strike, Where

pytestmark = [pytest.mark.system, pytest.mark.promise]

ROUNDS = int(os.environ.get("CHAOS_ROUNDS", "0"))
"""More rounds of each kind, at random calls and instants."""

UNVERSIONED = "unversioned"
"""A bucket in which the same bytes, uploaded again, are the same version."""

CAST = (("a", "ann", 0), ("b", "ann~", 0), ("c", "ann~~", 0), ("d", "bob", 0), ("d", "bob~", 1), ("d", "bob", 0))
"""User, face and number of each photo: three users with one face, and one who uploads two photos of another, and the
first of them again."""


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder in memory: no power fails here, and a killed process loses nothing that it wrote, so disks only cost."""
    fast = Path("/dev/shm")  # noqa: S108  a folder of our own in it
    with tempfile.TemporaryDirectory(dir=fast if fast.is_dir() else None) as folder:
        yield Path(folder)


def uploads(where: Where, turn: int) -> list[Photo]:
    """Upload a round's photos."""
    photos = []
    for at, (letter, face, number) in enumerate(CAST):
        name, looks = face.rstrip("~"), "~" * face.count("~")
        data = scripted_photo(f"{name} {turn}{looks}", size=(96, 96 + number))
        user, key = f"user_{letter}_{turn}", f"{turn}-{letter}-{number}.png"
        if where.aws:
            s3 = boto3.client("s3", endpoint_url=where.aws.endpoint_url, region_name=where.aws.region)
            with contextlib.suppress(s3.exceptions.BucketAlreadyOwnedByYou):
                s3.create_bucket(Bucket=UNVERSIONED, CreateBucketConfiguration={"LocationConstraint": where.aws.region})
            s3.put_object(Bucket=UNVERSIONED, Key=key, Body=data)
            photos.append(Photo(user, f"s3://{UNVERSIONED}/{key}", f"{name} {turn}", f"{at:016d}"))
        else:
            where.home.mkdir(exist_ok=True)
            (where.home / key).write_bytes(data)
            photos.append(Photo(user, str(where.home / key), f"{name} {turn}", f"{at:016d}"))
    return photos


def play(
    where: Where,
    turn: int,
    strikes: Sequence[Strike | None],
    tally: Tally,
    dice: random.Random | None = None,
    loss: tuple[Loss, float] | None = None,
) -> list[str]:
    """Race, mend, and return what is broken then, or changes when all photos are run once more.

    With a `loss` the gallery is lost so many seconds after the workers began.
    """
    photos = uploads(where, turn)
    if loss:
        lost = LostGallery(where, *loss)
        among = replace(where, also_expected=(BackendMisconfigured,))
        rounds.race(among, photos, strikes, tally, dice, lost.strike)
        lost.mend()
        tally.fates[f"gallery {loss[0]}"] += 1
    else:
        rounds.race(where, photos, strikes, tally, dice)
    rounds.settle(where, photos, tally)
    where.people.update({(photo.user_id, photo.uri.rpartition("/")[2]): photo.person for photo in photos})
    before = read(where)
    newest = {photo.user_id: photo.uri.rpartition("/")[2] for photo in photos}
    broken = check.violations(before, where.people, newest)
    if where.aws is None:
        broken += check.traces(where.home, refused(before, photos))
    rounds.settle(where, photos, tally)
    after = read(where)
    return broken + ["running all again changed something"] * (
        (before.rows, before.profiles) != (after.rows, after.profiles)
    )


def read(where: Where) -> check.Stores:
    return check.read_aws(where.aws) if where.aws else check.read_files(where.home)


def refused(stores: check.Stores, photos: Sequence[Photo]) -> dict[str, Any]:
    """Return the embeddings of the users that have no profile."""
    faces = {photo.user_id: CAST[at][1].count("~") for at, photo in enumerate(photos)}
    losers = [photo for photo in photos if photo.user_id not in stores.profiles]
    names = [f"{photo.person}{'~' * faces[photo.user_id]}".encode() for photo in losers]
    vectors = ScriptedAnalyser().embed([np.frombuffer(name, np.uint8) for name in names]) if names else ()
    return {photo.user_id: vector for photo, vector in zip(losers, vectors, strict=True)}


def strikes(at: int, fate: Fate) -> list[Strike]:
    """Strike each worker at another call: over 5 rounds every call of one or another, over `CALLS` every one of each.

    To die after a call is to die before the next: that is left to the long run.
    """
    return [Strike((at + 5 * worker) % CALLS + 1, fate) for worker in range(len(CAST))]


@pytest.mark.parametrize(
    "fate",
    [
        pytest.param(fate, marks=[pytest.mark.slow] * (fate not in ("reply lost", "disk full")))
        for fate in FILES
        if fate != "kill after"
    ],
)
def test_whatever_befalls_each_call_the_files_keep_the_promises(memory: Path, fate: Fate) -> None:
    tally, broken = Tally(), {}
    for at in range(CALLS if fate == "kill before" else 5):
        if found := play(Where(memory / str(at)), at, strikes(at, fate), tally):
            broken[at] = found
    print(f"{fate}: {tally}")

    assert not broken
    assert sum(tally.fates.values()) > tally.rounds


@pytest.mark.slow
@pytest.mark.parametrize("loss", LOSSES)
def test_whatever_befalls_the_gallery_the_files_keep_the_promises(memory: Path, loss: Loss) -> None:
    tally, dice, where = Tally(), random.Random(1), Where(memory / "home")  # noqa: S311  no secret
    nothing = [None] * len(CAST)
    broken = {
        at: found for at in range(5) if (found := play(where, at, nothing, tally, loss=(loss, dice.uniform(0, 0.5))))
    }
    print(tally)

    assert not broken


@pytest.mark.parametrize("turns", [4, pytest.param(15, marks=pytest.mark.slow)])
def test_killed_at_any_instant_the_files_keep_the_promises(memory: Path, turns: int) -> None:
    tally, dice = Tally(), random.Random(1)  # noqa: S311  no secret
    nothing = [None] * len(CAST)
    broken = {at: found for at in range(turns) if (found := play(Where(memory / str(at)), at, nothing, tally, dice))}
    print(tally)

    assert not broken


@pytest.mark.slow
@pytest.mark.parametrize("fate", [fate for fate in BOTH if fate != "kill after"])
def test_whatever_befalls_each_call_aws_keeps_the_promises(aws: Any, memory: Path, fate: Fate) -> None:
    tally, where = Tally(), Where(memory, aws)
    broken = {
        at: found
        for at in range(0, 5, 1 if fate == "kill before" else 2)
        if (found := play(where, at, strikes(at, fate), tally))
    }
    print(f"{fate}, AWS: {tally}")

    assert not broken
    assert sum(tally.fates.values()) > tally.rounds


@pytest.mark.skipif(not ROUNDS, reason="CHAOS_ROUNDS asks for it")
@pytest.mark.parametrize("on", ["files", "aws"])
def test_the_long_run(request: pytest.FixtureRequest, memory: Path, on: str) -> None:
    """Strike at random: other calls, other fates, other instants each time; the seed is printed."""
    seed = int(os.environ.get("CHAOS_SEED", random.randrange(10**6)))  # noqa: S311  no secret
    dice, tally, broken = random.Random(seed), Tally(), {}  # noqa: S311
    cloud = Where(memory, request.getfixturevalue("aws")) if on == "aws" else None
    for turn in range(ROUNDS if on == "files" else ROUNDS // 5):
        where = cloud or Where(memory / str(turn))
        fates: tuple[Fate | None, ...] = (None, *(FILES if on == "files" else BOTH))
        blows = [Strike(dice.randint(1, CALLS), fate) if (fate := dice.choice(fates)) else None for _ in CAST]
        at_any_instant = dice if dice.random() < 0.25 else None
        loss = (dice.choice(LOSSES), dice.uniform(0, 0.4)) if on == "files" and dice.random() < 0.2 else None
        plan = [None] * len(CAST) if at_any_instant else blows
        if found := play(where, turn, plan, tally, at_any_instant, loss):
            broken[turn] = (plan, loss, found)
            print(f"seed {seed}, round {turn}: {plan}, {loss}: {found}")
        if turn % 25 == 24:
            print(f"seed {seed}, {on}: {tally}")
    print(f"seed {seed}, {on}: {tally}")

    assert not broken
