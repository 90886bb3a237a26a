"""One retryable Prefect task a step."""

from __future__ import annotations

import os

# Prefect's server and its clients send usage data, the clients from the moment of their import. Flows and deployments
# come through here before they import Prefect.
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("DO_NOT_TRACK", "1")
