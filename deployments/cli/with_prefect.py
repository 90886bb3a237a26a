"""Prefect, for the commands of the wheel: where its API is, flows that it records, its blocks."""

from __future__ import annotations

import os
from pathlib import Path

from deployments.logs import quiet_prefect
from selfiegate.cli.runner import Runner
from selfiegate.runtime import open_with
from selfiegate.settings import Settings


def api_url() -> str | None:
    """Return the address of Prefect's API, or None where none is set.

    Prefect takes a second to import, so it is asked only where one of its files may name an address.
    """
    if url := os.environ.get("PREFECT_API_URL"):
        return url
    if not any(_mentions(file, word) for file, word in _files()):
        return None
    from prefect.settings import get_current_settings

    return get_current_settings().api.url


def runner(verbose: bool) -> Runner:
    """Return what runs flows."""
    quiet_prefect(verbose)
    from deployments.cli import run_flows  # Prefect takes a second to import

    return run_flows


def connect(settings: Settings) -> None:
    """Let the runtime be built with the blocks that the settings name."""
    from tasks import blocks  # Prefect takes two seconds to import

    blocks.connect(settings)
    open_with(blocks.open_with_blocks)


def check_api() -> str:
    """Return the API's address and version; raises an error where it does not answer."""
    address = api_url()
    if address is None:
        return "none set: commands take their steps here, and nothing is recorded"
    quiet_prefect(verbose=False)
    from prefect.client.orchestration import get_client  # Prefect takes a second to import

    with get_client(sync_client=True) as client:
        if trouble := client.api_healthcheck():
            raise ConnectionError(f"{address} does not answer ({trouble}); start it, or unset PREFECT_API_URL")
        version = client.api_version()
    return f"{address}, version {version}"


def _files() -> list[tuple[Path, str]]:
    home = Path(os.environ.get("PREFECT_HOME") or "~/.prefect").expanduser()
    profiles = Path(os.environ.get("PREFECT_PROFILES_PATH") or home / "profiles.toml")
    here = [(Path("prefect.toml"), "url"), (Path("pyproject.toml"), "[tool.prefect"), (Path(".env"), "PREFECT_")]
    return [(profiles, "PREFECT_"), *here]


def _mentions(file: Path, word: str) -> bool:
    try:
        return word in file.read_text(errors="replace")
    except OSError:
        return False
