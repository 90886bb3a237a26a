"""What can go wrong, and whose it is.

    SelfiegateError
    ├── PhotoRejected          the user's: an outcome that is recorded and told, never retried
    │   └── FaceRefused        the gallery does not take the face, for one or more reasons
    ├── BackendUnavailable     nobody's: a store or a model that does not answer now; retried
    │   ├── PhotoInProgress    another run holds the claim on this photo
    │   └── StillContested     an older claim on the same face is not decided yet
    ├── ClaimLost              another run took over this photo; this one stops and touches nothing more
    │   ├── UserForgotten      its user asked to be forgotten after it was uploaded
    │   └── LeftForLater       an erasure that goes on with the next `reconcile`
    ├── BackendMisconfigured   the operator's: says what is missing and the setting that mends it
    │   └── WrongSetting       a setting that is not known, or whose value is not allowed
    ├── UnreadableRow          a stored row that this version cannot read; everything else goes on
    ├── PartlyTold             some ways of notices sent one, and others did not; holds the error to raise instead
    └── WrongInput             the caller's: names the value and what is allowed

Each keeps its arguments, so that it survives pickling between processes.
"""

from __future__ import annotations

from typing import Any


class SelfiegateError(Exception):
    """Base of all errors that selfiegate raises on purpose."""


class PhotoRejected(SelfiegateError):
    """The photo cannot be used; `code` is the stable reason (see `advice.ADVICE`).

    `measured` is what is too large or too small: the file's bytes, or width and height in pixels.
    """

    def __init__(self, code: str, *measured: int) -> None:
        super().__init__(code, *measured)
        self.code, self.measured = code, measured

    @property
    def codes(self) -> tuple[str, ...]:
        """All reasons."""
        return (self.code,)

    def __str__(self) -> str:
        return self.code


class FaceRefused(PhotoRejected):
    """The gallery does not take the face; each argument is a reason."""

    def __init__(self, *codes: str) -> None:
        super().__init__(codes[0])
        self.args = codes

    @property
    def codes(self) -> tuple[str, ...]:
        """All reasons."""
        return self.args

    def __str__(self) -> str:
        return ", ".join(self.args)


class BackendUnavailable(SelfiegateError):
    """A store or model does not answer now; trying again may help."""


class PhotoInProgress(BackendUnavailable):
    """Another run is working on this photo for this user."""


class StillContested(BackendUnavailable):
    """An older claim on the same face is not decided yet."""


class ClaimLost(SelfiegateError):
    """Another run took over this photo after this one's lease ran out."""


class UserForgotten(ClaimLost):
    """The photo's user asked to be forgotten after it was uploaded: it is not to be looked at again."""


class LeftForLater(ClaimLost):
    """An erasure took long enough for one `reconcile`, and goes on with the next one."""


class BackendMisconfigured(SelfiegateError):
    """The set-up is wrong; the message names the setting that mends it."""


class WrongSetting(BackendMisconfigured):
    """A setting is not known, or its value is not allowed; the message names the setting and what is."""


class PartlyTold(SelfiegateError):
    """Of several ways of notices, those of `told` sent one; `error` is what kept others from it."""

    def __init__(self, told: tuple[str, ...], error: Exception) -> None:
        super().__init__(told, error)
        self.told, self.error = told, error

    def __str__(self) -> str:
        return str(self.error)


class UnreadableRow(SelfiegateError):
    """A stored row cannot be read: a newer version wrote it, or it was damaged.

    `name` is the photo's id in the ledger, else empty. `revision` is what the row holds as its revision.
    """

    def __init__(self, kind: str, user_id: str, why: str, name: str = "", revision: Any = None) -> None:
        super().__init__(kind, user_id, why, name, revision)
        self.kind, self.user_id, self.why, self.name, self.revision = kind, user_id, why, name, revision

    def __str__(self) -> str:
        which = f" {self.name}" if self.name else ""
        return (
            f"the {self.kind}{which} of {self.user_id!r} cannot be read ({self.why}); a newer version of selfiegate "
            "wrote it, or it was damaged: start the newer version again, or run `selfiegate forget` for this user"
        )


class WrongInput(SelfiegateError, ValueError):
    """A value given by the caller cannot be used; the message names it and what is allowed."""
