"""Finds a model pack on disk, or lets insightface download it; says plainly what to do where neither works."""

from __future__ import annotations

import hashlib
import logging
import sys
from contextlib import redirect_stdout
from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import Field

from selfiegate.errors import BackendMisconfigured
from selfiegate.setting_types import COMMAS, Folder, Group

NOTICE = (
    "The weights of InsightFace's packs are for non-commercial research only; "
    "a commercial service needs a licence from insightface.ai."
)

TINY = "selfiegate_tiny"
"""The pack that comes with this package."""

DEFAULT = "buffalo_l"
"""The pack that is taken where none is set, if it is there."""

_PACKS = Path(__file__).parent / "packs"
_DIGESTS = "SHA256SUMS"
_log = logging.getLogger(__name__)


DetectionSide = Annotated[int, Field(gt=0, le=4096, multiple_of=32)]
"""Of a detector's input, in pixels: its coarsest feature map has a place for every 32."""


class PackSettings(Group):
    """Which models are loaded, and how they run."""

    pack: str | None = Field(
        None,
        min_length=1,
        description="A pack's name, or a folder with its ONNX files; empty: buffalo_l where root has it, else the "
        "small selfiegate_tiny that comes along, which a worker does not take unless it is named",
    )
    root: Folder = Field(Path("~/.insightface"), description="Packs lie in its folder `models`")
    providers: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], COMMAS] = Field(
        (), description="onnxruntime providers, each of which has to load; empty: CUDA where it loads, else CPU"
    )
    device: int = Field(0, ge=0, le=255, description="Number of the GPU that this process uses, as CUDA counts them")
    threads: int = Field(
        1, ge=0, le=1024, description="Threads of one inference, and of OpenCV in this process; 0: all CPUs"
    )
    batch: int = Field(
        1, ge=1, le=256, description="Photos of several threads that share a call of the models; 32 for a try on a GPU"
    )
    batch_wait_ms: float = Field(
        2.0, ge=0, le=1000, description="Longest time that a photo waits for others to share its call, in milliseconds"
    )
    detection_sizes: Annotated[tuple[DetectionSide, ...], COMMAS] = Field(
        (128, 640), min_length=1, description="Sides in pixels that a photo is fitted into; small ones find close-ups"
    )
    detection_threshold: float = Field(0.5, gt=0, lt=1, description="Faces below this confidence are ignored")


def pack_folder(settings: PackSettings) -> Path:
    """Return the folder with the pack's ONNX files; a pack that is set and absent is downloaded.

    Raises `BackendMisconfigured` where there is none, or where its files are not those that its `SHA256SUMS` lists.
    """
    name = settings.pack or DEFAULT
    folder = settings.root.expanduser() / "models" / name
    if name == TINY or falls_back(settings):
        return _small(settings)
    direct = Path(name).expanduser()
    if settings.pack and direct.is_dir():
        return _filled(direct)
    if name != direct.name:
        raise BackendMisconfigured(
            f"there is no folder {name!r}; set SELFIEGATE_INSIGHTFACE__PACK to a pack's name "
            "(buffalo_l, buffalo_s, ...) or to a folder with its ONNX files"
        )
    if not folder.is_dir():
        _download(name, settings.root, folder)
    return _filled(folder)


def falls_back(settings: PackSettings) -> bool:
    """Say whether the small pack is taken because none is set and the default one is not on this machine."""
    return settings.pack is None and not (settings.root.expanduser() / "models" / DEFAULT).is_dir()


@cache  # said once in a process
def _small(settings: PackSettings) -> Path:
    if falls_back(settings):
        _log.warning(
            "%s is used, the small pack that comes along, not for production: no pack is set, and %s is not in %s. "
            "SELFIEGATE_INSIGHTFACE__PACK=%s downloads it; then take another SELFIEGATE_HOME, too, "
            "for an enrolled gallery keeps its model",
            TINY, DEFAULT, settings.root / "models", DEFAULT,
        )  # fmt: skip
    else:
        _log.warning(
            "%s is a small pack for demos and tests, not for production, and for non-commercial research only", TINY
        )
    return _verified(_PACKS / TINY)


def digest(file: Path) -> str:
    """Return eight hex digits of a file's SHA-256: tells one set of weights from another."""
    return hashlib.sha256(file.read_bytes()).hexdigest()[:8]


def _filled(folder: Path) -> Path:
    if not any(folder.glob("*.onnx")):
        raise BackendMisconfigured(f"{folder} holds no .onnx files; {_how_to_fill(folder)}")
    return _verified(folder) if (folder / _DIGESTS).exists() else folder


def _verified(folder: Path) -> Path:
    """Compare the files with the folder's list, which is as `sha256sum` writes it."""
    words = (folder / _DIGESTS).read_text().split() if (folder / _DIGESTS).exists() else []
    listed = dict(zip(words[1::2], words[::2], strict=False))
    found = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.glob("*.onnx")}
    wrong = sorted(name for name in listed.keys() | found.keys() if listed.get(name) != found.get(name))
    if wrong or not listed:
        raise BackendMisconfigured(
            f"{', '.join(wrong) or _DIGESTS} in {folder} is not what its {_DIGESTS} lists; install selfiegate again, "
            "or set SELFIEGATE_INSIGHTFACE__PACK to another pack"
        )
    return folder


def _download(name: str, root: Path, folder: Path) -> None:
    from insightface.utils.storage import ensure_available

    print(f"Downloading the model pack {name} to {folder}. {NOTICE}", file=sys.stderr)
    try:
        with redirect_stdout(sys.stderr):  # insightface prints its progress; stdout is for results
            ensure_available("models", name, root=str(root))
    except Exception as error:  # whatever requests, zipfile and the file system raise
        folder.with_suffix(".zip").unlink(missing_ok=True)
        raise BackendMisconfigured(
            f"the model pack {name!r} is not in {folder} and could not be downloaded "
            f"({type(error).__name__}); {_how_to_fill(folder)}"
        ) from error


def _how_to_fill(folder: Path) -> str:
    return (
        f"unpack {folder.name}.zip of InsightFace's model zoo there, or set SELFIEGATE_INSIGHTFACE__ROOT "
        "or SELFIEGATE_INSIGHTFACE__PACK to where the ONNX files are; SELFIEGATE_INSIGHTFACE__PACK=selfiegate_tiny "
        "takes the small one that comes along, for a try"
    )
