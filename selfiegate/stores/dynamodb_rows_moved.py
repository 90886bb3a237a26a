"""The records in DynamoDB as rows, and back: what a move carries.

The JSON of verdicts, late losses and erasures stays as it is. A profile's attributes of other systems go along in its
JSON. A refused photo's days go on from its claim. Where an audit stopped is not carried: it went through other pages.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from selfiegate.aws.dynamodb_table import typed, untyped
from selfiegate.aws.settings import AwsSettings
from selfiegate.errors import UnreadableRow
from selfiegate.model import Claim, Profile
from selfiegate.moved_rows import CLAIMS, ERASURES, PROFILES, TABLES, Left, Row, Table
from selfiegate.records import Erasure
from selfiegate.rows import reading
from selfiegate.stores.dynamodb_erasures import ERASURE, erasure_item
from selfiegate.stores.dynamodb_profiles import ATTRIBUTES, WORKSHOPS, profile_item, profile_of
from selfiegate.stores.dynamodb_rows import claim_of, text_of
from selfiegate.stores.dynamodb_schema import RecordsTable
from selfiegate.stores.dynamodb_unfinished import INDEX, REVIEW, late_mark_of, mark_of

Item = Mapping[str, Any]

_AT_ONCE = 1_000
_WRITERS = 16
_ANY = "attribute_exists({0}) OR attribute_not_exists({0})"
_MORE = frozenset({"photo_id", INDEX, "expires_at", "held_until", "notice_by"})
"""What a row of the ledger has beside a claim's fields."""
_OTHERS = "dynamodb"
"""In a profile's JSON: attributes that are not ours."""


class DynamoRows:
    """The rows of both tables."""

    def __init__(self, settings: AwsSettings, rejected_days: float) -> None:
        self._rows = RecordsTable(settings, settings.ledger_table)
        self._profiles = RecordsTable(settings, settings.profiles_table)
        self._rejected_s = rejected_days * 86_400

    def pages(self, table: Table) -> Iterator[tuple[Sequence[Row], Sequence[Left]]]:
        """Go through all items of one kind."""
        read = _READERS[table]
        for items in self._pages(table):
            rows, left = list[Row](), list[Left]()
            for item in items:
                try:
                    rows.append(read(item))
                except UnreadableRow as error:
                    left.append(Left(table.name, _key_of(table, item), error.why))
            yield rows, left

    def put(self, table: Table, rows: Sequence[Row]) -> Sequence[Left]:
        """Store rows, whatever is there under their keys."""
        condition, make = _ANY.format("Username" if table is PROFILES else "user_id"), self._maker(table)
        left, items = list[Left](), list[Item]()
        for row in rows:
            try:
                with reading(table.name, row[0]):
                    items.append(make(dict(zip(table.columns, row, strict=True))))
            except UnreadableRow as error:
                left.append(Left(table.name, table.key_of(row), error.why))
        _side_by_side(partial(self._store(table).put, condition=condition), items)
        return left

    def same(self, table: Table, rows: Sequence[Row]) -> bool:
        """Compare what rows mean: JSON may be written otherwise."""
        found = self._store(table).get_many([_item_key(table, table.key_of(row)) for row in rows])
        held = {table.key_of(row): row for row in map(_READERS[table], found)}
        return all(_meaning(table, held.get(table.key_of(row))) == _meaning(table, row) for row in rows)

    def count(self, table: Table) -> int:
        """Count the items of one kind that can be read."""
        return sum(len(rows) for rows, _ in self.pages(table))

    def empty(self) -> None:
        """Remove all items but those that cannot be read: no move has taken these along."""
        for table in TABLES:
            store, condition = self._store(table), f"attribute_exists({'Username' if table is PROFILES else 'user_id'})"
            for rows, _ in self.pages(table):
                keys = [_item_key(table, table.key_of(row)) for row in rows]
                _side_by_side(partial(store.delete, condition=condition), keys)

    def _store(self, table: Table) -> RecordsTable:
        return self._profiles if table is PROFILES else self._rows

    def _pages(self, table: Table) -> Iterator[Sequence[Item]]:
        store, after, first = self._store(table), "", True
        while first or after:
            items, after = store.scanned_page(after, _AT_ONCE)
            first = False
            yield [item for item in items if _kind_of(item) is table]

    def _maker(self, table: Table) -> Callable[[dict[str, Any]], Item]:
        return {CLAIMS: self._claim_item, PROFILES: _profile_item, ERASURES: _erasure_item}[table]

    def _claim_item(self, values: dict[str, Any]) -> Item:
        claim = Claim.from_store(
            {
                name: json.loads(value) if value and name in CLAIMS.documents else value
                for name, value in values.items()
                if name in Claim.model_fields
            }
        )
        item = claim.model_dump(exclude={"photo", "contests", "verdict", "late_loss", "told"})
        item |= {"photo_id": values["photo_id"], "photo": json.loads(values["photo"])}
        item |= {"contests": [text_of(one) for one in claim.contests], "late_loss": values["late_loss"]}
        more = {"verdict": values["verdict"], "notice_by": values["notice_by"], "told": list(claim.told)}
        item |= {name: value for name, value in more.items() if value}
        return item | self._index_of(claim, values["photo_id"])

    def _index_of(self, claim: Claim, photo_id: str) -> dict[str, Any]:
        """Return by which marks a row is found; see `dynamodb_unfinished`."""
        if claim.verdict is None:
            return {INDEX: mark_of(photo_id)}
        if claim.status == "accepted":
            late = {INDEX: late_mark_of(photo_id), "held_until": claim.lease_until, "lease_until": claim.look_at}
            return late if claim.look_at else {}
        told = claim.notice in ("sent", "off")
        since = claim.claimed_at / 1e6 if told else time.time()
        marks = {} if told and claim.status == "rejected" else {INDEX: REVIEW if told else mark_of(photo_id)}
        return {"expires_at": int(since + self._rejected_s), **marks}


def _kind_of(item: Item) -> Table | None:
    if "Username" in item:
        return PROFILES
    if item["user_id"].startswith("\t"):  # notes, which each store has of its own
        return None
    return ERASURES if item["photo_id"] == ERASURE else CLAIMS


def _key_of(table: Table, item: Item) -> tuple[str, ...]:
    return (item["user_id"], item["photo_id"]) if table is CLAIMS else (item.get("Username") or item["user_id"],)


def _item_key(table: Table, key: tuple[str, ...]) -> dict[str, str]:
    match table.name:
        case "profiles":
            return {"Username": key[0]}
        case "erasures":
            return {"user_id": key[0], "photo_id": ERASURE}
    return dict(zip(table.key, key, strict=True))


def _claim_row(item: Item) -> Row:
    claim = claim_of(item)
    with reading("ledger row", item["user_id"], item["photo_id"]):
        if unknown := sorted(set(item) - set(Claim.model_fields) - _MORE):
            raise ValueError(f"attributes of a newer version: {', '.join(unknown)}")
        if claim.photo.id != item["photo_id"]:
            raise ValueError("it is another photo's")
        values = claim.model_dump(exclude={"photo", "contests", "verdict", "late_loss", "told"})
        values |= {"photo": claim.photo.model_dump_json(), "told": json.dumps(claim.told)}
        values |= {"contests": json.dumps([one.model_dump() for one in claim.contests])}
        values |= {name: item.get(name) for name in ("photo_id", "verdict", "late_loss", "notice_by")}
        return tuple(values[name] for name in CLAIMS.columns)


def _profile_row(item: Item) -> Row:
    profile = profile_of(item)
    with reading("profile", profile.user_id):
        others = {name: typed(value) for name, value in item.items() if name not in ATTRIBUTES}
        kept = profile.model_dump(mode="json") | ({_OTHERS: others} if others else {})
        return profile.user_id, profile.revision, Profile.from_store(json.dumps(kept)).model_dump_json()


def _profile_item(values: dict[str, Any]) -> Item:
    profile = Profile.from_store(values["profile"])
    others = (profile.model_extra or {}).get(_OTHERS, {})
    item = {**{name: untyped(value) for name, value in others.items()}, **profile_item(profile)}
    if not profile.revision:  # the workshop's: attributes of ours would say that we wrote it
        return {name: value for name, value in item.items() if name not in ATTRIBUTES - WORKSHOPS}
    return item


def _erasure_row(item: Item) -> Row:
    with reading("erasure", item["user_id"]):
        erasure = Erasure.from_store(item["erasure"])
        return item["user_id"], int(item["revision"]), erasure.finished_at is not None, item["erasure"]


def _erasure_item(values: dict[str, Any]) -> Item:
    return erasure_item(Erasure.from_store(values["erasure"])) | {"erasure": values["erasure"]}


def _meaning(table: Table, row: Row | None) -> dict[str, Any] | None:
    if row is None:
        return None
    values = dict(zip(table.columns, row, strict=True))
    return {name: json.loads(value) if value and name in table.documents else value for name, value in values.items()}


def _side_by_side(write: Callable[[Item], object], items: Sequence[Item]) -> None:
    with ThreadPoolExecutor(_WRITERS) as pool:
        for _ in pool.map(write, items):
            pass


_READERS: dict[Table, Callable[[Item], Row]] = {CLAIMS: _claim_row, PROFILES: _profile_row, ERASURES: _erasure_row}
