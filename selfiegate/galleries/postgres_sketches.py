"""The sketches of a gallery in PostgreSQL, as one process holds them.

A server that takes over may lack the last commits of the one before, and then gives their numbers to other faces. So
each row of `sketches` carries a random token for good, and each change has its row. A process that finds another token,
or none, at the highest number that it knows reads all rows again. Marks of before are then of no use to it.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from pathlib import Path
from uuid import UUID

import numpy as np
from psycopg.rows import DictRow

from selfiegate.galleries import snapshot
from selfiegate.galleries.sketch import SketchIndex
from selfiegate.galleries.snapshot import Origin
from selfiegate.postgres_database import PostgresDatabase

_log = logging.getLogger(__name__)
_AT_ONCE = 50_000
"""Sketches read in one statement: 3.6 MB."""
_REMOVED_S = 3600
"""After so long a copy that holds what was removed since is written anew, by a process that searches."""
_WORTH_KEEPING = 50_000
"""Sketches from which a copy on this machine's disk is kept: fewer are read in a tenth of a second."""

_NEW_SKETCHES = """
SELECT (SELECT token FROM sketches WHERE id = :highest) AS token, packed, removed, last, found,
       (SELECT token FROM sketches WHERE id = last) AS last_token
FROM (SELECT string_agg(int8send(id) || bits, ''::bytea ORDER BY id) AS packed, max(id) AS last, count(*) AS found,
             array_agg(removed) FILTER (WHERE removed IS NOT NULL) AS removed
      FROM (SELECT id, bits, removed FROM sketches WHERE id > :highest ORDER BY id LIMIT :at_once) AS one_by_one
     ) AS together
"""


class PostgresSketches:
    """An index of a gallery's sketches, which follows the database; one thread at a time may ask for it."""

    def __init__(
        self,
        database: PostgresDatabase,
        width: int,
        gallery_id: str | None,
        copy: Path | None,
        worth_keeping: int = _WORTH_KEEPING,
        removed_s: float = _REMOVED_S,
    ) -> None:
        """Begin with the copy at `copy`, or with nothing; `width` bytes are a sketch."""
        self._db, self._width, self._row = database, width, np.dtype([("id", ">i8"), ("bits", np.uint8, width)])
        self._gallery_id, self._copy = gallery_id or "", copy if gallery_id else None
        self._index, self._highest, self._token = SketchIndex(width), 0, UUID(int=0)
        self.distrusted = 0
        self._worth_keeping, self._removed_s = worth_keeping, removed_s
        self._kept, self._kept_at, self._holds_removed = 0, -math.inf, False
        self._keeping: threading.Thread | None = None
        if self._copy and (found := snapshot.load(self._copy, self._gallery_id, width)):
            origin, self._index = found
            self._highest, self._token, self._kept = origin.highest, UUID(origin.token), len(self._index)

    def newest(self) -> int:
        """Return the highest number as of all commits before this call: what is known here ends with it."""
        self.current()
        return self._highest

    def current(self) -> SketchIndex:
        """Return the index as of all commits before this call; of those that come meanwhile it waits for none."""
        while True:
            (row,) = self._db.read_binary(_NEW_SKETCHES, {"highest": self._highest, "at_once": _AT_ONCE})
            if self._highest and row["token"] != self._token:
                self._begin_anew()
                continue
            if row["found"]:
                self._take(row)
            if row["found"] < _AT_ONCE:
                self._keep()
                return self._index

    def close(self) -> None:
        """Wait until a copy that is being written is written."""
        if self._keeping:
            self._keeping.join()

    def _take(self, row: DictRow) -> None:
        rows = np.frombuffer(row["packed"] or b"", self._row)
        self._index.extend(rows["id"].astype(np.int64), rows["bits"].tobytes())
        for number in row["removed"] or ():
            self._index.discard(number)
            self._holds_removed = True
        self._highest, self._token = row["last"], row["last_token"]

    def _begin_anew(self) -> None:
        """Read all rows again; marks of before mean nothing any more, nor does the copy."""
        _log.warning("the gallery in PostgreSQL has other faces than it had; all sketches are read again")
        self.distrusted = max(self.distrusted, self._highest)
        self._index, self._highest = SketchIndex(self._width), 0
        self._kept_at, self._holds_removed = -math.inf, True

    def _keep(self) -> None:
        """Copy the index to disk beside the caller, where it has grown by an eighth or the copy holds what was removed.

        What fails costs the next start's time. One that cannot be written anew is removed.
        """
        if self._copy is None or (self._keeping and self._keeping.is_alive()):
            return
        grown = len(self._index) - self._kept >= max(self._worth_keeping, self._kept // 8)
        due = self._holds_removed and time.monotonic() - self._kept_at > self._removed_s
        stale = due and self._copy.exists()
        if not (grown or stale):
            return
        self._kept, self._kept_at, self._holds_removed = len(self._index), time.monotonic(), False
        origin, blocks = Origin(self._gallery_id, self._highest, str(self._token)), self._index.blocks(snapshot.BLOCK)

        def keep(copy: Path) -> None:
            try:
                if not snapshot.save(copy, origin, self._width, blocks) and stale:  # another process is at it,
                    self._kept_at, self._holds_removed = -math.inf, True  # and may have begun before the removal
            except OSError as error:
                _log.warning("the sketches are not kept at %s, the next start reads all of them: %s", copy, error)
                if stale:
                    snapshot.remove(copy)

        self._keeping = threading.Thread(target=keep, args=(self._copy,), name="keep sketches", daemon=True)
        self._keeping.start()
