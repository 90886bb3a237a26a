"""Moves an installation from one database to another while it is stopped, so that it may be killed at any moment.

    1  the source gets a note: nobody uses it any more
    2  the target gets a note, and is emptied of what it holds of an earlier move
    3  rows and faces are copied; what is there already of this move stays
    4  all rows are compared, and the audit is to find nothing that it does not find in the source
    5  the gallery of the target is tied to its records
    6  the source's note says that it has moved
    7  the target's note goes: it is used from now on

Each step may be repeated. At no moment may both sides be used, and after step 1 the source does not change.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from typing import NamedTuple

from selfiegate import thumbnails
from selfiegate.audit import Orphan
from selfiegate.errors import BackendMisconfigured, WrongInput
from selfiegate.galleries.bond_of_files import fits
from selfiegate.known_gallery import GalleryMark
from selfiegate.move_notes import MoveNote
from selfiegate.moved_rows import TABLES, Left
from selfiegate.moving.places import Place

Audit = Callable[[Place], set[Orphan]]
Watch = Callable[[int, int], None]
"""Is told how many rows of how many are done."""


class Moved(NamedTuple):
    """What a move did."""

    counts: dict[str, int]
    """Of each kind, in the target."""
    left: Sequence[Left]
    """Rows that stay in the source alone."""
    known: int
    """What the audit finds on both sides."""


class Move:
    """One move; `run` may be called again by another process after this one died."""

    def __init__(self, source: Place, target: Place, audit: Audit, watch: Watch = lambda *_: None) -> None:
        self._source, self._target, self._audit, self._watch = source, target, audit, watch

    def run(self, leave_behind: int = 0) -> Moved:
        """Move everything, but for at most so many rows that the target has no place for.

        Raises `WrongInput` where the two sides are not those of one move, or more rows would stay behind: the source
        can be used again then. `BackendMisconfigured` where somebody uses the source, or the sides differ at the end.
        """
        source, target = self._source, self._target
        if source.records.known_gallery.records_id == target.records.known_gallery.records_id:
            raise WrongInput(f"{target.name} is where everything lies already")
        note = self._begun()
        if note.state == "leaving":
            moved = self._filled(note, leave_behind)
            source.set(note.model_copy(update={"state": "moved"}).as_mark)
        else:
            moved = Moved(self._counts(), (), 0)
        target.set(self._mark_of(note))
        return moved

    def _begun(self) -> MoveNote:
        """Return the source's note of this move; write it where there is none."""
        source, target = self._source, self._target
        note, here = source.note(), target.note()
        if note is None:
            self._require_fitting()
            if events := source.waiting_events():
                raise BackendMisconfigured(
                    f"{events} photo events wait in {source.name} and would not be taken any more: let bridge and "
                    "workers finish them, with POST /events closed, then stop both and run it again"
                )
            target.require_free(source)
            ids = {"id": uuid.uuid4().hex, "peer": target.records.known_gallery.records_id, "place": target.name}
            mark = source.records.known_gallery.get()
            note = MoveNote(state="leaving", mark=mark, **ids)
            source.fence(note)
            return note
        if note.state in ("clearing", "arriving") or note.peer != target.records.known_gallery.records_id:
            raise WrongInput(
                f"{source.name} is in a move from or to {note.place} already; end that first, or --undo it"
            )
        if note.state == "moved" and not (here and here.id == note.id):
            raise WrongInput(f"{source.name} has moved to {target.name} already: set the settings to lead there")
        return note

    def _require_fitting(self) -> None:
        """Refuse a source whose gallery and records do not belong together."""
        mark, faces = self._source.records.known_gallery.get(), self._source.faces
        if faces is None:
            return
        state = faces.state()
        if mark is None and not faces.count() and not self._source.rows.count(TABLES[1]):
            raise WrongInput(f"there is nothing to move in {self._source.name}; is SELFIEGATE_HOME right?")
        if mark is None or not fits(mark, state):
            raise BackendMisconfigured(
                f"gallery and records in {self._source.name} do not belong together; `selfiegate doctor` says why"
            )

    def _filled(self, note: MoveNote, leave_behind: int) -> Moved:
        self._source.require_idle()
        self._prepare_target(note)
        left = self._copied()
        if len(left) > leave_behind:
            self._source.set(note.mark)
            raise WrongInput(
                f"{self._target.name} has no place for {len(left)} rows, so {self._source.name} can be used again: "
                f"{'; '.join(map(str, left[:3]))}. `selfiegate forget` these users, or leave their rows behind by "
                f"--leave-behind {len(left)}"
            )
        self._require_same(left)
        if self._target.faces and self._source.faces:
            newest = max(faces.state().newest for faces in (self._source.faces, self._target.faces))
            newest = max(newest, note.mark.newest if note.mark else 0)
            records_id = self._target.records.known_gallery.records_id
            self._target.faces.tie(note.id, records_id, self._source.faces.model(), newest)
        return Moved(self._counts(), left, self._audited(left))

    def _prepare_target(self, note: MoveNote) -> None:
        source, target = self._source, self._target
        here = target.note()
        if here is None or here.id != note.id:
            target.require_free(source)
            peer = source.records.known_gallery.records_id
            here = MoveNote(id=note.id, state="clearing", peer=peer, place=source.name, mark=None)
            target.fence(here)
        if here.state == "clearing":
            target.empty()
            target.set(here.model_copy(update={"state": "arriving"}).as_mark)

    def _copied(self) -> list[Left]:
        source, target, left, done = self._source, self._target, list[Left](), 0
        total = sum(source.rows.count(table) for table in TABLES) + (source.faces.count() if source.faces else 0)
        for table in TABLES:
            for rows, unreadable in source.rows.pages(table):
                left += [*unreadable, *target.rows.put(table, rows)]
                done += len(rows)
                self._watch(done, total)
        if source.faces and target.faces:
            last = target.faces.last()
            done += target.faces.count()
            for faces in source.faces.pages(last):
                target.faces.put(faces)
                done += len(faces)
                self._watch(done, total)
        if source.keeps_bookmarks and target.keeps_bookmarks:
            target.records.ledger.keep_audit_bookmark(source.records.ledger.audit_bookmark())
        return left

    def _require_same(self, left: Sequence[Left]) -> None:
        source, target = self._source, self._target
        gone = {(one.kind, one.key) for one in left}
        for table in TABLES:
            count = 0
            for rows, _ in source.rows.pages(table):
                kept = [row for row in rows if (table.name, table.key_of(row)) not in gone]
                self._require(target.rows.same(table, kept), table.name)
                count += len(kept)
            self._require(target.rows.count(table) == count, table.name)
        if source.faces and target.faces:
            self._require(all(map(target.faces.same, source.faces.pages())), "faces")
            self._require(target.faces.count() == source.faces.count(), "faces")

    def _require(self, is_same: bool, kind: str) -> None:
        if not is_same:
            raise BackendMisconfigured(
                f"the {kind} in {self._target.name} are not those of {self._source.name}: somebody wrote to one of "
                "them meanwhile; see that nothing else runs, then `selfiegate move --undo`, and move again"
            )

    def _audited(self, left: Sequence[Left]) -> int:
        """Return how much the audit finds in the target; refuse what it does not find in the source.

        But for users whose rows stay behind: what these accounted for lacks them.
        """
        found = self._audit(self._target)
        new = found - self._audit(self._source) if found else set()
        users = {one.key[0] for one in left}
        homes = tuple(f"{thumbnails.home(user_id)}/" for user_id in users)
        if new := {one for one in new if one.user_id not in users and not one.name.startswith(homes)}:
            first = next(iter(new))
            raise BackendMisconfigured(
                f"the audit finds {len(new)} things in {self._target.name} that it does not find in "
                f"{self._source.name}, {first.kind} {first.name} for one; `selfiegate move --undo`, and report it"
            )
        return len(found)

    def _mark_of(self, note: MoveNote) -> GalleryMark | None:
        """Return what the target's records rely on from now on."""
        faces = self._target.faces
        return GalleryMark(gallery_id=note.id, newest=faces.state().newest) if faces else note.mark

    def _counts(self) -> dict[str, int]:
        found = {table.name: self._target.rows.count(table) for table in TABLES}
        return {**found, "faces": self._target.faces.count()} if self._target.faces else found


def undo(source: Place) -> str:
    """Let a source be used again that a move was begun from, or that has moved; return where to."""
    note = source.note()
    if note is None or note.state in ("clearing", "arriving"):
        raise WrongInput(f"nothing moves away from {source.name}")
    source.set(note.mark)
    return note.place
