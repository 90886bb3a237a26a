"""Text from strangers: names of files, users and buckets."""

from __future__ import annotations


def plain(text: str) -> str:
    """Return text without line breaks, escape sequences and the like: names come from strangers."""
    return "".join(character if character.isprintable() else "�" for character in text)
