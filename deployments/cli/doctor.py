"""Looks at everything that a run needs and says what to do where something is missing."""

from __future__ import annotations

from collections.abc import Callable

from rich.table import Table

from deployments.cli.recording import api_url
from deployments.console import out, shown
from selfiegate.backends.insightface.pack import DEFAULT, TINY, falls_back
from selfiegate.runtime import runtime
from selfiegate.settings import load_settings


def examine() -> bool:
    """Print one line per check; return whether all passed."""
    table = Table(box=None, show_header=False, padding=(0, 1))
    results = [_checked(table, name, check) for name, check in _CHECKS.items()]
    out.print(table)
    return all(results)


def _checked(table: Table, name: str, check: Callable[[], str]) -> bool:
    try:
        found = check()
    except Exception as error:  # whatever is wrong, the other checks go on
        table.add_row("[red]✗[/]", name, shown(str(error)))
        return False
    table.add_row("[green]✓[/]", name, shown(found))
    return True


def _settings() -> str:
    settings = load_settings()
    return f"backend {settings.backend}, home {settings.folder}"


def _weights() -> str:
    settings, model = load_settings(), runtime().faces.model
    if settings.backend != "insightface":
        return model
    pack = settings.insightface
    if falls_back(pack):
        return f"{TINY}, for no pack is set: {model} loaded; it is small, not for production, see `selfiegate settings`"
    return f"{pack.pack or DEFAULT}: {model} loaded"


def _stores() -> str:
    rt = runtime()
    faces, waiting = rt.faces.stats(), len(rt.ledger.unfinished(before=2**62))
    rt.profiles.get("doctor")
    return f"{faces.faces} faces of {faces.users} users; {waiting} photos not finished"


def _prefect() -> str:
    address = api_url()
    if address is None:
        return "none set: commands take their steps here, and nothing is recorded"
    from prefect.client.orchestration import get_client  # Prefect takes a second to import

    with get_client(sync_client=True) as client:
        if trouble := client.api_healthcheck():
            raise ConnectionError(f"{address} does not answer ({trouble}); start it, or unset PREFECT_API_URL")
        version = client.api_version()
    return f"{address}, version {version}"


_CHECKS = {"settings": _settings, "weights": _weights, "stores": _stores, "Prefect API": _prefect}
