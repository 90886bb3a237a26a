"""What a backfill goes through: sorted, in chunks, with faults beside it."""

from __future__ import annotations

import random

import pytest
from pydantic import ValidationError

from selfiegate.backfill.listing import Entry, Fault, Listing
from selfiegate.errors import WrongInput


def entry(uri: str, modified: int = 0, **more: str) -> Entry:
    return Entry.model_validate({"uri": uri, "user_id": "ann", "modified": modified, **more})


def uris(listing: Listing, size: int = 2) -> list[str]:
    return [one.uri for chunk in listing.chunks(size) for one in chunk]


def test_entries_come_in_chunks_as_they_were_added() -> None:
    added = [entry(f"s3://photos/{name}", 7, version="v1", user_id=name) for name in "abc"]
    with Listing() as listing:
        listing.add(added)

        assert list(listing.chunks(2)) == [added[:2], added[2:]]
        assert (len(listing), listing.fault_count) == (3, 0)


def test_by_key_is_by_bytes_as_s3_lists() -> None:
    names = ["/b", "/\U0001f600", "/Z", "/ﬁ", "/a/1", "/a", "/a\0b", "/ü"]
    with Listing() as listing:
        listing.add(map(entry, names))

        assert uris(listing) == sorted(names, key=str.encode)


def test_by_age_the_older_comes_first_and_ties_go_by_key() -> None:
    with Listing("modified") as listing:
        listing.add([entry("/new", 9), entry("/b", 5), entry("/a", 5), entry("/unknown")])

        assert uris(listing, 1) == ["/unknown", "/a", "/b", "/new"]


@pytest.mark.parametrize("order", ["key", "modified"])
def test_ten_thousand_entries_come_once_each_in_any_order_of_adding(order: str) -> None:
    added = [entry(f"/{n:05d}", modified=10_000 - n // 10) for n in range(10_000)]
    shuffled = random.Random(7).sample(added, len(added))  # noqa: S311  no secret
    with Listing(order) as listing:  # type: ignore[arg-type]
        listing.add(shuffled)
        chunks = list(listing.chunks(300))

    expected = added if order == "key" else sorted(added, key=lambda one: (one.modified, one.uri))
    assert [one for chunk in chunks for one in chunk] == expected
    assert [len(chunk) for chunk in chunks] == [300] * 33 + [100]


def test_what_is_added_twice_counts_once_but_each_user_of_a_photo_counts() -> None:
    with Listing() as listing:
        listing.add([entry("/a"), entry("/a"), entry("/a", user_id="bob"), Fault(where="x", why="y")])
        listing.add([entry("/a"), Fault(where="x", why="y")])

        assert (len(listing), listing.fault_count) == (2, 1)


def test_faults_are_sorted_and_readable_whatever_they_name() -> None:
    with Listing() as listing:
        listing.add([Fault(where="/b\udcff\n\x1b[2J", why="é"), Fault(where="/a" * 9999, why="long")])

        assert [one.where for one in listing.faults] == [("/a" * 9999)[:4096], "/b\\udcff\\n\\x1b[2J"]
        assert [one.why for one in listing.faults] == ["long", "é"]
        assert len(listing) == 0


def test_many_faults_are_listed_one_by_one() -> None:
    with Listing() as listing:
        listing.add(Fault(where=f"{n:05d}", why="") for n in range(2500))

        assert [int(one.where) for one in listing.faults] == list(range(2500))


def test_what_came_before_a_source_failed_is_kept() -> None:
    def failing() -> object:
        yield from (entry(f"/{n:05d}") for n in range(6000))
        raise WrongInput("damaged")

    with Listing() as listing:
        with pytest.raises(WrongInput, match="damaged"):
            listing.add(failing())  # type: ignore[arg-type]

        assert len(listing) == 5000


def test_chunks_may_be_taken_while_more_is_added() -> None:
    with Listing() as listing:
        listing.add(map(entry, "ace"))
        chunks = listing.chunks(1)
        first = next(chunks)
        listing.add(map(entry, "bd"))

        assert [one.uri for chunk in [first, *chunks] for one in chunk] == list("abcde")


def test_a_chunk_of_nothing_is_refused() -> None:
    with Listing() as listing, pytest.raises(WrongInput, match="1 or more"):
        next(listing.chunks(0))


def test_the_upload_order_sorts_with_that_of_events() -> None:
    assert entry("/a", 1_795_185_333_250_000).upload_order == "1795185333250000"
    assert entry("/a").upload_order == ""
    with pytest.raises(ValidationError):
        entry("/a", 10**16)
