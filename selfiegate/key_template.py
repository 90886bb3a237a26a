"""Whose photo an object key is."""

from __future__ import annotations

import re

from selfiegate.errors import BackendMisconfigured, WrongInput
from selfiegate.user_ids import user_id_of

MAX_KEY = 1024
"""Bytes of UTF-8: S3's own limit."""

_Tokens = list[str | None]
"""Literal texts, and None for what stands for one or more characters."""


class KeyTemplate:
    """Says which user a key belongs to, by `{user_id}` in a template that the whole key must match.

    `{user_id}`, `*` and `{name}` each stand for one or more characters of one path segment. `{name}` alone at
    the end stands for one or more segments, so `{user_id}/{name}` takes `ann/2026/selfie.jpg`, which
    `{user_id}/*` refuses. All else stands for itself, upper and lower case told apart.

    Never guesses: a key that could name two users (`ann-b-1.jpg` under `{user_id}-*.jpg`) is refused.
    Matching takes steps of the order of the key's length times the template's; no regular expression is run.
    """

    def __init__(self, text: str = "{user_id}/{name}") -> None:
        self.text = text
        if text.count("{user_id}") != 1:
            raise BackendMisconfigured(f"the key template {text!r} needs {{user_id}} once, as in {{user_id}}/{{name}}")
        segments = text.split("/")
        self._spans = segments[-1] == "{name}"
        self._user_at = next(n for n, segment in enumerate(segments) if "{user_id}" in segment)
        self._segments = [[self._tokens(part) for part in segment.split("{user_id}")] for segment in segments]
        before, after = self._segments[self._user_at]
        if before[-1:] == [None] or after[:1] == [None]:
            raise BackendMisconfigured(f"nothing tells {{user_id}} from its neighbour in the key template {text!r}")

    def __repr__(self) -> str:
        return f"KeyTemplate({self.text!r})"

    def user_of(self, key: str) -> str:
        """Return the id of the user that a (decoded) key belongs to; raise `WrongInput` where that is not certain."""
        found = self._candidates(key)
        if len(found) != 1:
            why = "could name more than one user" if found else "does not match"
            raise WrongInput(f"the key {key[:MAX_KEY]!r} {why} under the template {self.text!r}")
        try:
            return user_id_of(found[0])
        except WrongInput as error:
            raise WrongInput(f"the key {key[:MAX_KEY]!r} under the template {self.text!r}: {error}") from None

    def key_of(self, user_id: str, name: str) -> str:
        """Return the key under which a user's photo is to be uploaded, so that `user_of` finds its user again."""
        key = self.text.replace("*", "{name}").replace("{name}", name).replace("{user_id}", user_id_of(user_id))
        try:
            found = self.user_of(key)
        except WrongInput:
            found = None
        if found != user_id:
            raise WrongInput(f"the user id {user_id!r} cannot stand in a key under the template {self.text!r}")
        return key

    def _candidates(self, key: str) -> list[str]:
        """Return the user ids that the key can be read as: none, one, or some of several."""
        count = len(self._segments)
        parts = key.split("/", count - 1 if self._spans else -1)
        if len(key) > MAX_KEY or len(parts) != count or (self._spans and key.endswith("/")):
            return []
        others = [n for n in range(count) if n != self._user_at]
        if not all(len(parts[n]) in _reach(self._segments[n][0], parts[n]) for n in others):
            return []
        part, (before, after) = parts[self._user_at], self._segments[self._user_at]
        starts = sorted(_reach(before, part))
        ends = sorted(len(part) - n for n in _reach([t and t[::-1] for t in reversed(after)], part[::-1]))
        # Any span but the widest is shorter, hence another id: two at each side are enough to tell.
        return [part[start:end] for start in starts[:2] for end in ends[-2:] if start < end]

    def _tokens(self, part: str) -> _Tokens:
        pieces = re.split(r"(\{name\}|\*)", part)
        if any(brace in piece for piece in pieces[::2] for brace in "{}"):
            raise BackendMisconfigured(
                f"the key template {self.text!r} may hold {{user_id}}, {{name}}, *, no other braces"
            )
        return [None if n % 2 else piece for n, piece in enumerate(pieces) if piece]


def _reach(tokens: _Tokens, text: str) -> set[int]:
    """Return all positions of the text at which its beginning is used up by the tokens."""
    reached = {0}
    for token in tokens:
        if token is None:
            reached = set(range(min(reached, default=len(text)) + 1, len(text) + 1))
        else:
            reached = {at + len(token) for at in reached if text.startswith(token, at)}
    return reached
