"""The note of a move from one database to another, which takes the place of what records know of their gallery.

While it is there nothing searches or enrols beside these records, not even a process that had them open before: the
gallery at hand is not the one that they name. Versions that know no moves refuse them, too.
"""

from __future__ import annotations

from typing import Literal

from selfiegate.errors import BackendMisconfigured
from selfiegate.known_gallery import GalleryMark
from selfiegate.values import Value

_MARK = "move:"
_WHY = {
    "leaving": "a move to {place} was begun and has not ended: run `selfiegate move` again, or with --undo",
    "moved": "they have moved to {place}, and a face would be accepted here and there: set SELFIEGATE_DATABASE, "
    "SELFIEGATE_RECORDS and SELFIEGATE_HOME to lead there, or move back by `selfiegate move` from there",
    "clearing": "a move from {place} to here was begun and has not ended: run it again where it was begun",
    "arriving": "a move from {place} to here was begun and has not ended: run it again where it was begun",
}


class MoveNote(Value):
    """Why records may not be used."""

    id: str
    """Of the move; both sides note the same."""
    state: Literal["leaving", "moved", "clearing", "arriving"]
    """The first two of the side that is moved from, the others of the side that is moved to."""
    peer: str
    """`KnownGallery.records_id` of the other side."""
    place: str
    """The same for people."""
    mark: GalleryMark | None
    """What the note took the place of."""

    @property
    def as_mark(self) -> GalleryMark:
        """The note in the form in which records hold it."""
        return GalleryMark(gallery_id=_MARK + self.model_dump_json(), newest=0)


def note_in(mark: GalleryMark | None) -> MoveNote | None:
    """Return the note that a mark is, if it is."""
    if mark is None or not mark.gallery_id.startswith(_MARK):
        return None
    return MoveNote.model_validate_json(mark.gallery_id.removeprefix(_MARK))


def require_settled(mark: GalleryMark | None) -> None:
    """Raise `BackendMisconfigured` where records are on the move, or have moved away."""
    if note := note_in(mark):
        raise BackendMisconfigured(f"these records cannot be used: {_WHY[note.state].format(place=note.place)}")
