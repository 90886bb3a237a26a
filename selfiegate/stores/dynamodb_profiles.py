"""Profiles in DynamoDB, in the workshop's own table, whose rows may be older than ours.

Theirs are the HASH key `Username` and the attributes `faceId`, `s3bucket`, `s3key`, `thumbnail{s3bucket, s3key}`;
ours stand beside them. Every change is one conditional write; every read is consistent.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from selfiegate.aws.settings import AwsSettings
from selfiegate.errors import UnreadableRow
from selfiegate.model import PhotoRef, Profile, Remains
from selfiegate.paging import Page
from selfiegate.rows import Skip, readable, reading, warn
from selfiegate.stores.dynamodb_schema import RecordsTable

WORKSHOPS = frozenset({"Username", "faceId", "s3bucket", "s3key", "thumbnail"})
ATTRIBUTES = WORKSHOPS | {
    *("thumbnails", "photoVersion", "model", "newness", "enrolledAt", "heldSince", "remains", "revision")
}
"""The workshop's and ours; other systems may have more beside them."""


class DynamoProfiles:
    """The workshop's table of profiles."""

    def __init__(self, settings: AwsSettings) -> None:
        self._table = RecordsTable(settings, settings.profiles_table)

    def get(self, user_id: str) -> Profile | None:
        """Return a user's profile, or None; one that the workshop wrote has revision 0 and no model."""
        item = self._table.get({"Username": user_id})
        return profile_of(item) if item else None

    def all(self, skip: Skip = warn) -> Iterable[Profile]:
        """Go through all profiles."""
        return readable(self._table.scan(), profile_of, skip)

    def page(self, after: str = "", limit: int = 1000, skip: Skip = warn) -> Page[Profile]:
        """Return some profiles."""
        items, after = self._table.scanned_page(after, limit)
        return Page(list(readable(items, profile_of, skip)), after)

    def of(self, user_ids: Collection[str], skip: Skip = warn) -> Sequence[Profile]:
        """Return the profiles of many users."""
        items = self._table.get_many([{"Username": user_id} for user_id in set(user_ids)])
        return list(readable(items, profile_of, skip))

    def put(self, profile: Profile, replacing: Profile | None) -> bool:
        """Store a profile unless something else than `replacing` is stored now."""
        item = profile_item(profile)
        if replacing is None:
            return self._table.put(item, "attribute_not_exists(Username)")
        key = {"Username": item.pop("Username")}
        if replacing.revision == 0:
            return self._table.overwrite(key, item, "attribute_exists(Username) AND attribute_not_exists(revision)")
        return self._table.overwrite(key, item, "revision = :replaced", replaced=replacing.revision)

    def remove(self, profile: Profile | UnreadableRow) -> bool:
        """Remove a profile unless another revision is stored now."""
        key = {"Username": profile.user_id}
        if not profile.revision:
            return self._table.delete(key, "attribute_exists(Username) AND attribute_not_exists(revision)")
        if isinstance(profile, UnreadableRow):
            return self._table.delete(key, "revision = :revision", revision=profile.revision)
        return self._table.delete(
            key, "revision = :revision AND faceId = :face_id", revision=profile.revision, face_id=profile.face_id
        )


def profile_item(profile: Profile) -> dict[str, Any]:
    """Return a profile as it is stored."""
    small = next(iter(profile.thumbnails.values()), "")
    bucket, _, key = small.removeprefix("s3://").partition("/")
    return {
        "Username": profile.user_id,
        "faceId": profile.face_id,
        "s3bucket": profile.photo.bucket,
        "s3key": profile.photo.key,
        "thumbnail": {"s3bucket": bucket, "s3key": key} if small.startswith("s3://") else {},
        "thumbnails": profile.thumbnails,
        "photoVersion": profile.photo.version,
        "model": profile.model,
        "newness": profile.upload_rank,
        "enrolledAt": profile.enrolled_at.isoformat(),
        "heldSince": profile.held_since,
        "remains": [remains.model_dump_json() for remains in profile.remains],
        "revision": profile.revision,
    }


def profile_of(item: Mapping[str, Any]) -> Profile:
    """Read a profile; raises `UnreadableRow`."""
    with reading("profile", item["Username"], revision=item.get("revision")):
        return _read(item)


def _read(item: Mapping[str, Any]) -> Profile:
    small = item.get("thumbnail") or {}
    seeds = {"seed": f"s3://{small['s3bucket']}/{small['s3key']}"} if small else {}
    return Profile(
        user_id=item["Username"],
        photo=PhotoRef(bucket=item["s3bucket"], key=item["s3key"], version=item.get("photoVersion", "unknown")),
        face_id=item["faceId"],
        thumbnails=item.get("thumbnails", seeds),
        model=item.get("model", ""),
        upload_rank=item.get("newness", ""),
        enrolled_at=datetime.fromisoformat(item.get("enrolledAt", datetime.fromtimestamp(0, UTC).isoformat())),
        held_since=None if item.get("heldSince") is None else int(item["heldSince"]),
        remains=tuple(Remains.from_store(text) for text in item.get("remains", ())),
        revision=int(item.get("revision", 0)),
    )
