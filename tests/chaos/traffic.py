"""Photos through the whole of it: S3 put, event, bridge, automation, worker, ledger; and killing parts of it."""

from __future__ import annotations

import os
import re
import signal
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from PIL import Image, ImageEnhance

from deployments.local.demo_photos import ANOTHER, WORKSHOP, draw
from deployments.local.parts import Local
from deployments.local.up import running
from selfiegate.aws.clients import client
from selfiegate.model import Claim, PhotoRef
from selfiegate.runtime import Runtime, open_runtime
from selfiegate.settings import load_settings
from selfiegate.stores.s3 import S3Photos
from tests.runtimes import assert_consistent

LFW = Path(__file__).parents[3] / "shared" / "photos" / "lfw"


class Traffic:
    """Uploads photos to a running `selfiegate up`, and looks for their verdicts."""

    def __init__(self, local: Local, rt: Runtime) -> None:
        self.local, self.rt = local, rt
        self.sent: dict[tuple[PhotoRef, str], float] = {}
        self.verdicts: dict[tuple[PhotoRef, str], Claim] = {}

    def upload(self, file: Path, user_id: str) -> tuple[PhotoRef, str]:
        """Put a photo into the bucket as its user would."""
        aws = self.rt.settings.aws
        key = f"{user_id}/{file.name}"
        photo = S3Photos(aws, self.rt.settings.photos).put(str(aws.photo_bucket), key, file.read_bytes(), {})
        self.sent[photo, user_id] = time.monotonic()
        return photo, user_id

    def people(self, count: int, skip: int = 0) -> Sequence[tuple[Path, str]]:
        """Return one photo each with a user: of different people where there are any, else of two over and over."""
        if LFW.is_dir():
            return lfw(count, skip)
        folder = self.local.folder / "people"
        folder.mkdir(exist_ok=True)
        draw(folder)
        made = []
        for n in range(skip, skip + count):
            with Image.open(folder / (WORKSHOP[0], ANOTHER)[n % 2]) as portrait:
                ImageEnhance.Brightness(portrait).enhance(0.9 + n / 500).save(folder / f"{n}.png")
            made.append((folder / f"{n}.png", f"user-{n}"))
        return made

    def send(self, body: str) -> None:
        """Put a message into the queue as somebody else would."""
        client("sqs", self.rt.settings.aws).send_message(QueueUrl=self.rt.settings.aws.queue_url, MessageBody=body)

    def dead(self) -> list[tuple[str, str]]:
        """Return (body, reason) of the dead messages; they stay where they are."""
        found, asked = {}, {"QueueUrl": self.rt.settings.aws.dead_queue_url, "MessageAttributeNames": ["All"]}
        while (
            got := client("sqs", self.rt.settings.aws).receive_message(**asked, MaxNumberOfMessages=10).get("Messages")
        ):
            found.update(
                {one["MessageId"]: (one["Body"], one["MessageAttributes"]["reason"]["StringValue"]) for one in got}
            )
        return list(found.values())

    def dead_count(self) -> int:
        """Count the dead messages, also those that somebody is looking at."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        asked = {"QueueUrl": self.rt.settings.aws.dead_queue_url, "AttributeNames": names}
        found = client("sqs", self.rt.settings.aws).get_queue_attributes(**asked)["Attributes"]
        return sum(int(found[name]) for name in names)

    def look(self) -> int:
        """Ask the ledger for the verdicts that are not there yet; return how many are."""
        for photo, user_id in self.sent.keys() - self.verdicts.keys():
            row = self.rt.ledger.get(photo, user_id)
            if row is not None and row.verdict is not None:
                self.verdicts[photo, user_id] = row
        return len(self.verdicts)

    def wait(self, patience_s: float, every_s: float = 1.0) -> float:
        """Wait until every photo has a verdict, starting again what died; return the seconds that it took."""
        began = time.monotonic()
        while self.look() < len(self.sent):
            waited = time.monotonic() - began
            left = sorted(photo.name for photo, _ in self.sent.keys() - self.verdicts.keys())
            assert waited < patience_s, f"after {waited:.0f} s without a verdict: {left}; see {self.local.folder}"
            time.sleep(every_s)
            self.local.restart_dead()
        return time.monotonic() - began

    def wait_for_notices(self, patience_s: float) -> None:
        """Wait until every refused user was told: by the run, after the verdict, or by `reconcile` where it died."""
        refused = [one for one, row in self.verdicts.items() if row.status != "accepted"]
        give_up = time.monotonic() + patience_s
        while left := [one for one in refused if (row := self.rt.ledger.get(*one)) is None or row.notice != "sent"]:
            assert time.monotonic() < give_up, f"not told of their refusal: {left}"
            time.sleep(1)

    def statuses(self) -> dict[str, int]:
        """Count the verdicts."""
        return dict(Counter(row.status for row in self.verdicts.values()))

    def assert_consistent(self) -> None:
        """Hold all stores against each other."""
        assert_consistent(self.rt, *self.sent)

    def told(self) -> Counter[tuple[str, str]]:
        """Count the notices to each user about each photo's name."""
        lines = "".join(self.log(part) for part in self.local.parts if part.startswith("worker"))
        return Counter(re.findall(r"notice to (\S+) about (\S+):", lines))

    def log(self, part: str) -> str:
        """Return what a part has printed."""
        return (self.local.folder / f"{part}.log").read_text(errors="replace")


@contextmanager
def traffic(folder: Path, database: str | None = None, **env: str) -> Iterator[Traffic]:
    """Start everything below a folder, as it would be without what conftest.py sets.

    Sees that the signals are left alone: it outlives the tests that conftest.py watches.
    """
    signals = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        for name in [name for name in os.environ if name.startswith(("PREFECT_SERVER_", "PREFECT_LOGGING_"))]:
            patch.delenv(name)
        patch.delenv("SELFIEGATE_RETRIES__FIRST_DELAY_S", raising=False)
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):  # `running` sets these in its own process too
            patch.setenv(name, "up")
        local = stack.enter_context(running(folder, (), database, **env))
        for name, value in local.env.items():
            if name.startswith(("SELFIEGATE_", "AWS_")):
                patch.setenv(name, value)
        yield Traffic(local, open_runtime(load_settings()))
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == signals


def lfw(count: int, skip: int = 0) -> Sequence[tuple[Path, str]]:
    """Return one photo each of different people, with a user."""
    files = sorted(LFW.glob("*/*_0001.jpg"))[skip : skip + count]
    return [(file, file.parent.name) for file in files]
