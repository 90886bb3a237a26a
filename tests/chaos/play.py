"""One round: a cast of users uploads and races, is mended, and what the stores hold then is judged."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import boto3
import numpy as np

from selfiegate.backends.scripted import ScriptedAnalyser, scripted_photo
from selfiegate.errors import BackendMisconfigured
from tests.chaos import check, rounds
from tests.chaos.galleries import Loss, LostGallery
from tests.chaos.rounds import CALLS, Tally
from tests.chaos.worker import Fate, Photo, Strike, Where

UNVERSIONED = "unversioned"
"""A bucket in which the same bytes, uploaded again, are the same version."""

CAST = (("a", "ann", 0), ("b", "ann~", 0), ("c", "ann~~", 0), ("d", "bob", 0), ("d", "bob~", 1), ("d", "bob", 0))
"""User, face and number of each photo: three users with one face, and one who uploads two photos of another, and the
first of them again."""


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
    meanwhile: Callable[[], object] = lambda: None,
) -> list[str]:
    """Race, mend, and return what is broken then, or changes when all photos are run once more.

    With a `loss` the gallery is lost so many seconds after the workers began. `meanwhile` is called while they run.
    """
    photos = uploads(where, turn)
    if loss:
        lost = LostGallery(where, *loss)
        among = replace(where, also_expected=(BackendMisconfigured,))
        rounds.race(among, photos, strikes, tally, dice, lost.strike)
        lost.mend()
        tally.fates[f"gallery {loss[0]}"] += 1
    else:
        rounds.race(where, photos, strikes, tally, dice, meanwhile)
    rounds.settle(where, photos, tally)
    where.people.update({(photo.user_id, photo.uri.rpartition("/")[2]): photo.person for photo in photos})
    before = read(where)
    newest = {photo.user_id: photo.uri.rpartition("/")[2] for photo in photos}
    broken = check.violations(before, where.people, newest)
    if where.aws is None and not where.database:
        broken += check.traces(where.home, refused(before, photos))
    rounds.settle(where, photos, tally)
    after = read(where)
    return broken + ["running all again changed something"] * (
        (before.rows, before.profiles) != (after.rows, after.profiles)
    )


def read(where: Where) -> check.Stores:
    if where.aws:
        return check.read_aws(where.aws)
    return check.read_postgres(where.database, where.home) if where.database else check.read_files(where.home)


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
