"""Uploaded photos as Prefect events, for an automation to start runs from."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self
from uuid import uuid4

from prefect.client.orchestration import get_client
from prefect.events import Event
from prefect.events.clients import EventsClient, get_events_client
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL

from selfiegate.errors import BackendMisconfigured, BackendUnavailable
from selfiegate.ingestion.photo_requests import PhotoRequest
from selfiegate.setting_groups import BridgeSettings

_log = logging.getLogger(__name__)

UPLOADED = "selfiegate.photo.uploaded"
"""The event's name; its payload holds the flow's parameters."""
UPLOADED_TOGETHER = "selfiegate.photos.uploaded"
"""Of more than one photo."""

_PATIENCE_S = 15.0
"""For connecting and sending; Prefect's own client would wait for minutes."""
_LOOK_S = 3.0
"""For a look at the deployments when the bridge starts; it does not wait for Prefect."""


def event_of(requests: Sequence[PhotoRequest]) -> Event:
    """Return a new event of photos; each has an id of its own, for Prefect drops ids that it knows."""
    if len(requests) > 1:
        resource = {"prefect.resource.id": f"selfiegate.photos.{uuid4()}"}
        payload = {"photos": [one.model_dump(mode="json") for one in requests]}
        return Event(event=UPLOADED_TOGETHER, resource=resource, payload=payload)
    (one,) = requests
    photo = one.photo
    return Event(
        event=UPLOADED,
        resource={"prefect.resource.id": f"selfiegate.photo.{photo.id}", "prefect.resource.name": photo.name},
        payload=one.model_dump(mode="json"),
    )


async def possible(settings: BridgeSettings) -> BridgeSettings:
    """Return the settings without the express lane where Prefect has no deployment for it, which is said.

    Raises `BackendMisconfigured` where the lane is asked for always. A server that does not answer within 3 s is taken
    to have it: photos whose event starts no run are sent again, at last alone.
    """
    if settings.express == "never":
        return settings
    missing = "Prefect has no deployment process-photos/process-photos: run `prefect deploy --all`"
    try:
        async with asyncio.timeout(_LOOK_S), get_client() as client:
            await client.read_deployment_by_name("process-photos/process-photos")
    except ObjectNotFound:
        if settings.express == "always":
            raise BackendMisconfigured(f"{missing}, or unset SELFIEGATE_BRIDGE__EXPRESS") from None
        _log.warning("%s, and start the bridge again; until then each photo has a run of its own", missing)
        return settings.model_copy(update={"express": "never"})
    except Exception as error:  # of sockets and HTTP, and those of Prefect's client
        what = f"{type(error).__name__}: {error}".removesuffix(": ")
        _log.info("whether Prefect has the deployment process-photos cannot be told: %s", what)
    return settings


class PrefectEvents:
    """Sends events to Prefect, server or Cloud, one after the other over one connection.

    That one was sent means that Prefect received it, not that it keeps it: only the ledger's row does.
    """

    def __init__(self) -> None:
        if not PREFECT_API_URL.value():
            raise BackendMisconfigured(
                "events need a Prefect API that others see too: set PREFECT_API_URL, e.g. http://127.0.0.1:4200/api"
            )
        self._client: EventsClient | None = None
        self._turn = asyncio.Lock()

    async def __aenter__(self) -> Self:
        """Connect with the first event, for Prefect may be down now."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        await self._close()

    async def emit(self, requests: Sequence[PhotoRequest]) -> None:
        """Send one event of photos; raises `BackendUnavailable`, and connects anew the next time."""
        async with self._turn:
            try:
                async with asyncio.timeout(_PATIENCE_S):
                    client = await self._opened()
                    await client.emit(event_of(requests))
            except asyncio.CancelledError:
                await self._close()
                raise
            except Exception as error:  # of sockets, HTTP and the handshake, whose errors have no common base
                await self._close()
                what = f"{type(error).__name__}: {error}"
                raise BackendUnavailable(f"Prefect's events at {PREFECT_API_URL.value()}: {what}") from error

    async def _opened(self) -> EventsClient:
        if self._client is None:
            # No attempts of its own: the bridge's are the ones that people see.
            client = get_events_client(reconnection_attempts=0, checkpoint_every=1)
            self._client = await client.__aenter__()
        return self._client

    async def _close(self) -> None:
        client, self._client = self._client, None
        if client:
            with suppress(Exception):  # it is broken, or will be gone in a second
                async with asyncio.timeout(1):
                    await client.__aexit__(None, None, None)
