"""Files, names and keys that mean harm: each has a picture or a reason, in bounded time and memory."""

from __future__ import annotations

import contextlib
import io
import json
import os
import struct
import subprocess
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from selfiegate.backends.insightface.pack import PackSettings
from selfiegate.decoding.decode import Limits, decode, is_plain
from selfiegate.errors import BackendMisconfigured, BackendUnavailable, PhotoRejected, WrongInput
from selfiegate.ingestion.messages import uploads
from selfiegate.key_template import KeyTemplate
from selfiegate.model import PhotoRef, ReasonCode
from selfiegate.stores.folder import FolderPhotos, FolderThumbnails
from selfiegate.user_ids import user_id_of
from tests.apart import lines_of
from tests.hostile import files

REASONS = {"unsupported_format", "unreadable_photo", "photo_too_large", "photo_too_small"}
LIMITS = Limits()


class Seen(NamedTuple):
    """What came of one file."""

    kind: str
    name: str
    outcome: str
    seconds: float
    memory: int


@pytest.fixture(scope="module")
def seen() -> list[Seen]:
    """What came of all files."""
    lines = lines_of("tests.hostile.files", timeout_s=500)
    found = [
        Seen(file["kind"], file["name"], came["outcome"], came["seconds"], came["memory"])
        for file, came in zip(lines[::2], lines[1::2], strict=True)
    ]
    slowest, largest = max(found, key=lambda one: one.seconds), max(found, key=lambda one: one.memory)
    print(f"{len(found)} files; slowest {slowest}; largest {largest}")
    return found


@pytest.mark.slow
def test_there_are_hundreds(seen: list[Seen]) -> None:
    assert len({(one.kind, one.name) for one in seen}) == len(seen) >= 300


KINDS = [
    *("mutated jpeg", "mutated png", "mutated webp", "mutated avif", "mutated heif"),
    *("png", "jpeg", "webp", "iso", "exif", "polyglot", "random"),
]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_hostile_file_is_a_picture_or_has_a_reason(seen: list[Seen], kind: str) -> None:
    ours = [one for one in seen if one.kind == kind]

    assert ours
    assert [one for one in ours if one.outcome not in {"picture"} | REASONS] == []


@pytest.mark.slow
def test_every_kind_of_good_file_is_a_picture(seen: list[Seen]) -> None:
    strange = [one.name for one in seen if one.kind == "good" and one.outcome != "picture"]

    assert strange == ["png-animated", "webp-animated", "avif-animated"]


@pytest.mark.slow
def test_no_format_that_is_not_named_is_opened(seen: list[Seen]) -> None:
    ours = [one for one in seen if one.kind == "unnamed"]

    assert len(ours) > 20
    assert [one for one in ours if one.outcome != "unsupported_format"] == []
    assert {one.kind for one in seen} == {"good", "unnamed", *KINDS}


@pytest.mark.slow
def test_no_file_takes_more_than_its_pixels_are_worth(seen: list[Seen]) -> None:
    # 51 million pixels at 16 bytes, which WEBP takes, and the file itself some times over.
    assert [one for one in seen if one.memory > 1_000_000_000] == []


@pytest.mark.slow
def test_no_file_keeps_a_core_busy_for_long(seen: list[Seen]) -> None:
    assert [one for one in seen if one.seconds > files.SECONDS] == []


def test_eps_starts_no_ghostscript(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[object] = []
    monkeypatch.setattr(subprocess, "Popen", lambda *words, **_: started.append(words))
    eps = files.encoded(Image.new("RGB", (100, 100)), "EPS")

    assert refusal(eps) == "unsupported_format"
    assert started == []


# --- what was found, each by its name ---


def refusal(data: bytes, limits: Limits = LIMITS) -> str:
    with pytest.raises(PhotoRejected) as refused:
        decode(data, limits, limits.working_side)
    return refused.value.code


PLAIN = files.encoded(Image.new("RGB", (200, 150), "red"), "JPEG")
PIXELS = zlib.compress(bytes(100 * 301))


def png(**more: Any) -> bytes:
    return files.png((100, 100), 8, 2, PIXELS, **more)


def spoilt_jpeg(inserted: bytes) -> bytes:
    return PLAIN[:2] + inserted + PLAIN[2:]


@pytest.mark.parametrize("tiny", [b"\xff\xfe\0\2", b"\xff\xe9\0\2", b"\xff\xc4\0\2", b"\xff\xdc\0\2"])
@pytest.mark.parametrize("before", [b"", b"\xff\xd9", b"\xff\xf0\xff\xff"], ids=["", "end", "no segment"])
def test_a_jpeg_of_endless_segments_is_refused_before_pillow_walks_them(before: bytes, tiny: bytes) -> None:
    assert refusal(spoilt_jpeg(before + tiny * 20_000)) == "unreadable_photo"


@pytest.mark.parametrize("byte", [b"\xff", b"\1"])
def test_a_jpeg_that_begins_with_endless_junk_is_refused(byte: bytes) -> None:
    assert refusal(spoilt_jpeg(b"\xff\xe9\0\2" + byte * 100_000)) == "unreadable_photo"
    assert refusal(PLAIN[:2] + b"\xff" + byte * 1_000_000) == "unreadable_photo"


def test_a_phones_moving_photo_is_no_jpeg_of_endless_scans() -> None:
    """A video behind the picture holds the bytes of a scan's marker by chance, once in 64 KiB."""
    assert decode(PLAIN + b"\0\xff\xda" * 1000, LIMITS, 640)[1] == (200, 150)
    restarts = files.encoded(Image.effect_noise((200, 150), 90), "JPEG", restart_marker_blocks=1)
    assert decode(restarts + b"\0\xff\xda" * 1000, LIMITS, 640)[1] == (200, 150)


@pytest.mark.parametrize("where", ["before", "after"])
@pytest.mark.parametrize("kind", [b"abCd", b"zTXt", b"iCCP", b"iTXt"])
def test_a_png_of_endless_chunks_is_refused_before_pillow_unpacks_them(kind: bytes, where: str) -> None:
    packed = b"\0\0" + zlib.compress(bytes(1 << 20), 9)  # text without a name is counted by nobody

    assert refusal(png(**{where: [files.chunk(kind, packed)] * 1000})) == "unreadable_photo"


def test_what_follows_a_png_counts_for_nothing() -> None:
    assert decode(png() + bytes(100_000), LIMITS)[1] == (100, 100)


def test_a_png_of_endless_pieces_is_refused() -> None:
    assert refusal(png(before=[files.chunk(b"IDAT")] * 100_001)) == "unreadable_photo"


HUGE_EXIF = files.tiff([(0x0112, 3, 1, 6 << 16), (0x9286, 5, 500_000, 100)], 4_000_100)


def in_jpeg(exif: bytes) -> bytes:
    parts = [b"Exif\0\0" + exif[at : at + 65_000] for at in range(0, len(exif), 65_000)]
    return spoilt_jpeg(b"".join(files.segment(0xE1, part) for part in parts))


def in_webp(exif: bytes) -> bytes:
    return files.encoded(Image.new("RGB", (200, 150)), "WEBP", exif=exif)


@pytest.mark.parametrize(
    "data",
    [in_jpeg(HUGE_EXIF), png(before=[files.chunk(b"eXIf", HUGE_EXIF)]), in_webp(HUGE_EXIF)],
    ids=["JPEG", "PNG", "WEBP"],
)
def test_exif_of_megabytes_is_refused(data: bytes) -> None:
    assert refusal(data) == "unreadable_photo"


def test_turning_a_photo_does_not_write_its_exif_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image.Exif, "tobytes", lambda *_: pytest.fail("it is thrown away"))
    exif = files.tiff([(0x0112, 3, 1, 6 << 16), (0x9286, 5, 7000, 100)], 60_000)

    for data in (in_jpeg(exif), png(before=[files.chunk(b"eXIf", exif)])):
        size = decode(data, LIMITS, 640)[1]
        assert size in ((150, 200), (100, 100))


def test_exif_of_an_avif_is_not_even_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow writes it anew where its orientation is not that of the AVIF's own boxes, which counts."""
    exif = files.tiff([(0x0112, 3, 1, 6 << 16), (0x9286, 5, 7000, 100)], 60_000)
    data = files.encoded(files._photo(), "AVIF", exif=exif)
    assert len(Image.open(io.BytesIO(data)).info["exif"]) > 50_000
    written: list[int] = []
    whole = Image.Exif.tobytes

    def counted(exif: Image.Exif) -> bytes:
        written.append(len(exif))
        return whole(exif)

    monkeypatch.setattr(Image.Exif, "tobytes", counted)
    upright, size = decode(data, LIMITS)

    assert (upright.size, size) == ((150, 200), (150, 200))
    assert written == [1]


@pytest.mark.parametrize("kind", ["HEIF", "AVIF"])
def test_parts_that_overlap_are_not_read_again_and_again(kind: str) -> None:
    """libheif copies up to 32 of them for each item, and pillow-heif each copy: gigabytes, of a file of 24 MB."""
    exif = files.tiff([(0x0112, 3, 1, 1 << 16), (0x010E, 2, 9000, 100)], 10_000)
    data = files.encoded(files._photo(), kind, exif=exif)

    assert decode(files.overlapping(data, 1), LIMITS)[0].mode == "RGB"
    assert refusal(files.overlapping(data, 30)) == "unreadable_photo"


@pytest.mark.parametrize("kind", ["HEIF", "AVIF"])
def test_a_crop_does_not_hide_a_huge_picture(kind: str) -> None:
    data = files.encoded(files._photo(), kind)
    at = data.index(b"ispe") + 8
    lied = data[:at] + struct.pack(">II", 30_000, 30_000) + data[at + 8 :]

    assert refusal(lied) == "photo_too_large"


@pytest.mark.parametrize("share", [0.7, 0.99])
def test_a_truncated_heif_of_tiles_is_unreadable(share: float) -> None:
    """As phones write them; libheif leaves missing tiles blank."""
    data = files.encoded(files._noise(), "HEIF", tile_size=64)

    assert refusal(data[: int(len(data) * share)]) == "unreadable_photo"


def test_deep_and_packed_pictures_are_made_small_before_they_are_converted() -> None:
    ramp = np.linspace(0, 65_535, 2000, dtype=np.uint16)
    grey, _ = decode(files.encoded(Image.fromarray(np.tile(ramp, (1000, 1))), "PNG"), LIMITS, 640)
    palette = Image.new("P", (2000, 1000), 1)
    palette.putpalette([0, 0, 0, 255, 0, 0])
    red, _ = decode(files.encoded(palette, "PNG"), LIMITS, 640)
    bits, _ = decode(files.encoded(Image.new("1", (2000, 1000), 1), "PNG"), LIMITS, 640)

    assert {grey.size, red.size, bits.size} == {(640, 320)}
    assert abs(grey.crop((320, 160, 321, 161)).tobytes()[0] - 128) <= 2
    assert red.getpixel((9, 9)) == (255, 0, 0)
    assert bits.getpixel((9, 9)) == (255, 255, 255)


@pytest.mark.parametrize("mode", ["1", "P"])
def test_what_is_transparent_in_large_pictures_of_few_colours_is_white(mode: str) -> None:
    image = Image.new("1", (2000, 1000), 0) if mode == "1" else Image.new("P", (2000, 1000), 0)
    if mode == "P":
        image.putpalette([0, 0, 0, 255, 0, 0])
    small, _ = decode(files.encoded(image, "PNG", transparency=0), LIMITS, 640)

    assert small.getcolors() == [(640 * 320, (255, 255, 255))]


def test_a_look_at_a_damaged_png_does_not_decode_it() -> None:
    data = png()
    broken = data.replace(PIXELS, PIXELS[:40])

    assert is_plain(broken)
    assert not is_plain(png(after=[files.chunk(b"eXIf", files.tiff([(0x0112, 3, 1, 6 << 16)]))]))
    assert not is_plain(b"")


@pytest.mark.weights
def test_a_photo_as_thin_as_a_thread_has_no_face(pack: PackSettings) -> None:
    from selfiegate.backends.insightface.analyser import InsightFaceAnalyser

    data = files.encoded(Image.new("L", (200_000, 80)), "PNG")
    picture, size = decode(data, LIMITS, 1280)

    assert picture.size == (1280, 1)
    assert InsightFaceAnalyser(pack).analyse(picture, size) == []


# --- names and paths ---

NAMES = [
    *("", ".", "..", "/", "../../etc/passwd", "a/../../b", "a\nb", "a\0b", "\u202egpj.exe", "\ud800", "\udcff"),
    *("x" * 256, "x" * 1024, "é" * 512, "x/" * 512, "~nobody-at-all/x.jpg", "~", "*", "[a", "/dev/zero", "/dev/stdin"),
    *("/proc/self/mem", "s3://", "x" * 100_000),
]


@pytest.fixture
def photos() -> FolderPhotos:
    return FolderPhotos(LIMITS)


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_hostile_name_finds_no_photo(photos: FolderPhotos, name: str) -> None:
    with pytest.raises(WrongInput, match="cannot read the photo") as error:
        photos.find(name)
    assert len(str(error.value)) < 50_000


@pytest.mark.parametrize(
    "name", [name for name in NAMES if name not in ("", "\ud800", "\udcff", "/proc/self/mem")], ids=ascii
)
def test_a_hostile_name_reads_no_photo(photos: FolderPhotos, name: str, tmp_path: Path) -> None:
    with pytest.raises(PhotoRejected, match="unreadable_photo"):
        photos.read(PhotoRef(bucket=str(tmp_path), key=name, version="0" * 64))


@contextlib.contextmanager
def strange_files(folder: Path) -> Iterator[dict[str, Path]]:
    """Make what is no file, each by its name."""
    made = {name: folder / name for name in ("fifo", "folder", "circle", "dangling", "device", "below a file")}
    os.mkfifo(made["fifo"])
    made["folder"].mkdir()
    made["circle"].symlink_to(made["circle"])
    made["dangling"].symlink_to("nowhere")
    made["device"].symlink_to("/dev/zero")
    (folder / "file").write_bytes(b"photo")
    made["below a file"] = folder / "file" / "photo.jpg"
    yield made


def test_what_is_no_file_is_neither_found_nor_read(photos: FolderPhotos, tmp_path: Path) -> None:
    with strange_files(tmp_path) as made:
        for name, path in made.items():
            with pytest.raises(WrongInput, match="cannot read the photo"):
                photos.find(str(path))
            with pytest.raises(PhotoRejected, match="unreadable_photo"):
                photos.read(PhotoRef(bucket=str(path.parent), key=path.name, version="0" * 64))
            assert name


def test_a_link_to_a_name_that_is_no_text_is_wrong_input(photos: FolderPhotos, tmp_path: Path) -> None:
    odd = os.fsencode(tmp_path) + b"/\xff.jpg"
    os.close(os.open(odd, os.O_CREAT | os.O_WRONLY))
    (tmp_path / "good.jpg").symlink_to(os.fsdecode(odd))

    with pytest.raises(WrongInput, match=r"good\.jpg"):
        photos.find(str(tmp_path / "good.jpg"))


def test_a_file_as_long_as_a_disk_is_refused_without_reading_it(photos: FolderPhotos, tmp_path: Path) -> None:
    path = tmp_path / "huge.jpg"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    start = time.process_time()
    found = photos.find(str(path))

    with pytest.raises(PhotoRejected, match="photo_too_large"):
        photos.read(found)
    assert photos.find(str(path)) == found
    assert time.process_time() - start < 20
    with path.open("ab") as file:
        file.truncate((1 << 40) + 1)
    assert photos.find(str(path)).id != found.id


@pytest.mark.parametrize(
    "key", [name for name in NAMES if name not in ("*", "[a", "~", "a\nb", "\u202egpj.exe")], ids=ascii
)
def test_a_hostile_key_touches_nothing(key: str, tmp_path: Path) -> None:
    home = tmp_path / "thumbnails"
    thumbnails = FolderThumbnails(home)
    thumbnails.put("ann/photo/1.jpg", b"small", "image/jpeg")
    (tmp_path / "precious").write_bytes(b"")

    if key != "~nobody-at-all/x.jpg":
        with pytest.raises(WrongInput):
            thumbnails.put(key, b"small", "image/jpeg")
        with pytest.raises(WrongInput):
            thumbnails.remove(key)
    assert list(thumbnails.keys()) == ["ann/photo/1.jpg"]
    assert {path.name for path in tmp_path.iterdir()} == {"thumbnails", "precious"}


def test_a_key_is_no_pattern(tmp_path: Path) -> None:
    thumbnails = FolderThumbnails(tmp_path)
    (tmp_path / "ann").mkdir()
    other = tmp_path / "ann" / "1.jpg.99.part"
    other.write_bytes(b"of another process")
    for key in ("ann/*", "ann/[a", "ann/?", "ann/a\nb"):
        thumbnails.put(key, b"small", "image/jpeg")

    assert other.exists()
    assert len(thumbnails.keys()) == 5


def test_a_link_leads_no_thumbnail_out_of_its_folder(tmp_path: Path) -> None:
    outside, home = tmp_path / "outside", tmp_path / "thumbnails"
    (outside / "photo").mkdir(parents=True)
    (outside / "photo" / "precious.jpg").write_bytes(b"")
    home.mkdir()
    (home / "ann").symlink_to(outside)
    (home / "bob").mkdir()
    (home / "bob" / "photo").symlink_to(outside / "photo")
    thumbnails = FolderThumbnails(home)

    with pytest.raises(WrongInput, match="leads out"):
        thumbnails.put("ann/photo/1.jpg", b"small", "image/jpeg")
    with pytest.raises(WrongInput, match="leads out"):
        thumbnails.remove("ann/photo")
    with pytest.raises((WrongInput, BackendUnavailable, BackendMisconfigured)):
        thumbnails.remove("bob/photo")
    assert [path.name for path in outside.rglob("*")] == ["photo", "precious.jpg"]


def test_a_thumbnail_folder_may_itself_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "thumbnails").symlink_to("disk")
    thumbnails = FolderThumbnails(tmp_path / "thumbnails")
    thumbnails.put("ann/photo/1.jpg", b"small", "image/jpeg")
    thumbnails.remove("ann/photo")

    assert list(thumbnails.keys()) == []


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_hostile_name_is_a_user_or_wrong_input(name: str) -> None:
    makers: list[Callable[[str], str]] = [
        user_id_of,
        KeyTemplate().user_of,
        lambda user_id: KeyTemplate().key_of(user_id, "x"),
    ]
    for made in makers:
        with contextlib.suppress(WrongInput):
            assert "\n" not in made(name)


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_hostile_name_in_an_event_is_an_upload_or_wrong_input(name: str) -> None:
    for field in ("userId", "s3Bucket", "s3Key"):
        event = {"userId": "ann", "s3Bucket": "photos", "s3Key": "selfie.jpg", field: name}
        for message in (event, json.dumps(event), {"Body": json.dumps(event)}):
            with contextlib.suppress(WrongInput):
                (found,) = uploads(message)
                assert "\0" not in found.key + str(found.user_id)
                assert "/" not in found.bucket


@pytest.mark.parametrize("field", ["key", "versionId", "eTag", "sequencer"])
def test_nul_anywhere_in_an_event_is_wrong_input(field: str) -> None:
    """PostgreSQL cannot keep it, so the run would fail for ever and the message come back."""
    entry = {"key": "ann/selfie.jpg", "versionId": "1", "eTag": "2", "sequencer": "3"}
    entry[field] = "a%00" if field == "key" else "a\0"
    record = {"eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": "photos"}, "object": entry}}

    with pytest.raises(WrongInput, match="NUL"):
        uploads({"Records": [record]})


def test_every_reason_that_a_file_may_have_is_one() -> None:
    assert set(ReasonCode) >= REASONS
