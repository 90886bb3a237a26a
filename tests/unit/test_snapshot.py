"""The copy of sketches on disk: whole, of the same gallery, or not used."""

from __future__ import annotations

import logging
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from selfiegate.galleries import snapshot
from selfiegate.galleries.sketch import SketchIndex
from selfiegate.galleries.snapshot import Origin, load, save
from tests.full_disk import full_disk
from tests.present import present

WIDTH = 8
ORIGIN = Origin("gallery", 2999, "token")


def index_of(rows: int) -> SketchIndex:
    index = SketchIndex(WIDTH)
    bits = np.random.default_rng(0).integers(0, 256, (rows, WIDTH), np.uint8)
    index.extend(np.arange(rows, dtype=np.int64), bits.tobytes())
    return index


def saved(path: Path, index: SketchIndex, origin: Origin = ORIGIN) -> bool:
    return save(path, origin, WIDTH, index.blocks(1000))


def rows_of(index: SketchIndex) -> list[tuple[int, bytes]]:
    return [(int(n), bits.tobytes()) for ids, block in index.blocks(700) for n, bits in zip(ids, block, strict=True)]


def test_what_was_saved_is_loaded_without_what_was_removed(tmp_path: Path) -> None:
    index = index_of(3000)
    for row_id in (0, 1500, 2999):
        index.discard(row_id)
    assert saved(tmp_path / "home" / "copy", index)

    origin, loaded = present(load(tmp_path / "home" / "copy", "gallery", WIDTH))
    assert origin == ORIGIN
    assert rows_of(loaded) == rows_of(index)
    assert len(rows_of(loaded)) == 2997
    loaded.extend(np.array([3000]), bytes(WIDTH))
    assert len(loaded) == 2998


def test_it_is_for_its_owner_alone(tmp_path: Path) -> None:
    saved(tmp_path / "copy", index_of(3000))

    assert [stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()] == [0o600]


@pytest.mark.parametrize(("gallery_id", "width"), [("another", WIDTH), ("gallery", 2 * WIDTH)])
def test_a_missing_one_is_none_and_another_gallerys_is_removed(tmp_path: Path, gallery_id: str, width: int) -> None:
    """Nobody else would remove it, and it tells of faces that may be forgotten there."""
    saved(tmp_path / "copy", index_of(3000))

    assert load(tmp_path / "missing", "gallery", WIDTH) is None
    assert load(tmp_path / "copy", gallery_id, width) is None
    assert list(tmp_path.iterdir()) == []


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "cut off": lambda data: data[:-1],
    "longer": lambda data: data + b"x",
    "one bit": lambda data: data[:5000] + bytes([data[5000] ^ 1]) + data[5001:],
    "another highest number": lambda data: data.replace(b"2999", b"3999"),
    "another token": lambda data: data.replace(b"token", b"toker", 2).replace(b"toker", b"token", 1),
    "a header that is no object": lambda data: b"[]".ljust(512) + data[512:],
    "a header without a field": lambda data: b"{}".ljust(512) + data[512:],
    "zeros": lambda data: bytes(len(data)),
    "more rows than there are": lambda data: data.replace(b'"rows": 3000', b'"rows": 9999'),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_one_is_not_used(
    tmp_path: Path, damage: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "copy"
    saved(path, index_of(3000))
    path.write_bytes(damage(path.read_bytes()))

    with caplog.at_level(logging.WARNING):
        assert load(path, "gallery", WIDTH) is None
    assert "is removed, all sketches are fetched" in caplog.text
    assert list(tmp_path.iterdir()) == []


def test_what_a_process_left_that_died_while_it_wrote_is_removed_by_the_next_start(tmp_path: Path) -> None:
    saved(tmp_path / "copy", index_of(10))
    (tmp_path / "copy.part").write_bytes(b"sketches of faces")

    assert load(tmp_path / "copy", "gallery", WIDTH)
    assert [file.name for file in tmp_path.iterdir()] == ["copy"]


def test_a_full_disk_leaves_the_copy_that_was_there_and_no_half_one(tmp_path: Path) -> None:
    saved(tmp_path / "copy", index_of(10))
    with full_disk(), pytest.raises(OSError, match="too large"):
        saved(tmp_path / "copy", index_of(30_000))

    assert [file.name for file in tmp_path.iterdir()] == ["copy"]
    assert load(tmp_path / "copy", "gallery", WIDTH)


def test_while_one_process_writes_others_leave_it_to_that_one(tmp_path: Path) -> None:
    path = tmp_path / "copy"
    saved(path, index_of(10))
    with snapshot._alone(tmp_path / "copy.part") as file:
        assert file
        assert not saved(path, index_of(3000))
    (tmp_path / "copy.part").write_bytes(b"left by one that was killed" * 1000)

    assert saved(path, index_of(3000))
    assert len(present(load(path, "gallery", WIDTH))[1]) == 3000


KILLED = """
import sys
from pathlib import Path
from tests.unit.test_snapshot import index_of, saved
index = index_of(2_000_000)
print("begins", flush=True)
while True:
    saved(Path(sys.argv[1]), index)
"""


@pytest.mark.system
def test_a_process_that_is_killed_while_it_writes_leaves_a_whole_copy(tmp_path: Path) -> None:
    path = tmp_path / "copy"
    for n in range(5):
        with subprocess.Popen([sys.executable, "-c", KILLED, path], stdout=subprocess.PIPE) as process:
            assert process.stdout
            process.stdout.readline()
            time.sleep(0.02 + 0.05 * n)
            process.kill()

        assert not path.exists() or len(present(load(path, "gallery", WIDTH))[1]) == 2_000_000
    assert saved(path, index_of(10))
