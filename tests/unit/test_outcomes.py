"""What a backfill leaves: counts, lines of JSON, and a page that strangers' names cannot break."""

from __future__ import annotations

import base64
import io
import json
import re
import stat
import weakref
from collections.abc import Callable, Iterable, Iterator
from html.parser import HTMLParser
from itertools import count
from pathlib import Path

import pytest
from PIL import Image

from selfiegate.advice import reason
from selfiegate.backfill import contact_sheet
from selfiegate.backfill.files import ContactSheet, JsonLines
from selfiegate.backfill.outcomes import Outcome, Summary
from selfiegate.decoding.decode import Limits
from selfiegate.errors import BackendUnavailable, WrongInput
from selfiegate.model import PhotoRef, ReasonCode
from selfiegate.stores.memory_photos import MemoryPhotos
from tests.unit.test_decode import encoded, picture

HOSTILE = "</p><script>alert('x')</script>\"' | `# x\u202e\x1b[31m\u2028\r\n"


def outcome(status: str = "rejected", *codes: str, **values: object) -> Outcome:
    reasons = tuple(reason(ReasonCode(code), faces=3) for code in codes)
    return Outcome(**{"uri": "s3://b/u/a.jpg", "user_id": "u", "status": status, "reasons": reasons, **values})


def summary(*outcomes: Outcome) -> Summary:
    """A summary whose clock has moved by two seconds at each look."""
    made = Summary(clock=count(0.0, 2.0).__next__)
    made.add(outcomes)
    made.finish()
    return made


def most_kept(add: Callable[[Iterable[Outcome]], None]) -> int:
    """Add 2,000 outcomes, and return how many of them were alive at once."""
    alive, most = dict[int, weakref.ref[Outcome]](), 0

    def made() -> Iterator[Outcome]:
        nonlocal most
        for n in range(2_000):
            one = outcome("rejected", "blurred", user_id=f"{n:04} " * 80)
            alive[n] = weakref.ref(one, lambda _, n=n: alive.pop(n))  # type: ignore[misc]
            most = max(most, len(alive))
            yield one

    add(made())
    return most


MIXED = (
    outcome("accepted"),
    outcome("skipped", "blurred"),
    outcome("rejected", "too_dark", "blurred"),
    outcome("rejected", "blurred"),
    outcome("needs_review", "face_already_enrolled"),
    outcome("failed", why="the gallery does not answer"),
)


def test_the_json_has_counts_speed_and_the_frequent_reasons_first() -> None:
    found = summary(*MIXED).as_json()

    assert found == {
        "photos": 6,
        "accepted": 1,
        "rejected": 2,
        "needs_review": 1,
        "skipped": 1,
        "failed": 1,
        "seconds": 2.0,
        "photos_per_second": 2.5,
        "reasons": {"blurred": 2, "face_already_enrolled": 1, "too_dark": 1},
    }
    assert list(found["reasons"]) == ["blurred", "face_already_enrolled", "too_dark"]
    assert json.loads(json.dumps(found)) == found


def test_the_clock_stops_once() -> None:
    made = summary()
    made.finish()

    assert made.as_json()["seconds"] == made.as_json()["seconds"] == 2.0


def test_the_failed_are_a_share_of_those_that_were_worked_on() -> None:
    assert summary(*MIXED).failed_share == 0.2
    assert summary(outcome("skipped")).failed_share == 0.0
    assert summary().failed_share == 0.0
    assert summary().as_json()["photos_per_second"] == 0.0


def test_steps_are_summed_and_the_slowest_come_first() -> None:
    made = Summary()
    for step, seconds in (("detect", 1.0), ("read", 2.5), ("detect", 2.0), ("search", 0.5)):
        made.add_seconds(step, seconds)

    assert made.steps == {"detect": 3.0, "read": 2.5, "search": 0.5}
    assert made.slowest(2) == [("detect", 3.0), ("read", 2.5)]


def test_a_summary_keeps_no_outcomes() -> None:
    made = Summary()

    assert most_kept(made.add) < 5
    assert made.as_json()["photos"] == 2_000


def test_the_page_says_what_to_do_about_each_reason() -> None:
    made = summary(*MIXED, outcome("rejected", "multiple_faces"))
    made.add_seconds("detect", 1234.56)
    page = made.markdown()

    assert "7 photos in 2.0 s; **3.0 photos/s** without the skipped" in page
    assert "| needs review | 1 |" in page
    assert "| `blurred` | 2 | The face is blurred. Hold the camera still and wipe its lens. |" in page
    assert "Detected several faces" in page  # each photo's own number is its own
    assert "| `detect` | 1,234.6 |" in page


def test_a_backfill_of_nothing_has_a_page() -> None:
    assert "| reason |" not in summary().markdown()


def test_no_name_gets_into_the_page_as_markdown() -> None:
    made = summary(outcome("failed", why=HOSTILE, user_id=HOSTILE, uri=HOSTILE, before=HOSTILE))
    made.add_seconds(HOSTILE, 1)
    page = made.markdown()
    (row,) = [line for line in page.splitlines() if "script" in line]

    assert re.fullmatch(r"\| `[^`]*` \| 1\.0 \|", row)
    assert len(re.findall(r"(?<!\\)\|", row)) == 3
    assert "".join(page.splitlines()).isprintable()


def test_each_photo_is_one_line_of_json_on_the_disk(tmp_path: Path) -> None:
    with JsonLines(tmp_path / "out.jsonl") as lines:
        lines.add([outcome("rejected", "blurred", "too_dark", before="accepted")])
        early = (tmp_path / "out.jsonl").read_text()
        lines.add([outcome("failed", why="down")])

    assert json.loads(early) == {
        "photo": "s3://b/u/a.jpg",
        "user_id": "u",
        "status": "rejected",
        "reasons": ["blurred", "too_dark"],
        "why": "",
        "before": "accepted",
    }
    assert json.loads((tmp_path / "out.jsonl").read_text().splitlines()[1])["why"] == "down"


def test_a_hostile_name_stays_in_its_line_of_json(tmp_path: Path) -> None:
    with JsonLines(tmp_path / "out.jsonl") as lines:
        lines.add([outcome(user_id=HOSTILE, uri=HOSTILE), outcome()])
    first, second = (tmp_path / "out.jsonl").read_text().splitlines()

    assert json.loads(first)["user_id"] == json.loads(first)["photo"] == HOSTILE
    assert first.isascii()
    assert first.isprintable()
    assert json.loads(second)["user_id"] == "u"


@pytest.mark.parametrize("path", ["no/such/folder/out", ".", "a\0b", "/dev/full"])
def test_lines_that_cannot_be_written_say_why(path: str) -> None:
    with (
        pytest.raises(WrongInput, match=r"cannot write .*(No such file|Is a directory|null|No space)"),
        JsonLines(Path(path)) as lines,
    ):
        lines.add([outcome()])


class Page(HTMLParser):
    """What a browser makes of a sheet."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def tiles(self) -> list[list[str]]:
        """The classes of each tile, without the first."""
        classes = [(attributes.get("class") or "").split() for attributes in self.all("li")]
        return [names[1:] for names in classes if names[0] == "tile"]


class DownPhotos(MemoryPhotos):
    """A store that does not answer."""

    def read(self, photo: PhotoRef) -> bytes:
        raise BackendUnavailable("down")


def sheet_of(path: Path, *outcomes: Outcome, photos: MemoryPhotos | None = None, most: int = 500) -> Page:
    with ContactSheet(path, photos or MemoryPhotos(), Limits(), most) as made:
        made.add(outcomes)
    return Page(path.read_text("utf-8"))


def test_the_sheet_shows_the_refused_with_their_reasons(tmp_path: Path) -> None:
    page = sheet_of(tmp_path / "s.html", *MIXED)

    assert page.tiles == [["too_dark", "blurred"], ["blurred"], ["needs_review", "face_already_enrolled"], ["failed"]]
    assert "Refused: 4." in page.text
    assert "holds photos of faces" in page.text
    assert "The face is blurred. Hold the camera still" in page.text
    assert "the gallery does not answer" in page.text


def test_the_reasons_are_counted_on_top_and_filter_without_a_script(tmp_path: Path) -> None:
    page = sheet_of(tmp_path / "s.html", *MIXED)
    words = " ".join(page.text.partition("Show by reason")[2].split())

    assert words.startswith("all 4 blurred 2 face already enrolled 1 failed 1 needs review 1 too dark 1")
    assert {field["type"] for field in page.all("input")} == {"radio"}
    assert "body:has(#blurred:checked) .tile:not(.blurred)" in page.text
    assert not page.all("script")


def test_the_thumbnails_are_small_upright_and_bare(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "at home"
    photos = MemoryPhotos()
    photo = photos.add("a.jpg", encoded(picture((800, 400)).rotate(90, expand=True), "JPEG", exif=exif))
    (image,) = sheet_of(tmp_path / "s.html", outcome(photo=photo), photos=photos).all("img")
    small = Image.open(io.BytesIO(base64.b64decode((image["src"] or "").removeprefix("data:image/jpeg;base64,"))))

    assert (small.format, small.size) == ("JPEG", (160, 80))
    assert not small.getexif()
    assert image["alt"] == "Photo a.jpg of user u"


def test_a_photo_that_cannot_be_shown_says_so(tmp_path: Path) -> None:
    photos = MemoryPhotos()
    broken, gone = photos.add("broken.jpg", b"\xff\xd8\xff\xe0"), PhotoRef(bucket="memory", key="gone", version="1")
    path = tmp_path / "s.html"
    page = sheet_of(path, *(outcome(photo=photo) for photo in (broken, gone, None)), photos=photos)

    assert page.text.count("no picture: unreadable photo") == 2
    assert page.text.count("no picture") == 3
    assert "could not be read now" in sheet_of(path, outcome(photo=broken), photos=DownPhotos()).text


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    photos = MemoryPhotos()
    known = photos.add("a.jpg", encoded(picture(), "JPEG"))
    hostile = {"user_id": HOSTILE, "uri": f"s3://b/x/{HOSTILE}", "why": HOSTILE, "before": HOSTILE}
    page = sheet_of(
        tmp_path / "s.html", outcome("failed", photo=known, **hostile), outcome("failed", **hostile), photos=photos
    )
    raw = (tmp_path / "s.html").read_text("utf-8")

    assert not page.all("script")
    assert len(page.tiles) == 2
    assert len(page.all("p")) == 2 + 2 * 3
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith(("on", "style"))]
    assert "alert('x')" in page.text
    assert raw.replace("\n", "").isprintable()


def test_the_page_allows_itself_no_network_and_its_own_style_alone(tmp_path: Path) -> None:
    page = sheet_of(tmp_path / "s.html", *MIXED)
    (policy,) = [meta["content"] or "" for meta in page.all("meta") if meta.get("http-equiv")]

    assert policy.startswith("default-src 'none'; img-src data:; style-src 'sha256-")
    assert "unsafe" not in policy
    assert page.all("html") == [{"lang": "en"}]
    assert not [attributes for _, attributes in page.tags if "href" in attributes]


def test_a_full_sheet_counts_the_rest(tmp_path: Path) -> None:
    page = sheet_of(tmp_path / "s.html", *[outcome("rejected", "blurred")] * 7, most=3)

    assert len(page.tiles) == 3
    assert "Refused: 7. Shown are the first 3; not shown, but counted: 4 more." in page.text
    assert "blurred 7" in page.text


def test_the_top_always_fits_where_it_was_left_free() -> None:
    every = dict.fromkeys(["failed", "needs_review", *ReasonCode], 999_999_999_999)

    assert len(contact_sheet.top(1_999_999_999_998, 999_999_999_999, every)) <= contact_sheet.TOP_LENGTH


def test_the_sheet_is_a_private_part_until_it_is_closed(tmp_path: Path) -> None:
    path, part = tmp_path / "s.html", tmp_path / "s.html.part"
    part.write_text("of a run that was killed")
    part.chmod(0o644)
    made = ContactSheet(path, MemoryPhotos(), Limits())
    made.add([outcome("rejected", "blurred")])

    assert not path.exists()
    assert "The face is blurred." in part.read_text()
    assert stat.S_IMODE(part.stat().st_mode) == 0o600

    made.close()
    made.close()

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not part.exists()


def test_an_interrupted_backfill_has_a_sheet_too(tmp_path: Path) -> None:
    def broken_off() -> Iterator[Outcome]:
        yield outcome("rejected", "blurred")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), ContactSheet(tmp_path / "s.html", MemoryPhotos(), Limits()) as made:
        made.add(broken_off())

    assert Page((tmp_path / "s.html").read_text()).tiles == [["blurred"]]


@pytest.mark.parametrize("path", ["no/such/folder/s.html", ".", "/", "a\0b", "/dev/null"])
def test_a_sheet_that_cannot_be_written_says_why_at_once(path: str) -> None:
    with pytest.raises(WrongInput, match="cannot write"):
        ContactSheet(Path(path), MemoryPhotos(), Limits())


def test_of_a_sheet_that_cannot_be_finished_nothing_is_left(tmp_path: Path) -> None:
    made = ContactSheet(tmp_path / "s.html", MemoryPhotos(), Limits())
    (tmp_path / "s.html").mkdir()

    with pytest.raises(WrongInput, match="cannot write"):
        made.close()
    assert [path.name for path in tmp_path.iterdir()] == ["s.html"]


def test_a_sheet_is_written_as_photos_come(tmp_path: Path) -> None:
    made = ContactSheet(tmp_path / "s.html", MemoryPhotos(), Limits(), most=10_000)
    most = most_kept(made.add)
    made.close()

    assert most < 5
    assert (tmp_path / "s.html").stat().st_size > 1_000_000
