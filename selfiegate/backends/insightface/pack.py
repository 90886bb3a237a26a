"""Finds a model pack on disk, or lets insightface download it; says plainly what to do where neither works."""

from __future__ import annotations

import hashlib
import logging
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated

from pydantic import Field

from selfiegate.errors import BackendMisconfigured
from selfiegate.model import Value
from selfiegate.setting_types import COMMAS, Folder, Side

NOTICE = (
    "The weights of InsightFace's packs are for non-commercial research only; "
    "a commercial service needs a licence from insightface.ai."
)

TINY = "selfiegate_tiny"
"""The pack that comes with this package."""

_PACKS = Path(__file__).parent / "packs"
_DIGESTS = "SHA256SUMS"
_log = logging.getLogger(__name__)


class PackSettings(Value):
    """Which models are loaded, and how they run."""

    pack: str = Field(
        "buffalo_l",
        min_length=1,
        description="A pack's name, or a folder with its ONNX files; selfiegate_tiny comes along",
    )
    root: Folder = Field(Path("~/.insightface"), description="Packs lie in its folder `models`")
    providers: Annotated[tuple[str, ...], COMMAS] = Field(
        (), description="onnxruntime providers; empty: CUDA if there, then CPU"
    )
    threads: int = Field(1, ge=0, description="Threads of one inference, and of OpenCV in this process; 0: all cores")
    detection_sizes: Annotated[tuple[Side, ...], COMMAS] = Field(
        (128, 640), min_length=1, description="Sides in pixels that a photo is fitted into; small ones find close-ups"
    )
    detection_threshold: float = Field(0.5, gt=0, lt=1, description="Faces below this confidence are ignored")


def pack_folder(settings: PackSettings) -> Path:
    """Return the folder with the pack's ONNX files; download it where it is absent.

    Raises `BackendMisconfigured` where there is none, or where its files are not those that its `SHA256SUMS` lists.
    """
    if settings.pack == TINY:
        _log.warning(
            "%s is a small pack for demos and tests, not for production, and for non-commercial research only", TINY
        )
        return _verified(_PACKS / TINY)
    direct = Path(settings.pack).expanduser()
    if direct.is_dir():
        return _filled(direct)
    if settings.pack != direct.name:
        raise BackendMisconfigured(
            f"there is no folder {settings.pack!r}; set SELFIEGATE_INSIGHTFACE__PACK to a pack's name "
            "(buffalo_l, buffalo_s, ...) or to a folder with its ONNX files"
        )
    folder = settings.root.expanduser() / "models" / settings.pack
    if not folder.is_dir():
        _download(settings, folder)
    return _filled(folder)


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


def _download(settings: PackSettings, folder: Path) -> None:
    from insightface.utils.storage import ensure_available

    print(f"Downloading the model pack {settings.pack} to {folder}. {NOTICE}", file=sys.stderr)
    try:
        with redirect_stdout(sys.stderr):  # insightface prints its progress; stdout is for results
            ensure_available("models", settings.pack, root=str(settings.root))
    except Exception as error:  # whatever requests, zipfile and the file system raise
        folder.with_suffix(".zip").unlink(missing_ok=True)
        raise BackendMisconfigured(
            f"the model pack {settings.pack!r} is not in {folder} and could not be downloaded "
            f"({type(error).__name__}); {_how_to_fill(folder)}"
        ) from error


def _how_to_fill(folder: Path) -> str:
    return (
        f"unpack {folder.name}.zip of InsightFace's model zoo there, or set SELFIEGATE_INSIGHTFACE__ROOT "
        "or SELFIEGATE_INSIGHTFACE__PACK to where the ONNX files are; SELFIEGATE_INSIGHTFACE__PACK=selfiegate_tiny "
        "takes the small one that comes along, for a try"
    )
