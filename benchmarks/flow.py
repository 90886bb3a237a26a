"""What the flow costs a photo beyond its bare steps: `python -m benchmarks.flow [PHOTOS]`.

The same photos, as new users, go through the same steps twice over, in turn: called one after the other,
and as the Prefect flow against a server of its own on SQLite. Both write real stores.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

os.environ.update(
    PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL="CRITICAL",
    PREFECT_SERVER_LOGGING_LEVEL="CRITICAL",
)

from prefect.testing.utilities import prefect_test_harness

from benchmarks.lfw import PHOTOS
from flows.process_photo import process_photo
from selfiegate.enrolment.protocol import claim_photo
from selfiegate.enrolment.sequence import finish
from selfiegate.runtime import Runtime, open_runtime, using
from selfiegate.settings import load_settings


def main(count: int) -> None:
    """Print the medians and what lies between them."""
    files = sorted(PHOTOS.glob("*/*_0001.jpg"))[:count]
    with tempfile.TemporaryDirectory() as folder, prefect_test_harness(server_startup_timeout=120):
        settings = load_settings().model_copy(update={"home": Path(folder) / "bare"})
        bare = open_runtime(settings)
        flow = open_runtime(settings.model_copy(update={"home": Path(folder) / "flow"}))
        bare_ms, flow_ms = asyncio.run(_both(bare, flow, files))
    warm = slice(min(5, count // 2), None)
    for name, ms in (("bare steps", bare_ms[warm]), ("flow", flow_ms[warm])):
        p50, p95 = np.percentile(ms, [50, 95])
        print(f"{name:12} p50 {p50:6.0f} ms   p95 {p95:6.0f} ms")
    print(f"the flow adds {np.median(flow_ms[warm]) - np.median(bare_ms[warm]):.0f} ms to a photo (medians)")


async def _both(bare: Runtime, flow: Runtime, files: list[Path]) -> tuple[list[float], list[float]]:
    bare_ms, flow_ms = [], []
    for file in files:
        photo, user_id = bare.photos.find(str(file)), file.parent.name
        began = time.perf_counter()
        finish(bare, claim_photo(bare, photo, user_id, "benchmark"))
        bare_ms.append(1000 * (time.perf_counter() - began))
        began = time.perf_counter()
        with using(flow):
            await process_photo(photo, user_id)
        flow_ms.append(1000 * (time.perf_counter() - began))
        await asyncio.sleep(0.3)  # let the server write the run's events: it turns new runs away meanwhile
    return bare_ms, flow_ms


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 60)
