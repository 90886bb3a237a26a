"""deployments/prefect-cloud.md: an S3 event through webhook and trigger reaches `process-event` as it was."""

from __future__ import annotations

import json
import re
import textwrap
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import jinja2
import pytest
import yaml
from prefect.events.schemas.deployment_triggers import DeploymentEventTrigger
from prefect.server.events.schemas.automations import EventTrigger
from prefect.server.events.schemas.events import ReceivedEvent
from prefect.utilities.schema_tools.hydration import HydrationContext, hydrate

from selfiegate.ingestion.messages import uploads
from tests.unit.test_messages import eventbridge

PAGE = (Path(__file__).parents[2] / "deployments" / "prefect-cloud.md").read_text()
KEYS = ["ann/selfie.jpg", 'ann/my "new" selfie\'s.jpg', "ann/{{ 7 * 7 }}.jpg", "用户/<\\>&\U0001f600.jpg"]


def block(language: str) -> str:
    """Return the page's one block of code in this language."""
    (found,) = re.findall(rf"^ *```{language}\n(.*?)^ *```$", PAGE, re.MULTILINE | re.DOTALL)
    return textwrap.dedent(found)


def through_the_webhook(body: dict[str, Any]) -> ReceivedEvent:
    """Do what Prefect Cloud's documentation says of a template: render it with the body, and read JSON."""
    template = jinja2.Environment(autoescape=False).from_string(block("jinja"))  # noqa: S701  it makes JSON, not HTML
    return ReceivedEvent(**json.loads(template.render(body=body)), id=uuid4(), occurred=datetime.now(UTC))


def trigger() -> DeploymentEventTrigger:
    (found,) = yaml.safe_load(block("yaml"))["triggers"]
    return DeploymentEventTrigger.model_validate(found)


@pytest.mark.parametrize("key", KEYS)
def test_the_event_reaches_the_flow_as_s3_sent_it(key: str) -> None:
    sent = eventbridge(object={"key": key, "etag": "b19", "version-id": "IYV", "sequencer": "0062"})
    context = HydrationContext(
        raise_on_error=True, render_jinja=True, jinja_context={"event": through_the_webhook(sent)}
    )
    parameters = hydrate(trigger().parameters or {}, context)

    assert parameters == {"event": sent}
    assert [one.key for one in uploads(parameters["event"])] == [key]


@pytest.mark.parametrize("key", KEYS)
def test_the_trigger_is_set_off_by_the_webhooks_event(key: str) -> None:
    event = through_the_webhook(eventbridge(object={"key": key}))
    criteria = trigger().model_dump(include={"match", "expect", "posture", "threshold", "within"})
    automation = EventTrigger.model_validate(criteria)

    assert event.resource.id == f"s3://wild-rydes/{key}"
    assert automation.covers(event)
    assert automation.expects(event.event)
