"""The groups of settings that belong to no folder of the product."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from selfiegate.setting_types import Group, Token


class Retries(Group):
    """How often a step is tried while a store or model does not answer; read when the tasks are imported."""

    attempts: int = Field(6, ge=1, le=20, description="Tries of one step, the first included")
    first_delay_s: float = Field(
        2.0,
        ge=0,
        le=300,
        description="Seconds; doubles with each attempt, and jitter is added; 0: no delays",
    )
    step_timeout_s: float = Field(60.0, gt=0, le=3600, description="Seconds that one attempt at one step may take")

    @property
    def delays_s(self) -> float:
        """All delays between the attempts at one step, without jitter, in seconds."""
        return float(self.first_delay_s * (2 ** (self.attempts - 1) - 1))

    @property
    def longest_s(self) -> float:
        """The longest that all attempts at one step take, in seconds; jitter adds to a delay as much again at most."""
        return self.attempts * self.step_timeout_s + 2 * self.delays_s


class BridgeSettings(Group):
    """How the bridge from the queue to Prefect works."""

    window: int = Field(
        32,
        ge=1,
        le=1000,
        description="How many photos with runs of their own are handed over and not claimed yet",
    )
    express: Literal["auto", "always", "never"] = Field(
        "auto", description="Whether many photos share a run: where they would wait, always, or never"
    )
    express_from: int = Field(
        4, ge=0, le=1000, description="How many photos that no run has claimed yet let those that follow share runs"
    )
    express_photos: int = Field(
        64, ge=2, le=80, description="How many photos share a run at most; Prefect takes no more than 100 tags of a run"
    )
    patience_s: float = Field(
        20.0,
        gt=0,
        le=300,
        description="Seconds until the event of a photo that no run claimed is sent again; doubles to 300",
    )
    turn_s: float = Field(
        600.0, ge=0.1, le=3600, description="Seconds until a photo that no run claimed gives up its place and is parked"
    )
    park_s: float = Field(
        600.0, ge=0.1, le=36_000, description="Longest pause of a parked photo; pauses double from 5 s"
    )
    parked: int = Field(
        1000, ge=0, le=100_000, description="How many messages may wait beside the window; others wait in the queue"
    )
    oldest_s: float = Field(
        3600.0, ge=1, le=1_209_600, description="/health fails once no run claims a photo for so long, erasures aside"
    )
    host: str = Field(
        "127.0.0.1", min_length=1, description="Where /health, /metrics and /events are; 0.0.0.0 in a container"
    )
    port: int = Field(8080, ge=0, le=65535, description="Of /health, /metrics and /events; 0: no server")
    token: Token = Field(
        None, description="Who sends it may POST /events: 16 to 512 letters, digits, - . _ ~ + / =; empty: nobody may"
    )

    @property
    def places(self) -> int:
        """How many photos are handed over and not claimed at most: with the express lane a run's that gathers, too."""
        return self.window + (0 if self.express == "never" else 3 * self.express_photos)

    @property
    def share(self) -> int:
        """How many of them may be of one user: a quarter of the window, or of a run that is shared."""
        return max(1, (self.window if self.express == "never" else min(self.window, self.express_photos)) // 4)
