"""The contact sheet's HTML: one file that asks nothing of any network, runs no script and filters by CSS alone.

Names come from strangers: whatever is not ours goes through `_text`.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

from selfiegate.model import ReasonCode
from selfiegate.untrusted_text import plain

_TAGS = ("needs_review", "failed", *(code.value for code in ReasonCode))
"""What photos can be filtered by; also the tiles' classes."""

_STYLE = """
:root { color-scheme: light dark; --page: #f6f6f4; --card: #fff; --ink: #1c1c1a; --quiet: #5c5c57; --line: #d9d9d4;
  --well: #ecece8; --red: #fbe4e1; --amber: #fdf0cf; --accent: #1f5fbf; --on-accent: #fff; }
@media (prefers-color-scheme: dark) { :root { --page: #161615; --card: #222220; --ink: #ecece8; --quiet: #a9a9a2;
  --line: #3a3a37; --well: #2c2c2a; --red: #4a2523; --amber: #44360f; --accent: #8db8f5; --on-accent: #10213a; } }
* { box-sizing: border-box; margin: 0; padding: 0; }
body { font: 15px/1.45 system-ui, sans-serif; color: var(--ink); background: var(--page); padding: 1.5rem;
  max-width: 90rem; margin: auto; }
h1 { font-size: 1.4rem; }
.note { margin: .75rem 0; padding: .5rem .75rem; background: var(--amber); border-radius: .4rem; }
fieldset { border: 0; display: flex; flex-wrap: wrap; gap: .4rem; margin: .75rem 0 1.25rem; }
legend { color: var(--quiet); margin-bottom: .4rem; }
fieldset input { position: absolute; opacity: 0; }
fieldset span { display: block; padding: .2rem .7rem; background: var(--card); border: 1px solid var(--line);
  border-radius: 1rem; cursor: pointer; }
fieldset b { font-weight: normal; color: var(--quiet); margin-left: .25rem; }
input:checked + span, input:checked + span b { background: var(--accent); border-color: var(--accent);
  color: var(--on-accent); }
input:focus-visible + span { outline: 3px solid var(--accent); outline-offset: 2px; }
.tiles { list-style: none; display: grid; grid-template-columns: repeat(auto-fill, minmax(13.5rem, 1fr)); gap: 1rem;
  align-items: start; }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; overflow: hidden; }
.picture { height: 176px; display: grid; place-items: center; background: var(--well); color: var(--quiet);
  text-align: center; }
.picture span { padding: 1rem; }
.picture img { display: block; }
.who, .file, .before { padding: 0 .75rem; overflow-wrap: anywhere; }
.who { font-weight: 600; margin-top: .6rem; }
.file, .before { color: var(--quiet); font-size: .85rem; }
.tile ul { list-style: none; padding: .5rem .75rem .75rem; display: grid; gap: .4rem; }
.tile ul li { background: var(--red); border-radius: .4rem; padding: .3rem .5rem; font-size: .85rem;
  overflow-wrap: anywhere; }
.tile ul li.needs_review { background: var(--amber); }
.tile ul b { display: block; }
""" + "".join(f"body:has(#{tag}:checked) .tile:not(.{tag}) {{ display: none; }}\n" for tag in _TAGS)

_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

HEAD = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'sha256-{_HASH}'; \
base-uri 'none'; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Refused photos</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>Refused photos</h1>
<p class="note">This file holds photos of faces. Treat it as such: show it to nobody who need not see them, and delete
it when you are done.</p>
""".encode()
"""What a sheet begins with; after it, `TOP_LENGTH` bytes are left free."""

TILES = b'<main>\n<ul class="tiles">\n'
"""What stands before the first tile."""

FOOT = b"</ul>\n</main>\n</body>\n</html>\n"
"""What a sheet ends with."""


class Picture(NamedTuple):
    """A small JPEG, in base64, and its size in pixels."""

    jpeg: str
    width: int
    height: int


def _words(tag: str) -> str:
    return tag.replace("_", " ")


def _text(text: str) -> str:
    return escape(plain(text))


def top(refused: int, shown: int, tags: Mapping[str, int]) -> bytes:
    """Return counts and filters, which are known last and stand first; not longer than `TOP_LENGTH`."""
    counts = f"<p>Refused: {refused:,}."
    if refused > shown:
        counts += f" Shown are the first {shown:,}; not shown, but counted: {refused - shown:,} more."
    frequent = sorted(((tag, count) for tag, count in tags.items() if count), key=lambda item: (-item[1], item[0]))
    filters = [_filter("all", refused, " checked"), *(_filter(tag, count) for tag, count in frequent)]
    group = f"<fieldset><legend>Show by reason</legend>\n{''.join(filters)}</fieldset>\n" if frequent else ""
    return f"{counts}</p>\n{group}".encode()


def _filter(tag: str, count: int, checked: str = "") -> str:
    field = f'<input type="radio" name="reason" id="{tag}"{checked}>'
    return f"<label>{field}<span>{_words(tag)} <b>{count:,}</b></span></label>\n"


_MANY = 10**15

TOP_LENGTH = len(top(2 * _MANY, _MANY, dict.fromkeys(_TAGS, _MANY)))
"""The most bytes that `top` takes."""


def tile(uri: str, user_id: str, picture: Picture | str, labels: Sequence[tuple[str, str]], before: str = "") -> bytes:
    """Return one photo; `picture` is a text where there is none, `labels` are pairs of a tag and what it says."""
    name = uri.rstrip("/").rpartition("/")[2][-60:]
    if isinstance(picture, str):
        shown = f"<span>{_text(picture)}</span>"
    else:
        alt, size = _text(f"Photo {name} of user {user_id}"), f'width="{picture.width}" height="{picture.height}"'
        shown = f'<img alt="{alt}" {size} src="data:image/jpeg;base64,{picture.jpeg}">'
    parts = [
        f'<li class="{" ".join(["tile", *(tag for tag, _ in labels)])}">',
        f'<div class="picture">{shown}</div>',
        f'<p class="who"><bdi>{_text(user_id)}</bdi></p>',
        f'<p class="file" title="{_text(uri)}"><bdi>{_text(name)}</bdi></p>',
        f'<p class="before">before: {_text(_words(before))}</p>' if before else "",
        "<ul>",
        *(f'<li class="{tag}"><b>{_words(tag)}</b> <bdi>{_text(says)}</bdi></li>' for tag, says in labels),
        "</ul></li>\n",
    ]
    return "\n".join(filter(None, parts)).encode()
