"""The schemas that SQLite databases had before they were numbered, as those versions of the program wrote them."""

# From the history of selfiegate/stores/sqlite.py and selfiegate/galleries/sqlite.py, November 2026.

_CLAIMS = """
CREATE TABLE IF NOT EXISTS claims (
    user_id TEXT NOT NULL,
    photo_id TEXT NOT NULL,
    photo TEXT NOT NULL,
    status TEXT NOT NULL,
    claimed_at INTEGER NOT NULL,
    owner TEXT NOT NULL,
    lease_until INTEGER NOT NULL,
    attempt INTEGER NOT NULL DEFAULT 1,
    contests {contests},
    face_id TEXT,
    verdict TEXT,
    {notice},
    PRIMARY KEY (user_id, photo_id)) WITHOUT ROWID;
"""
_UNDECIDED = """
CREATE INDEX IF NOT EXISTS undecided ON claims (lease_until) WHERE status IN ('pending', 'accepting');
"""
_UNFINISHED = """
CREATE INDEX IF NOT EXISTS unfinished ON claims (lease_until)
    WHERE status IN ('pending', 'accepting') OR (status <> 'accepted' AND notice NOT IN ('sent', 'off'));
"""
_PROFILES = """
CREATE TABLE IF NOT EXISTS profiles (
    user_id TEXT PRIMARY KEY, revision INTEGER NOT NULL, profile TEXT NOT NULL) WITHOUT ROWID;
"""
_ERASURES = """
CREATE INDEX IF NOT EXISTS rejected ON claims (claimed_at) WHERE status = 'rejected';
CREATE TABLE IF NOT EXISTS erasures (
    user_id TEXT PRIMARY KEY, revision INTEGER NOT NULL, finished INTEGER NOT NULL, erasure TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS erasing ON erasures (user_id) WHERE NOT finished;
"""
_NOTIFIED = "notified INTEGER NOT NULL DEFAULT 0"
_NOTICE = """notice TEXT NOT NULL DEFAULT 'none',
    notice_by TEXT,
    upload_order TEXT NOT NULL DEFAULT ''"""
_NAMED = "TEXT NOT NULL DEFAULT '[]'"

RECORDS_BEFORE_NUMBERS = {
    "with counted contests": _CLAIMS.format(contests="INTEGER NOT NULL DEFAULT 0", notice=_NOTIFIED)
    + _UNDECIDED
    + _PROFILES,
    "with notified": _CLAIMS.format(contests=_NAMED, notice=_NOTIFIED) + _UNDECIDED + _PROFILES,
    "without upload_order": _CLAIMS.format(contests=_NAMED, notice="notice TEXT NOT NULL DEFAULT 'none'")
    + _UNFINISHED
    + _PROFILES,
    "without erasures": _CLAIMS.format(contests=_NAMED, notice=_NOTICE) + _UNFINISHED + _PROFILES,
    "without a number": _CLAIMS.format(contests=_NAMED, notice=_NOTICE) + _UNFINISHED + _ERASURES + _PROFILES,
}
"""By what tells them apart, the oldest first."""

FIRST_GALLERY = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS faces (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    face_id TEXT NOT NULL UNIQUE,
    user_id TEXT NOT NULL,
    embedding BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS faces_by_user ON faces (user_id);
CREATE TABLE IF NOT EXISTS sketches (id INTEGER PRIMARY KEY, bits BLOB NOT NULL);
"""
