"""The signed form: it takes a photo to its user over the wire, and says nothing else than that user's key."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from typing import Any

import pytest
import requests

from deployments.aws.presigned_post import signed_form
from selfiegate.backends.scripted import scripted_photo
from selfiegate.errors import BackendMisconfigured, WrongInput
from selfiegate.ingestion.messages import Upload
from selfiegate.ingestion.photo_requests import photo_request
from selfiegate.settings import Settings
from selfiegate.stores.s3 import S3Photos
from tests.aws.local import PHOTOS, create, settings
from tests.present import present

pytestmark = pytest.mark.system

KEYS = {"key_template": "selfies/{user_id}/{name}"}
METADATA = {"key_template": "selfies/{user_id}/{name}", "user_metadata": "Rider"}


def set_to(moto: str, **changes: str) -> Settings:
    return Settings.model_validate({"aws": settings(moto, photo_bucket=PHOTOS), **changes})


def conditions(form: dict[str, Any]) -> list[Any]:
    policy: dict[str, list[Any]] = json.loads(base64.b64decode(form["fields"]["policy"]))
    return policy["conditions"]


@pytest.mark.parametrize("changes", [KEYS, METADATA], ids=["key", "metadata"])
def test_a_photo_that_a_form_took_in_is_its_users(empty_moto: str, changes: dict[str, str]) -> None:
    ours = set_to(empty_moto, **changes)
    create(ours.aws)
    form = signed_form(ours, "ann")
    sent = {**form["fields"], "Content-Type": "image/png"}
    files = {"file": ("../bob/1.png", scripted_photo("ann"), "image/png")}
    requests.post(form["url"], data=sent, files=files, timeout=30).raise_for_status()

    stored = photo_request(ours, S3Photos(ours.aws, ours.photos), Upload(bucket=PHOTOS, key=form["fields"]["key"]))
    assert present(stored).user_id == "ann"


def test_nothing_but_this_users_key_and_name_is_signed(empty_moto: str) -> None:
    form = signed_form(set_to(empty_moto, **METADATA), "ann")
    signed = conditions(form)

    assert form["fields"]["key"].startswith("selfies/ann/")
    assert {"key": form["fields"]["key"]} in signed
    assert {"x-amz-meta-rider": "ann"} in signed
    assert [one[:2] for one in signed if isinstance(one, list)] == [
        ["starts-with", "$Content-Type"],
        ["content-length-range", 1],
    ]


@pytest.mark.parametrize("user_id", ["ann/bob", "${filename}", "", "a" * 2000])
def test_a_user_id_that_s3_would_read_otherwise_is_refused(empty_moto: str, user_id: str) -> None:
    with pytest.raises(WrongInput):
        signed_form(set_to(empty_moto, **KEYS), user_id)


def test_a_user_id_that_no_header_holds_is_refused(empty_moto: str) -> None:
    with pytest.raises(WrongInput, match="not ASCII"):
        signed_form(set_to(empty_moto, **METADATA), "Ännchen")


@pytest.mark.parametrize("user_id", ["=?utf-8?q?bob?=", " ann"])
def test_a_user_id_that_is_read_as_another_from_metadata_is_refused(empty_moto: str, user_id: str) -> None:
    with pytest.raises(WrongInput, match="cannot stand in object metadata"):
        signed_form(set_to(empty_moto, **METADATA), user_id)


def test_the_form_is_signed_as_buckets_with_keys_ask(empty_moto: str) -> None:
    assert signed_form(set_to(empty_moto, **KEYS), "ann")["fields"]["x-amz-algorithm"] == "AWS4-HMAC-SHA256"


def test_without_a_bucket_the_setting_is_named(empty_moto: str) -> None:
    with pytest.raises(BackendMisconfigured, match="SELFIEGATE_AWS__PHOTO_BUCKET"):
        signed_form(Settings(), "ann")


def test_the_command_prints_the_form(empty_moto: str) -> None:
    env = {**os.environ, "SELFIEGATE_AWS__PHOTO_BUCKET": PHOTOS, "SELFIEGATE_AWS__ENDPOINT_URL": empty_moto}
    command = [sys.executable, "-m", "deployments.aws.presigned_post", "ann"]
    made = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=True)

    assert json.loads(made.stdout)["fields"]["key"].startswith("ann/")
