"""Ledger, profiles and erasures in one SQL database, so that writes to them can be one transaction."""

from __future__ import annotations

import json
import uuid
from collections.abc import Collection, Iterable, Sequence

from selfiegate.errors import UnreadableRow
from selfiegate.known_gallery import GalleryMark
from selfiegate.model import Profile
from selfiegate.paging import Page
from selfiegate.records import Erasure, Records
from selfiegate.rows import Skip, readable, reading, warn
from selfiegate.sql_database import SqlDatabase, SqlRow
from selfiegate.stores.sql_ledger import SqlLedger


def sql_records(database: SqlDatabase) -> Records:
    """Keep all in one database."""
    return Records(SqlLedger(database), SqlProfiles(database), SqlErasures(database), SqlKnownGallery(database))


class SqlProfiles:
    """The profiles for all processes that share the database."""

    def __init__(self, records: SqlDatabase) -> None:
        self._db = records

    def get(self, user_id: str) -> Profile | None:
        """Return a user's profile, or None."""
        rows = self._db.read("SELECT * FROM profiles WHERE user_id = ?", user_id)
        return _profile(rows[0]) if rows else None

    def all(self, skip: Skip = warn) -> Iterable[Profile]:
        """Go through all profiles, a thousand at a time."""
        page = self.page(skip=skip)
        yield from page.items
        while page.next:
            page = self.page(page.next, skip=skip)
            yield from page.items

    def page(self, after: str = "", limit: int = 1000, skip: Skip = warn) -> Page[Profile]:
        """Return some profiles, sorted by their users."""
        rows = self._db.read("SELECT * FROM profiles WHERE user_id > ? ORDER BY user_id LIMIT ?", after, limit)
        return Page(list(readable(rows, _profile, skip)), rows[-1]["user_id"] if len(rows) == limit else "")

    def of(self, user_ids: Collection[str], skip: Skip = warn) -> Sequence[Profile]:
        """Return the profiles of many users."""
        sql = f"SELECT * FROM profiles WHERE user_id IN {self._db.each_of_json}"  # noqa: S608  a constant
        return list(readable(self._db.read(sql, json.dumps(list(user_ids))), _profile, skip))

    def put(self, profile: Profile, replacing: Profile | None) -> bool:
        """Store a profile unless something else than `replacing` is stored now."""
        data = profile.model_dump_json()
        if replacing is None:
            sql = "INSERT INTO profiles (user_id, revision, profile) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
            return self._db.execute(sql, profile.user_id, profile.revision, data) == 1
        sql = "UPDATE profiles SET revision = ?, profile = ? WHERE user_id = ? AND revision = ?"
        return self._db.execute(sql, profile.revision, data, profile.user_id, replacing.revision) == 1

    def remove(self, profile: Profile | UnreadableRow) -> bool:
        """Remove a profile unless another revision is stored now."""
        if isinstance(profile, UnreadableRow):
            sql = "DELETE FROM profiles WHERE user_id = ? AND revision IS NOT DISTINCT FROM ?"
            return self._db.execute(sql, profile.user_id, profile.revision) == 1
        sql = "DELETE FROM profiles WHERE user_id = ? AND revision = ? AND profile ->> 'face_id' = ?"
        return self._db.execute(sql, profile.user_id, profile.revision, profile.face_id) == 1


class SqlErasures:
    """The erasures for all processes that share the database."""

    def __init__(self, records: SqlDatabase) -> None:
        self._db = records

    def get(self, user_id: str) -> Erasure | None:
        """Return a user's erasure, or None."""
        rows = self._db.read("SELECT * FROM erasures WHERE user_id = ?", user_id)
        return _erasure(rows[0]) if rows else None

    def put(self, erasure: Erasure, replacing: Erasure | UnreadableRow | None) -> bool:
        """Store an erasure unless something else than `replacing` is stored now."""
        values = erasure.revision, erasure.finished_at is not None, erasure.model_dump_json()
        if replacing is None:
            sql = """INSERT INTO erasures (user_id, revision, finished, erasure) VALUES (?, ?, ?, ?)
                ON CONFLICT DO NOTHING"""
            return self._db.execute(sql, erasure.user_id, *values) == 1
        sql = "UPDATE erasures SET revision = ?, finished = ?, erasure = ? WHERE user_id = ? AND revision = ?"
        return self._db.execute(sql, *values, erasure.user_id, replacing.revision) == 1

    def unfinished(self, skip: Skip = warn) -> Sequence[Erasure]:
        """Return those that are not finished."""
        rows = self._db.read("SELECT * FROM erasures WHERE NOT finished ORDER BY user_id")
        return list(readable(rows, _erasure, skip))


def _profile(row: SqlRow) -> Profile:
    with reading("profile", row["user_id"], revision=row["revision"]):
        return Profile.from_store(row["profile"])


def _erasure(row: SqlRow) -> Erasure:
    with reading("erasure", row["user_id"], revision=row["revision"]):
        return Erasure.from_store(row["erasure"])


class SqlKnownGallery:
    """The note about the gallery."""

    def __init__(self, records: SqlDatabase) -> None:
        self._db = records
        self._db.execute("INSERT INTO gallery (one, records_id) VALUES (1, ?) ON CONFLICT DO NOTHING", uuid.uuid4().hex)
        self.records_id = str(self._db.read("SELECT records_id FROM gallery")[0]["records_id"])

    def get(self) -> GalleryMark | None:
        """Return the mark, or None."""
        (row,) = self._db.read("SELECT gallery_id, newest FROM gallery")
        return GalleryMark(gallery_id=row["gallery_id"], newest=row["newest"]) if row["gallery_id"] else None

    @property
    def is_durable(self) -> bool:
        """Say whether this thread is in no transaction."""
        return not self._db.in_transaction

    def keep(self, mark: GalleryMark) -> None:
        """Store a first mark, or raise it."""
        sql = """
        UPDATE gallery SET gallery_id = :gallery_id, newest = :newest
        WHERE gallery_id IS NULL OR (gallery_id = :gallery_id AND newest < :newest)
        """
        self._db.execute(sql, mark.model_dump())

    def replace(self, mark: GalleryMark | None) -> None:
        """Rely on another gallery from now on, or on none."""
        values = (mark.gallery_id, mark.newest) if mark else (None, None)
        self._db.execute("UPDATE gallery SET gallery_id = ?, newest = ?", *values)
