"""Makes a version of the package newer than this one: one more migration, and a new field in each stored value."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import selfiegate

_STORED = re.compile(
    r'(class (?:PhotoRef|Verdict|Contest|Profile|Erasure|Claim)\(Stored\):\n    """.*?"""\n)', re.DOTALL
)
_FIELD = '\n    later: str = Field("unknown", description="What a newer version adds")\n'
_MIGRATION = """

_NEWER = Migration("ALTER TABLE claims ADD COLUMN later TEXT NOT NULL DEFAULT 'unknown';", oldest_program=1)
RECORDS = Schema([*RECORDS.migrations, _NEWER], _adopt)
"""


def make_newer_version(folder: Path) -> Path:
    """Copy the package into a folder, as its next version; with the folder on `PYTHONPATH` it is imported."""
    package = folder / "selfiegate"
    shutil.copytree(Path(selfiegate.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    fields = sum(_edited(package / name, _STORED, rf"\1{_FIELD}") for name in ("model.py", "records.py"))
    with (package / "stores" / "sqlite_schema.py").open("a") as schema:
        schema.write(_MIGRATION)
    assert fields == 6
    return folder


def _edited(path: Path, pattern: re.Pattern[str], replacement: str) -> int:
    text, count = pattern.subn(replacement, path.read_text())
    path.write_text(text)
    return count
