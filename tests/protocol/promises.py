"""What must hold of a `tests.protocol.scheduler.World`: at every moment, and when all is done."""

from __future__ import annotations

from collections import defaultdict

from selfiegate import audit, thumbnails
from selfiegate.audit import Kind, Orphan
from selfiegate.enrolment.uploads import is_later
from selfiegate.model import Claim, Profile, ReasonCode
from tests.protocol.erasing import assert_forgotten, carry_on_all
from tests.protocol.scheduler import World


def assert_kept_for_now(world: World) -> None:
    """Hold the promises of every moment; a run that wrote after it lost its claim may break them until an audit."""
    if world.disturbed or any(run.late for run in world.live):
        return
    held = {face.face_id for face in world.gallery.faces()}
    owners = defaultdict[str, set[str]](set)
    for row in rows(world):
        if world.watch.under_way(row.user_id):
            continue
        profile = world.profiles.get(row.user_id)
        newer = profile and profile.upload_rank > row.upload_rank
        if row.status in ("accepting", "accepted") and not newer and not row.loses_late:
            assert row.face_id in held, f"the face of {row.photo.key} is won, and not in the gallery"
            owners[person(row.photo.key)].add(row.user_id)
    for profile in world.profiles.all():
        if world.watch.under_way(profile.user_id):
            continue
        assert profile.face_id in held, f"the profile of {profile.user_id} has no face"
        owners[person(profile.photo.key)].add(profile.user_id)
    for who, users in owners.items():
        assert len(users) < 2 or world.doubled, f"{who} is {' and '.join(sorted(users))}"


def assert_kept_in_the_end(world: World) -> None:
    """Let all runs end, run again what is unfinished, audit where that is needed, and hold the promises."""
    for run in world.live:
        run.end()
        assert_kept_for_now(world)
    carry_on_all(world)
    reconcile(world)
    look_late(world)
    if world.disturbed:
        repair(world)
    assert not audit.orphans(world.rt), f"orphans: {audit.orphans(world.rt)}"
    world.disturbed = False
    assert_kept_for_now(world)
    assert_nothing_is_left_over(world)
    assert_forgotten(world)
    before = snapshot(world)
    for user_id, name in world.uploads:
        world.start(user_id, name, owner="once more").end()
    assert snapshot(world) == before, "running a photo again changed something"


def assert_nothing_is_left_over(world: World) -> None:
    """Hold that faces and thumbnails are those of the profiles, and every photo has its verdict."""
    profiles = {profile.user_id: profile for profile in world.profiles.all()}
    assert {face.face_id for face in world.gallery.faces()} == {profile.face_id for profile in profiles.values()}
    folders = {thumbnails.folder(profile.photo, profile.user_id) for profile in profiles.values()}
    assert {key.rpartition("/")[0] for key in world.thumbnails.keys()} == folders  # noqa: SIM118  a store, not a dict
    assert all(not profile.remains for profile in profiles.values())
    for row in rows(world):
        assert row.verdict, f"{row.photo.key} has no verdict"
        profile = profiles.get(row.user_id)
        order = world.orders[row.user_id, row.photo.key.rpartition("/")[2].removesuffix(".png")]
        assert not is_later(order, row), f"{row.photo.key} was uploaded again, and nobody looked"
        if row.status == "accepted":
            assert profile, f"{row.photo.key} is accepted without a profile"
            assert profile.upload_rank > row.upload_rank or (profile.photo, profile.upload_rank) == (
                row.photo,
                row.upload_rank,
            )
        else:
            assert not profile or profile.photo != row.photo, f"{row.photo.key} is refused and has a profile"
            assert row.face_id is None
            assert_lost_to_somebody(world, row, profiles)


def assert_lost_to_somebody(world: World, row: Claim, profiles: dict[str, Profile]) -> None:
    """Hold that a photo refused for its face is refused for the sake of a user who has it, or shows another person.

    Left out: that user's other photos show somebody else, and one of those took the profile first; and who was
    forgotten meanwhile.
    """
    lost = {ReasonCode.FACE_ALREADY_ENROLLED, ReasonCode.UNCLEAR_MATCH}
    codes = {reason.code for reason in row.verdict.reasons} if row.verdict else set()
    people = {user: {person(name) for owner, name in world.uploads if owner == user} for user, _ in world.uploads}
    if ReasonCode.DIFFERENT_PERSON in codes:
        assert len(people[row.user_id]) > 1, f"{row.photo.key} is called a stranger's, and {row.user_id} is one person"
    if lost & codes:
        who = person(row.photo.key)
        others = {user for user, shown in people.items() if who in shown} - {row.user_id}
        # Or the user has it, by another photo: who won over this one may have lost to that.
        mine = {*others, row.user_id}
        has_it = {user for user in mine if user in profiles and person(profiles[user].photo.key) == who}
        elsewhere = any(len(people[user]) > 1 or user in world.watch.wishes for user in others)
        assert has_it or elsewhere, f"{row.photo.key} is refused for nobody"


def reconcile(world: World) -> None:
    """Run again what is unfinished, as `flows.reconcile` does, until nothing is."""
    for user_id, name in [*world.uploads, *world.uploads]:  # twice: a photo may wait for another one of its user
        row = world.ledger.get(world.uploads[user_id, name], user_id)
        # Uploads whose run died before its claim come as events again.
        untold = row is not None and row.status in ("rejected", "needs_review") and row.notice != "sent"
        if row is None or row.verdict is None or untold or is_later(world.orders[user_id, name], row):
            if row:
                world.ledger.renew(row, -1000)
            world.start(user_id, name, owner=f"reconcile {user_id} {name}").end()
    left = [row for row in rows(world) if row.verdict is None]
    assert not left, f"without a verdict when run again: {left}"


def look_late(world: World) -> None:
    """Look up what is due, as each `reconcile` does, until nothing is; from then on no two users have one face."""
    for _ in range(3):
        world.let_pass(86_401)
        world.look().end()
        reconcile(world)
    world.doubled = False


def repair(world: World) -> None:
    """Audit as `flows.reconcile` does with `repair`, until nothing is found."""
    for _ in range(3):
        for orphan in audit.orphans(world.rt):
            look_after(world, orphan)


def look_after(world: World, orphan: Orphan) -> None:
    """Repair one finding."""
    if orphan.kind in (Kind.PROFILE, Kind.BARE_PROFILE, Kind.LOST_PROFILE):
        if audit.reopen(world.rt, orphan):
            reconcile(world)
        audit.drop(world.rt, orphan)
    else:
        audit.remove(world.rt, orphan)


def rows(world: World) -> list[Claim]:
    """Return all rows of the ledger."""
    users = {user_id for user_id, _ in world.uploads}
    return [row for user_id in sorted(users) for row in world.ledger.claims_of(user_id)]


def snapshot(world: World) -> object:
    """Return all that the stores hold."""
    faces = sorted(face.face_id for face in world.gallery.faces())
    return rows(world), sorted(world.profiles.all(), key=lambda one: one.user_id), faces, world.thumbnails.files.copy()


def person(key: str) -> str:
    """Return whom a photo shows."""
    return key.rpartition("/")[2].split("-")[0]
