"""What a checkout, or the image, adds to the commands of the wheel: Prefect's flows and blocks."""

from __future__ import annotations

from typing import Protocol

import typer

from selfiegate.cli.runner import Runner
from selfiegate.errors import WrongInput
from selfiegate.settings import Settings

STAND_INS = {
    "worker": "Take flow runs from a Prefect work pool.",
    "bridge": "Hand photo events to Prefect.",
    "up": "Run everything on this machine.",
    "demo": "Run photos through the flow and show their verdicts.",
    "aws": "Look at what AWS allows.",
}


class Prefect(Protocol):
    """All that the wheel's commands ask of Prefect."""

    def api_url(self) -> str | None:
        """Return the address of Prefect's API, or None where none is set."""

    def runner(self, verbose: bool) -> Runner:
        """Return what runs flows."""

    def connect(self, settings: Settings) -> None:
        """Let the runtime be built with the blocks that the settings name."""

    def check_api(self) -> str:
        """Describe the API; raises an error where it does not answer."""


_prefect: Prefect | None = None


def provide(prefect: Prefect) -> None:
    """Give the commands what the wheel does not hold."""
    global _prefect
    _prefect = prefect


def prefect() -> Prefect | None:
    """Return what was provided, None in the wheel."""
    return _prefect


def needed(what: str) -> Prefect:
    """Return what was provided; raises `WrongInput` in the wheel: it says where `what` is to be had."""
    if _prefect is None:
        raise WrongInput(
            f"{what} is not in the wheel: take a checkout of selfiegate or its image (deployments/Dockerfile)"
        )
    return _prefect


def stand_in(app: typer.Typer) -> None:
    """Let the commands that only a checkout has say where they are to be had."""
    anything = {"ignore_unknown_options": True, "allow_extra_args": True}
    for name, purpose in STAND_INS.items():
        app.command(name, help=f"{purpose} Not in the wheel: needs a checkout.", context_settings=anything)(_elsewhere)


def _elsewhere(context: typer.Context) -> None:
    needed(f"`selfiegate {context.info_name}`")
