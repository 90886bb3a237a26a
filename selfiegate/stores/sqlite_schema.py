"""The migrations of `records.db`; `selfiegate/sqlite_schema.py` says how to add one."""

from __future__ import annotations

import sqlite3

from selfiegate.sqlite_schema import Migration, Schema

_FIRST = """
CREATE TABLE IF NOT EXISTS claims (
    user_id TEXT NOT NULL,
    photo_id TEXT NOT NULL,
    photo TEXT NOT NULL,
    status TEXT NOT NULL,
    claimed_at INTEGER NOT NULL,
    owner TEXT NOT NULL,
    lease_until INTEGER NOT NULL,
    attempt INTEGER NOT NULL DEFAULT 1,
    contests TEXT NOT NULL DEFAULT '[]',
    face_id TEXT,
    verdict TEXT,
    notice TEXT NOT NULL DEFAULT 'none',
    notice_by TEXT,
    upload_order TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (user_id, photo_id)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS unfinished ON claims (lease_until)
    WHERE status IN ('pending', 'accepting') OR (status <> 'accepted' AND notice NOT IN ('sent', 'off'));
CREATE INDEX IF NOT EXISTS rejected ON claims (claimed_at) WHERE status = 'rejected';
CREATE TABLE IF NOT EXISTS profiles (
    user_id TEXT PRIMARY KEY, revision INTEGER NOT NULL, profile TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS erasures (
    user_id TEXT PRIMARY KEY, revision INTEGER NOT NULL, finished INTEGER NOT NULL, erasure TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS erasing ON erasures (user_id) WHERE NOT finished;
"""

_GALLERY = """
CREATE TABLE gallery (
    one INTEGER PRIMARY KEY CHECK (one = 1), records_id TEXT NOT NULL, gallery_id TEXT, newest INTEGER);
"""

_UPLOADS = """
ALTER TABLE claims ADD COLUMN uploads INTEGER NOT NULL DEFAULT 1;
CREATE INDEX to_review ON claims (claimed_at) WHERE status = 'needs_review';
"""

_SWEEPS = """
CREATE INDEX ended ON claims (lease_until, user_id, photo_id, attempt)
    WHERE status IN ('pending', 'accepting') OR (status <> 'accepted' AND notice NOT IN ('sent', 'off'));
DROP INDEX unfinished;
CREATE INDEX undecided_claims ON claims (user_id, photo_id)
    WHERE status NOT IN ('accepted', 'rejected', 'needs_review');
CREATE TABLE audit_bookmark (one INTEGER PRIMARY KEY CHECK (one = 1), text TEXT NOT NULL);
"""

_TOLD = """
ALTER TABLE claims ADD COLUMN told TEXT NOT NULL DEFAULT '[]';
"""

_LOOKS = """
ALTER TABLE claims ADD COLUMN look_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE claims ADD COLUMN looks INTEGER NOT NULL DEFAULT 0;
ALTER TABLE claims ADD COLUMN late_loss TEXT;
CREATE INDEX to_look_at ON claims (look_at, user_id, photo_id) WHERE status = 'accepted' AND look_at > 0;
"""

_ADDED = {
    "notice": "TEXT NOT NULL DEFAULT 'none'",
    "notice_by": "TEXT",
    "upload_order": "TEXT NOT NULL DEFAULT ''",
}
_RANK_FROM_CLAIM = """
UPDATE profiles SET profile =
    json_remove(json_set(profile, '$.newness', printf('%016d', profile ->> 'claimed_at')), '$.claimed_at')
WHERE json_valid(profile) AND profile ->> 'newness' IS NULL
"""


def _adopt(connection: sqlite3.Connection) -> None:
    """Add what claims and profiles lacked before photos were ordered by when they were uploaded."""
    columns = {row["name"] for row in connection.execute("PRAGMA table_info(claims)")}
    missing = [name for name in _ADDED if name not in columns]
    for name in missing if columns else ():
        connection.execute(f"ALTER TABLE claims ADD COLUMN {name} {_ADDED[name]}")
    if "notice" in missing and "notified" in columns:
        connection.execute("UPDATE claims SET notice = 'sent' WHERE notified")
        connection.execute("DROP INDEX IF EXISTS undecided")
        connection.execute(_RANK_FROM_CLAIM)


_ALL = (_FIRST, _GALLERY, _UPLOADS, _SWEEPS, _TOLD, _LOOKS)
RECORDS = Schema([Migration(sql, oldest_program=1) for sql in _ALL], _adopt)
