"""What a backfill leaves in files: a line of JSON a photo, and a sheet of the refused.

Photos come by the million: outcomes are written as they come, and none is held on to. For one thread at a time.
"""

from __future__ import annotations

import base64
import io
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

from selfiegate.backfill import contact_sheet
from selfiegate.backfill.outcomes import Outcome
from selfiegate.decoding.decode import Limits
from selfiegate.decoding.process_pool import decode
from selfiegate.errors import PhotoRejected, SelfiegateError, WrongInput
from selfiegate.model import PhotoRef
from selfiegate.ports import PhotoStore
from selfiegate.private_files import create_file

_THUMBNAIL_SIDE = 160


class JsonLines:
    """A file with one JSON object a photo, on its way to the disk with each `add`.

    Raises `WrongInput` where it cannot be written, at once for a wrong path.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with _writing(path):
            self._file = io.TextIOWrapper(create_file(path), encoding="ascii")

    def add(self, outcomes: Iterable[Outcome]) -> None:
        """Write a line for each of these."""
        for outcome in outcomes:
            with _writing(self._path):
                self._file.write(json.dumps(_line(outcome)) + "\n")
        with _writing(self._path):
            self._file.flush()

    def close(self) -> None:
        """Close the file."""
        with _writing(self._path):
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _line(outcome: Outcome) -> dict[str, Any]:
    return {
        "photo": outcome.uri,
        "user_id": outcome.user_id,
        "status": outcome.status,
        "reasons": [str(reason.code) for reason in outcome.reasons],
        "why": outcome.why,
        "before": outcome.before,
    }


class ContactSheet:
    """One HTML file with the refused photos (rejected, to be reviewed, failed) and their reasons.

    It grows as FILE.part and takes its name when it is closed, after an error, too: it then shows what was refused
    until there. What is left of a sheet that cannot be written is removed. It reads each photo once more.
    Raises `WrongInput` where it cannot be written.
    """

    def __init__(self, path: Path, photos: PhotoStore, limits: Limits, most: int = 500) -> None:
        self._path, self._photos, self._limits, self._most = path, photos, limits, most
        self._refused = self._shown = 0
        self._tags: Counter[str] = Counter()
        with _writing(path):
            if path.exists() and not path.is_file():  # renaming would replace a device
                raise WrongInput("it is not a file")
            self._part = path.with_name(f"{path.name}.part")
            self._part.unlink(missing_ok=True)  # of a process that was killed here
            self._file = os.fdopen(os.open(self._part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
        with self._whole_or_not():
            self._file.write(contact_sheet.HEAD + b" " * contact_sheet.TOP_LENGTH + contact_sheet.TILES)

    def add(self, outcomes: Iterable[Outcome]) -> None:
        """Count the refused of these, and show them as long as there is room."""
        for outcome in outcomes:
            if outcome.status not in ("accepted", "skipped"):
                self._add(outcome)
        with self._whole_or_not():
            self._file.flush()

    def close(self) -> None:
        """Write the counts and give the file its name."""
        if self._file.closed:
            return
        with self._whole_or_not():
            self._file.write(contact_sheet.FOOT)
            self._file.seek(len(contact_sheet.HEAD))
            self._file.write(contact_sheet.top(self._refused, self._shown, self._tags))
            self._file.close()
            self._part.replace(self._path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _add(self, outcome: Outcome) -> None:
        labels = _labels(outcome)
        self._refused += 1
        self._tags.update({tag for tag, _ in labels})
        if self._shown == self._most:
            return
        self._shown += 1
        tile = contact_sheet.tile(outcome.uri, outcome.user_id, self._picture(outcome.photo), labels, outcome.before)
        with self._whole_or_not():
            self._file.write(tile)

    def _picture(self, photo: PhotoRef | None) -> contact_sheet.Picture | str:
        """Return the photo made small, or why there is none."""
        if photo is None:
            return "no picture"
        try:
            small, _ = decode(self._photos.read(photo), self._limits, _THUMBNAIL_SIDE)
        except PhotoRejected as error:
            return f"no picture: {error.code.replace('_', ' ')}"
        except SelfiegateError:
            return "no picture: it could not be read now"
        out = io.BytesIO()
        small.save(out, "JPEG", quality=80)
        return contact_sheet.Picture(base64.b64encode(out.getvalue()).decode(), *small.size)

    @contextmanager
    def _whole_or_not(self) -> Iterator[None]:
        try:
            with _writing(self._path):
                yield
        except WrongInput:
            self._part.unlink(missing_ok=True)
            with suppress(OSError):  # it tries to write the rest
                self._file.close()
            raise


def _labels(outcome: Outcome) -> list[tuple[str, str]]:
    """Return what the photo can be filtered by, and what to say about it."""
    reasons = [(str(reason.code), reason.message) for reason in outcome.reasons]
    return reasons if outcome.status == "rejected" else [(outcome.status, outcome.why), *reasons]


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise WrongInput(f"cannot write {str(path)!r}: {why}") from None
