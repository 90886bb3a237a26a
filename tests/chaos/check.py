"""An independent look at the stores: SQLite's files, folders and AWS's own answers, never the product's code.

What the product promises is told here once more, from the outside: `violations` of a `Stores` that `read_files` or
`read_aws` took down.
"""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
from collections import defaultdict
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import boto3
import numpy as np
import psycopg

SAME_PERSON = 0.4
"""Cosine; the product's match threshold."""


@dataclass
class Row:
    """A photo's row in the ledger."""

    user_id: str
    photo: str
    photo_id: str
    status: str
    verdict: str | None
    face_id: str | None


class Held(NamedTuple):
    """A user's profile."""

    face_id: str
    photo: str
    remains: bool


@dataclass
class Stores:
    """What lies in the stores."""

    rows: list[Row] = field(default_factory=list)
    profiles: dict[str, Held] = field(default_factory=dict)
    faces: dict[str, str] = field(default_factory=dict)
    """Face id to user."""
    embeddings: dict[str, Any] = field(default_factory=dict)
    thumbnails: set[str] = field(default_factory=set)
    odd: list[str] = field(default_factory=list)
    """What is wrong within one store."""


def read_files(home: Path) -> Stores:
    """Read `records.db`, `gallery.db` and `thumbnails/`."""
    stores = Stores()
    with closing(_open(home / "records.db")) as db:
        columns = "user_id, photo ->> 'key', photo_id, status, verdict, face_id"
        stores.rows = [Row(*row) for row in db.execute(f"SELECT {columns} FROM claims")]  # noqa: S608  a constant
        wanted = "SELECT user_id, profile ->> 'face_id', profile ->> '$.photo.key', profile ->> 'remains' FROM profiles"
        stores.profiles = {user: Held(face, key, left != "[]") for user, face, key, left in db.execute(wanted)}
    with closing(_open(home / "gallery.db")) as db:
        for face_id, user_id, blob in db.execute("SELECT face_id, user_id, embedding FROM faces"):
            stores.faces[face_id] = user_id
            stores.embeddings[face_id] = np.frombuffer(blob, np.float16).astype(np.float32)
        lone = "SELECT count(*) FROM (SELECT id FROM faces EXCEPT SELECT id FROM sketches)"
        sketch = "SELECT count(*) FROM (SELECT id FROM sketches EXCEPT SELECT id FROM faces)"
        if any(db.execute(sql).fetchone()[0] for sql in (lone, sketch)):
            stores.odd.append("faces and sketches differ")
    stores.thumbnails = _files(home / "thumbnails")
    return stores


def read_postgres(url: str, home: Path) -> Stores:
    """Read all tables, and `thumbnails/`."""
    stores = Stores()
    with psycopg.connect(url) as db:
        columns = "user_id, photo ->> 'key', photo_id, status, verdict::text, face_id"
        stores.rows = [Row(*row) for row in db.execute(f"SELECT {columns} FROM claims".encode())]  # noqa: S608
        wanted = (
            "SELECT user_id, profile ->> 'face_id', profile -> 'photo' ->> 'key', profile ->> 'remains' FROM profiles"
        )
        stores.profiles = {user: Held(face, key, left != "[]") for user, face, key, left in db.execute(wanted)}
        for face_id, user_id, blob in db.execute("SELECT face_id, user_id, embedding FROM faces"):
            stores.faces[face_id] = user_id
            stores.embeddings[face_id] = np.frombuffer(blob, np.float16).astype(np.float32)
        faces, sketches = "SELECT id FROM faces", "SELECT id FROM sketches WHERE bits IS NOT NULL"
        if any(db.execute(f"{a} EXCEPT {b}".encode()).fetchall() for a, b in ((faces, sketches), (sketches, faces))):
            stores.odd.append("faces and sketches differ")
    stores.thumbnails = _files(home / "thumbnails")
    return stores


def _files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def read_aws(aws: Any) -> Stores:
    """Scan both tables, list the collection and the thumbnails."""
    dynamodb = boto3.resource("dynamodb", endpoint_url=aws.endpoint_url, region_name=aws.region)
    s3 = boto3.client("s3", endpoint_url=aws.endpoint_url, region_name=aws.region)
    rekognition = boto3.client("rekognition", endpoint_url=aws.rekognition_endpoint_url, region_name=aws.region)
    stores = Stores()
    for item in scanned(dynamodb.Table(aws.ledger_table)):
        if item["user_id"].startswith("\t"):  # what the records know of themselves: no user's id holds a tab
            continue
        photo = item["photo"] if isinstance(item["photo"], dict) else json.loads(item["photo"])
        values = item["status"], item.get("verdict"), item.get("face_id")
        stores.rows.append(Row(item["user_id"], photo["key"], item["photo_id"], *values))
    for item in scanned(dynamodb.Table(aws.profiles_table)):
        stores.profiles[item["Username"]] = Held(item["faceId"], item["s3key"], bool(item["remains"]))
    for page in rekognition.get_paginator("list_faces").paginate(CollectionId=aws.collection):
        stores.faces |= {face["FaceId"]: face["ExternalImageId"].rpartition("::")[0] for face in page["Faces"]}
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=aws.thumbnail_bucket):
        stores.thumbnails |= {found["Key"] for found in page.get("Contents", ())}
    return stores


def violations(
    stores: Stores, people: Mapping[tuple[str, str], str], newest: Mapping[str, str] | None = None
) -> list[str]:
    """Return what is broken; `people` says whom each (user, photo's key) that was handed in shows.

    `newest` says which photo's key a user uploaded last, who shows one person only, whom nobody else shows.
    """
    broken, accepted = list(stores.odd), defaultdict[str, set[str]](set)
    rows = {(row.user_id, row.photo): row for row in stores.rows}
    broken += [f"{user} {photo}: no row" for user, photo in people if (user, photo) not in rows]
    for (user, photo), row in rows.items():
        if row.status not in ("accepted", "rejected", "needs_review") or not row.verdict:
            broken.append(f"{user} {photo}: no verdict, but {row.status}")
        if row.status == "accepted":
            accepted[people[user, photo]].add(user)
            if user not in stores.profiles:
                broken.append(f"{user} {photo}: accepted without a profile")
        elif row.face_id:
            broken.append(f"{user} {photo}: refused, and its row names a face")
    for person in set(people.values()):
        if len(accepted[person]) != 1:
            broken.append(f"{person}: accepted for {sorted(accepted[person])}")
    for user, photo in (newest or {}).items():
        if user in stores.profiles and stores.profiles[user].photo != photo:
            broken.append(f"{user}: {stores.profiles[user].photo} is the profile, but {photo} was uploaded last")
    return broken + _of_profiles(stores, rows) + _alike(stores)


def _of_profiles(stores: Stores, rows: Mapping[tuple[str, str], Row]) -> list[str]:
    broken = []
    wanted = {profile.face_id: user for user, profile in stores.profiles.items()}
    broken += [f"{stores.faces[face]}: face {face} without a profile" for face in stores.faces.keys() - wanted.keys()]
    broken += [f"{wanted[face]}: profile without its face" for face in wanted.keys() - stores.faces.keys()]
    both = wanted.keys() & stores.faces.keys()
    broken += [f"{wanted[face]}: face of {stores.faces[face]}" for face in both if wanted[face] != stores.faces[face]]
    folders = {}
    for user, profile in stores.profiles.items():
        row = rows.get((user, profile.photo))
        if row is None or row.status != "accepted":
            broken.append(f"{user}: profile of a photo that was not accepted")
        if profile.remains:
            broken.append(f"{user}: remains of an older photo")
        folders[_folder(user, row.photo_id if row else "")] = user
    found = {name.rpartition("/")[0] for name in stores.thumbnails}
    broken += [f"thumbnails without a profile: {folder}" for folder in sorted(found - folders.keys())]
    broken += [f"{folders[folder]}: no thumbnails" for folder in sorted(folders.keys() - found)]
    broken += [f"half a file: {name}" for name in sorted(stores.thumbnails) if not re.search(r"/\d+x\d+\.jpg$", name)]
    return broken


def _alike(stores: Stores) -> list[str]:
    """Return pairs of users whose enrolled faces are one person's, by the embeddings themselves."""
    if not stores.embeddings:
        return []
    users, matrix = [stores.faces[face] for face in stores.embeddings], np.stack(list(stores.embeddings.values()))
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    pairs = zip(*np.nonzero(np.triu(matrix @ matrix.T, 1) >= SAME_PERSON), strict=True)
    return [f"{users[a]} and {users[b]} have one face" for a, b in pairs if users[a] != users[b]]


def traces(home: Path, embeddings: Mapping[str, Any]) -> list[str]:
    """Return whose embeddings are still somewhere in the gallery's file; it is checkpointed first."""
    with closing(_open(home / "gallery.db")) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    data = b"".join(path.read_bytes() for path in home.glob("gallery.db*"))
    # A row may be cut by a page's end, so a middle piece of it will do.
    return [user for user, vector in embeddings.items() if vector.astype(np.float16).tobytes()[100:164] in data]


def _open(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=30)


def _folder(user_id: str, photo_id: str) -> str:
    readable = re.sub(r"[^A-Za-z0-9_.-]+", "_", user_id).strip(".")[:40]
    return f"{readable}-{hashlib.sha256(user_id.encode()).hexdigest()[:16]}/{photo_id}"


def scanned(table: Any) -> list[dict[str, Any]]:
    """Return all items of a table; a page holds a megabyte of them."""
    found: dict[str, Any] = table.scan(ConsistentRead=True)
    items: list[dict[str, Any]] = found["Items"]
    while "LastEvaluatedKey" in found:
        found = table.scan(ConsistentRead=True, ExclusiveStartKey=found["LastEvaluatedKey"])
        items += found["Items"]
    return items
