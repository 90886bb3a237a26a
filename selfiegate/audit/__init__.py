"""What runs that died left behind: photos to be run again, and stores that do not agree with each other.

A photo is finished by running it again (see `enrolment`). What no run would find any more is an orphan: it takes
a process that slept through its lease, a store that was restored from a backup, or somebody's own hands.

Looking is safe beside live traffic because of the order in which it is done: faces and thumbnails, then rows
without a verdict, then profiles. Whatever a run makes, it has a row before and a profile after. A face is removed only
where a row, or an erasure of its user, accounts for it. Nothing of a user whose row cannot be read is touched.

`orphans` says what one thing lacks, `rounds` goes through the stores, `repairs` mends.
"""

from selfiegate.audit.orphans import Kind, Orphan
from selfiegate.audit.repairs import drop, remove, remove_thumbnails, reopen, too_many
from selfiegate.audit.rounds import KEPT, Round, advance, begin, keep, orphans, second_look

__all__ = [
    "KEPT",
    "Kind",
    "Orphan",
    "Round",
    "advance",
    "begin",
    "drop",
    "keep",
    "orphans",
    "remove",
    "remove_thumbnails",
    "reopen",
    "second_look",
    "too_many",
]
