"""The migrations of the records in PostgreSQL; see `selfiegate/postgres_schema.py` for how to add one."""

from __future__ import annotations

from selfiegate.postgres_schema import Migration

_FIRST = """
CREATE TABLE claims (
    user_id text COLLATE "C" NOT NULL,
    photo_id text COLLATE "C" NOT NULL,
    photo json NOT NULL,
    status text NOT NULL,
    claimed_at bigint NOT NULL,
    owner text NOT NULL,
    lease_until bigint NOT NULL,
    attempt integer NOT NULL DEFAULT 1,
    contests json NOT NULL DEFAULT '[]',
    face_id text,
    verdict json,
    notice text NOT NULL DEFAULT 'none',
    notice_by text,
    upload_order text NOT NULL DEFAULT '',
    uploads integer NOT NULL DEFAULT 1,
    told json NOT NULL DEFAULT '[]',
    look_at bigint NOT NULL DEFAULT 0,
    looks integer NOT NULL DEFAULT 0,
    late_loss json,
    PRIMARY KEY (user_id, photo_id));
CREATE INDEX ended ON claims (lease_until, user_id, photo_id, attempt)
    WHERE status IN ('pending', 'accepting') OR (status <> 'accepted' AND notice NOT IN ('sent', 'off'));
CREATE INDEX undecided ON claims (user_id, photo_id) WHERE status NOT IN ('accepted', 'rejected', 'needs_review');
CREATE INDEX rejected ON claims (claimed_at) WHERE status = 'rejected';
CREATE INDEX to_review ON claims (claimed_at) WHERE status = 'needs_review';
CREATE INDEX to_look_at ON claims (look_at, user_id, photo_id) WHERE status = 'accepted' AND look_at > 0;
CREATE TABLE audit_bookmark (one integer PRIMARY KEY CHECK (one = 1), text text NOT NULL);
CREATE TABLE profiles (user_id text COLLATE "C" PRIMARY KEY, revision bigint NOT NULL, profile json NOT NULL);
CREATE TABLE erasures (
    user_id text COLLATE "C" PRIMARY KEY, revision bigint NOT NULL, finished boolean NOT NULL, erasure json NOT NULL);
CREATE INDEX erasing ON erasures (user_id) WHERE NOT finished;
CREATE TABLE gallery (
    one integer PRIMARY KEY CHECK (one = 1), records_id text NOT NULL, gallery_id text, newest bigint);
"""

RECORDS = (Migration(_FIRST, oldest_program=1),)
