"""`python -m tests.fuzz TARGET SECONDS` fuzzes (with atheris); `... keep TARGET` keeps what found something new;
`... replay TARGET` has a target look at what is kept, and says as lines of JSON what came of each.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import resource
import signal
import sys
import zipfile
from pathlib import Path
from typing import Any

from tests import fuzz

FOLDER = Path(".fuzz")
KEPT = Path(fuzz.__file__).parent / "corpus"
MEMORY, SECONDS = 3 << 30, 10
MOST = 200_000
"""Bytes that are kept of a target, before they are packed."""
_WITHIN = ("/selfiegate/", "/PIL/", "/pillow_heif/")


def kept(target: str) -> dict[str, bytes]:
    """Return what is kept of a target, by its name."""
    try:
        with zipfile.ZipFile(KEPT / f"{target}.zip") as file:
            return {name: file.read(name) for name in file.namelist()}
    except FileNotFoundError:
        return {}


def run(target: str, seconds: int) -> None:
    """Fuzz for so long, or until a fault is found; it lies in `.fuzz` then."""
    import atheris  # type: ignore[import-untyped]  # `make fuzz` installs it

    with atheris.instrument_imports(include=["selfiegate", "PIL", "pillow_heif"]):
        module = importlib.import_module(f"tests.fuzz.{target}")
    folder = FOLDER / target
    folder.mkdir(parents=True, exist_ok=True)
    for data in (*module.seeds(), *kept(target).values()):
        if len(data) <= module.LONGEST:
            (folder / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
    words = FOLDER / f"{target}.dict"
    words.write_text("".join(map(_entry, filter(None, module.DICTIONARY))))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    options = {
        "max_total_time": seconds,
        "max_len": module.LONGEST,
        "timeout": SECONDS,
        "rss_limit_mb": MEMORY >> 20,
        "dict": words,
        "artifact_prefix": f"{FOLDER}/{target}-",
        "print_final_stats": 1,
    }
    atheris.Setup(
        [f"fuzz-{target}", *(f"-{name}={value}" for name, value in options.items()), str(folder)],
        lambda data: module.check(data) and None,
        custom_mutator=lambda data, longest, seed: module.mutate(data, longest, seed, atheris.Mutate),
    )
    atheris.Fuzz()


def _entry(word: bytes) -> str:
    return '"' + "".join(f"\\x{byte:02x}" for byte in word) + '"\n'


def keep(target: str) -> None:
    """Keep the smallest inputs that between them reach all that was reached, by lines of Python one after the other."""
    module = importlib.import_module(f"tests.fuzz.{target}")
    found = {*kept(target).values(), *(path.read_bytes() for path in (FOLDER / target).iterdir())}
    seen: set[object] = set()
    chosen: dict[str, bytes] = {}
    for data in sorted(found, key=lambda one: (len(one), one)):
        steps = _steps(module, data)
        if steps - seen and sum(map(len, chosen.values())) + len(data) <= MOST:
            seen |= steps
            chosen[hashlib.sha256(data).hexdigest()[:16]] = data
    KEPT.mkdir(exist_ok=True)
    with zipfile.ZipFile(KEPT / f"{target}.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=9) as file:
        for name, data in sorted(chosen.items()):
            file.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data, zipfile.ZIP_DEFLATED)
    print(f"{len(chosen)} of {len(found)} inputs, {sum(map(len, chosen.values()))} bytes, {len(seen)} steps")


def _steps(module: Any, data: bytes) -> set[object]:
    """Return from which line to which it went, and what came of it."""
    steps: set[object] = set()
    last: dict[Any, int] = {}

    def trace(frame: Any, event: str, _: object) -> Any:
        code = frame.f_code
        if not any(part in code.co_filename for part in _WITHIN):
            return None
        steps.add((code, last.get(frame, 0), frame.f_lineno))
        last[frame] = frame.f_lineno
        return trace

    sys.settrace(trace)
    try:
        steps.add(module.check(data))
    finally:
        sys.settrace(None)
    return steps


def replay(target: str) -> None:
    """Look at all that is kept, below a bound on memory and time; each line stands before the next input is touched."""
    module = importlib.import_module(f"tests.fuzz.{target}")
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    for name, data in kept(target).items():
        signal.alarm(SECONDS)  # which kills
        print(json.dumps({"name": name, "outcome": module.check(data)}), flush=True)
        signal.alarm(0)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["keep", name]:
            keep(name)
        case ["replay", name]:
            replay(name)
        case [name, *seconds]:
            run(name, int(seconds[0]) if seconds else 300)
