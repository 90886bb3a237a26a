"""A face backend that does its worst within what the enrolment protocol assumes of Rekognition.

What is assumed, and all that is:

- IndexFaces is idempotent for one photo and user while the face is there; a face indexed anew has a new id.
- When `rivals` of a face searches, it finds every face that was indexed before that face and not removed
  (`settle_s` is longer than searches lag). Of those indexed later it may find any or none.
- A removed face may be found for any time; `holds` (ListFaces) tells the truth at once.
- The early `search` may miss whatever no `rivals` has waited for yet, but for nothing else.
- `blind` breaks this: searches lag for longer than anybody waits, and find no other face at all.
- `one_sided`: the later of two may miss the earlier for good, where the earlier had not searched yet when the later
  was indexed and is sure to find it: "it is enough if one of two rivals sees the other".
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence, Set
from dataclasses import dataclass, field

from selfiegate.errors import BackendUnavailable
from selfiegate.face import Box, Face
from selfiegate.model import Detection, Match, PhotoRef
from selfiegate.paging import Page
from selfiegate.ports import EnrolledFace, GalleryStats, Thresholds

_FACE = Face(box=Box(left=0.2, top=0.2, width=0.5, height=0.5), confidence=0.99, quality=82)


@dataclass
class Indexed:
    """A face of the collection."""

    number: int
    user_id: str
    person: str
    origin: str
    visible: bool = False
    searched: bool = False
    unseen: set[int] = field(default_factory=set)
    """Numbers of the faces that this one's searches miss, and whose searches find this one."""

    @property
    def face_id(self) -> str:
        """Its id, never given again."""
        return f"face {self.number}"


class LaggingFaces:
    """Faces by their photos' names: 'user/ann-1.png' shows ann."""

    remote = True
    model = device = "lagging"

    def __init__(self, one_sided: bool, thresholds: Thresholds) -> None:
        self.thresholds = thresholds
        self._one_sided, self._count, self.blind = one_sided, 0, False
        self._there, self._gone = dict[str, Indexed](), list[Indexed]()

    def catch_up(self) -> None:
        """Let searches find what is there, and nothing else."""
        self._gone.clear()
        for face in self._there.values():
            face.visible = True

    def detect(self, photo: PhotoRef) -> Detection:
        """Find the one face of each photo."""
        return Detection(faces=(_FACE,))

    def search(self, photo: PhotoRef, user_id: str, unclear: bool = False) -> Sequence[Match]:
        """Match the photo against what searches find."""
        seen = [face for face in self._there.values() if face.visible] + self._gone
        near = [face for face in seen if face.person == _person(photo) and not (self.blind and face.user_id != user_id)]
        return self._from_floor([_match(face, user_id) for face in near], unclear)

    def enrol(self, photo: PhotoRef, user_id: str) -> str:
        """Index the face, once."""
        origin = self.origin(photo, user_id)
        known = next((face for face in self._there.values() if face.origin == origin), None)
        if known:
            return known.face_id
        self._count += 1
        face = Indexed(self._count, user_id, _person(photo), origin)
        if self._one_sided:
            face.unseen = {other.number for other in self._there.values() if not other.searched}
        self._there[face.face_id] = face
        return face.face_id

    def rivals(self, face_id: str, user_id: str, unclear: bool = False) -> Sequence[Match]:
        """Match a face against what searches find when it has settled."""
        mine = self._there.get(face_id)
        if mine is None:
            raise BackendUnavailable(f"{face_id} is not in the collection")
        if self.blind:
            return []
        mine.searched = True
        for face in self._there.values():
            face.visible = face.visible or face.number <= mine.number
        there = [face for face in self._there.values() if face.number not in mine.unseen]
        seen = [face for face in there if face.visible or mine.number in face.unseen] + self._gone
        others = [face for face in seen if face.person == mine.person and face.user_id != user_id]
        return self._from_floor([_match(face, user_id) for face in others], unclear)

    def late_rivals(self, face_id: str, user_id: str) -> Sequence[Match]:
        """Match a face against all that are there: searches lag behind no longer."""
        mine = self._there.get(face_id)
        if mine is None:
            raise BackendUnavailable(f"{face_id} is not in the collection")
        others = [one for one in self._there.values() if one.person == mine.person and one.user_id != user_id]
        return self._from_floor([_match(face, user_id) for face in others], unclear=False)

    def remove(self, face_id: str) -> None:
        """Remove a face; searches go on finding it."""
        if face := self._there.pop(face_id, None):
            self._gone += [face] if face.visible else []

    def discard(self, photo: PhotoRef, user_id: str) -> None:
        """Remove the face of this photo and user."""
        for face in [face for face in self._there.values() if face.origin == self.origin(photo, user_id)]:
            self.remove(face.face_id)

    def holds(self, face_id: str) -> bool:
        """Say whether a face is there now."""
        return face_id in self._there

    def origin(self, photo: PhotoRef, user_id: str) -> str:
        """Return the ExternalImageId."""
        return f"{user_id}::{photo.id}"

    def faces(self) -> Iterable[EnrolledFace]:
        """Go through all that are there."""
        there = list(self._there.values())
        return [EnrolledFace(face_id=face.face_id, user_id=face.user_id, origin=face.origin) for face in there]

    def page(self, after: str = "", limit: int = 1000) -> Page[EnrolledFace]:
        """Return some that are there, by their numbers."""
        found = [face for face in self.faces() if int(face.face_id.split()[1]) > int(after or 0)][:limit]
        return Page(found, found[-1].face_id.split()[1] if len(found) == limit else "")

    def held(self, face_ids: Collection[str]) -> Set[str]:
        """Return those that are there now."""
        return self._there.keys() & set(face_ids)

    def faces_of(self, user_id: str) -> Sequence[str]:
        """Return the ids of a user's faces, as ListFaces does: at once."""
        return [face.face_id for face in self._there.values() if face.user_id == user_id]

    def page_of(self, user_id: str, after: str = "") -> Page[str]:
        """Return the same: a list of one page."""
        return Page(self.faces_of(user_id), "")

    def _from_floor(self, matches: Sequence[Match], unclear: bool) -> Sequence[Match]:
        return [match for match in matches if match.score >= self.thresholds.floor(unclear)]

    def stats(self) -> GalleryStats:
        """Count them."""
        return GalleryStats(faces=len(self._there), users=len(self._there), model=self.model)


def _person(photo: PhotoRef) -> str:
    return photo.key.rpartition("/")[2].split("-")[0]


def _match(face: Indexed, user_id: str) -> Match:
    """Match a face of the same person: the user's own, and another's, which may be called unclear."""
    score = 1.0 if face.user_id == user_id else 0.6
    return Match(face_id=face.face_id, user_id=face.user_id, score=score, origin=face.origin)
