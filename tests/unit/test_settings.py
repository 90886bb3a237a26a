"""Settings: where they come from, and what a wrong one says."""

from __future__ import annotations

from pathlib import Path

import pytest

from selfiegate.errors import WrongSetting
from selfiegate.matching import SCALES
from selfiegate.settings import load_settings


def test_the_environment_goes_before_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("selfiegate.toml").write_text("[rules]\nmax_yaw = 20\nmax_roll = 21\n")
    monkeypatch.setenv("SELFIEGATE_RULES__MAX_YAW", "30")
    rules = load_settings().rules

    assert (rules.max_yaw, rules.max_roll) == (30, 21)


def test_the_working_folders_file_goes_before_the_homes(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "selfiegate.toml").write_text("[rules]\nmax_yaw = 20\nmax_roll = 21\n")
    Path("selfiegate.toml").write_text("[rules]\nmax_yaw = 30\n")
    rules = load_settings().rules

    assert (rules.max_yaw, rules.max_roll) == (30, 21)


@pytest.mark.parametrize(
    ("name", "value", "meant"),
    [
        ("NOTICES", "log,sns", ("log", "sns")),
        ("NOTICES", "log, sns", ("log", "sns")),
        ("NOTICES", '["log", "sns"]', ("log", "sns")),
        ("AWS__EVENT_BUCKETS", "my-bucket", ("my-bucket",)),
        ("AWS__EVENT_BUCKETS", "2024,2025", ("2024", "2025")),
        ("AWS__EVENT_BUCKETS", '["a", "b"]', ("a", "b")),
        ("AWS__EVENT_BUCKETS", "", ()),
        ("INSIGHTFACE__PROVIDERS", "CUDAExecutionProvider", ("CUDAExecutionProvider",)),
        ("INSIGHTFACE__DETECTION_SIZES", "640", (640,)),
        ("INSIGHTFACE__DETECTION_SIZES", "128,640", (128, 640)),
        ("THUMBNAILS__SIZES", "250x250,100x50", ((250, 250), (100, 50))),
        ("THUMBNAILS__SIZES", "[[250, 250]]", ((250, 250),)),
    ],
)
def test_a_list_is_items_with_commas_or_json(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, meant: tuple[object, ...]
) -> None:
    monkeypatch.setenv(f"SELFIEGATE_{name}", value)
    found: object = load_settings()
    for part in name.lower().split("__"):
        found = getattr(found, part)

    assert found == meant


def test_a_group_may_be_set_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFIEGATE_RULES", '{"max_yaw": 30, "max_roll": 31}')
    monkeypatch.setenv("SELFIEGATE_RULES__MAX_ROLL", "32")
    rules = load_settings().rules

    assert (rules.max_yaw, rules.max_roll) == (30, 32)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("SELFIEGATE_RULES__MAX_YAW", "left", ["SELFIEGATE_RULES__MAX_YAW", "'left'", "valid number"]),
        ("SELFIEGATE_RULES__MAX_YAW", "200", ["SELFIEGATE_RULES__MAX_YAW", "'200'", "less than or equal to 180"]),
        ("SELFIEGATE_RULES__MAX_YAWN", "3", ["no setting SELFIEGATE_RULES__MAX_YAWN", "SELFIEGATE_RULES__MAX_YAW?"]),
        ("SELFIEGATE_RULES_MAX_YAW", "3", ["no setting SELFIEGATE_RULES_MAX_YAW", "SELFIEGATE_RULES__MAX_YAW?"]),
        ("SELFIEGATE_RULES__MAX_YAW__LEFT", "3", ["no setting SELFIEGATE_RULES__MAX_YAW__LEFT"]),
        ("SELFIEGATE_RULES", "strict", ["SELFIEGATE_RULES", "'strict'"]),
        ("SELFIEGATE_RULES", '{"max_yaww": 3}', ["no setting rules.max_yaww", "SELFIEGATE_RULES__MAX_YAW?"]),
        ("SELFIEGATE_BACKEND", "azure", ["SELFIEGATE_BACKEND", "'azure'", "'insightface'"]),
        ("SELFIEGATE_NOTICES", "log,pigeon", ["SELFIEGATE_NOTICES (", "'pigeon'", "'sns'"]),
        ("SELFIEGATE_NOTICES", "[log", ["SELFIEGATE_NOTICES", "'[log'"]),
        ("SELFIEGATE_AWS__EVENT_BUCKETS", "[a", ["SELFIEGATE_AWS__EVENT_BUCKETS", "'[a'"]),
        ("SELFIEGATE_HOEM", "here", ["no setting SELFIEGATE_HOEM", "did you mean SELFIEGATE_HOME?"]),
        ("SELFIEGATE_XYZ", "here", ["no setting SELFIEGATE_XYZ", "`selfiegate settings`"]),
        ("SELFIEGATE_HOME", "", ["SELFIEGATE_HOME", "''", "it is empty; name a folder, or unset it"]),
        ("SELFIEGATE_HOME", " ", ["SELFIEGATE_HOME", "it is empty"]),
        ("SELFIEGATE_INSIGHTFACE__ROOT", "", ["SELFIEGATE_INSIGHTFACE__ROOT", "it is empty"]),
        ("SELFIEGATE_INSIGHTFACE__PACK", "", ["SELFIEGATE_INSIGHTFACE__PACK", "at least 1 character"]),
        ("SELFIEGATE_INSIGHTFACE__DETECTION_SIZES", "[]", ["SELFIEGATE_INSIGHTFACE__DETECTION_SIZES"]),
        ("SELFIEGATE_INSIGHTFACE__DETECTION_SIZES", "big", ["SELFIEGATE_INSIGHTFACE__DETECTION_SIZES (", "'big'"]),
        ("SELFIEGATE_THUMBNAILS__SIZES", "250", ["SELFIEGATE_THUMBNAILS__SIZES (", "Field required"]),
        ("SELFIEGATE_THUMBNAILS__SIZES", "0x250", ["SELFIEGATE_THUMBNAILS__SIZES (", "'0'", "greater than 0"]),
        ("SELFIEGATE_THUMBNAILS__SIZES", "[]", ["SELFIEGATE_THUMBNAILS__SIZES (", "at least 1 item"]),
        ("SELFIEGATE_HOME", "~nobody_of_that_name", ["SELFIEGATE_HOME (", "there is no user of that name"]),
        ("SELFIEGATE_HOME", "x" * 300, ["SELFIEGATE_HOME (", "File name too long"]),
        ("SELFIEGATE_BRIDGE__HOST", "", ["SELFIEGATE_BRIDGE__HOST (", "at least 1 character"]),
        ("SELFIEGATE_AWS__EVENT_BUCKETS", "a,", ["SELFIEGATE_AWS__EVENT_BUCKETS (", "at least 1 character"]),
        ("SELFIEGATE_INSIGHTFACE__DETECTION_SIZES", "100", ["DETECTION_SIZES (", "'100'", "multiple of 32"]),
        ("SELFIEGATE_KEY_TEMPLATE", "{name}", ["SELFIEGATE_KEY_TEMPLATE (", "needs {user_id} once"]),
        ("SELFIEGATE_KEY_TEMPLATE", "{user_id}/{date}", ["SELFIEGATE_KEY_TEMPLATE (", "no other braces"]),
        ("SELFIEGATE_RULES__MIN_BRIGHTNESS", "90", ["MIN_BRIGHTNESS (", "90.0", "above SELFIEGATE_RULES__MAX"]),
        (
            "SELFIEGATE_AWS__ENDPOINT_URL",
            "localhost:4566",
            ["ENDPOINT_URL (", "'localhost:4566'", "http:// or https://"],
        ),
        ("SELFIEGATE_AWS__QUEUE_URL", "photos", ["SELFIEGATE_AWS__QUEUE_URL (", "'photos'", "http:// or https://"]),
        ("SELFIEGATE_AWS__COLLECTION", "a\udcff", ["SELFIEGATE_AWS__COLLECTION (", "not UTF-8"]),
    ],
)
def test_a_wrong_setting_names_itself_and_its_mend(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: list[str]
) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(WrongSetting) as error:
        load_settings()
    assert all(word in str(error.value) for word in words), str(error.value)


def test_every_wrong_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFIEGATE_RULES__MAX_YAW", "left")
    monkeypatch.setenv("SELFIEGATE_BACKEND", "azure")

    with pytest.raises(WrongSetting, match=r"(?s)SELFIEGATE_BACKEND.*SELFIEGATE_RULES__MAX_YAW"):
        load_settings()


@pytest.mark.parametrize(
    ("backend", "match", "verify", "review", "words"),
    [
        ("insightface", "90", "", "", ["MATCH_THRESHOLD (", "90.0", "cosine similarity, above 0 and below 1"]),
        ("insightface", "40", "", "", ["MATCH_THRESHOLD (", "40.0", "above 0 and below 1"]),
        ("insightface", "nan", "", "", ["MATCH_THRESHOLD (", "nan"]),
        ("insightface", "1", "", "", ["MATCH_THRESHOLD (", "above 0 and below 1"]),
        ("insightface", "0.25", "", "", ["VERIFY_THRESHOLD (", "0.3", "above the match threshold, 0.25"]),
        ("insightface", "", "0.5", "", ["VERIFY_THRESHOLD (", "0.5", "above the match threshold, 0.4"]),
        ("insightface", "", "-0.1", "", ["VERIFY_THRESHOLD (", "greater than 0"]),
        ("insightface", "", "", "0.5", ["REVIEW_THRESHOLD (", "0.5", "above the match threshold, 0.4"]),
        ("rekognition", "0.4", "", "", ["MATCH_THRESHOLD (", "0.4", "similarity, above 1 and below 100"]),
        ("rekognition", "101", "", "", ["MATCH_THRESHOLD (", "101", "less than 100"]),
        ("rekognition", "70", "", "", ["VERIFY_THRESHOLD (", "80.0", "above the match threshold, 70"]),
    ],
)
def test_a_threshold_is_on_its_backends_scale_and_in_order(
    monkeypatch: pytest.MonkeyPatch, backend: str, match: str, verify: str, review: str, words: list[str]
) -> None:
    monkeypatch.setenv("SELFIEGATE_BACKEND", backend)
    for name, value in {"MATCH": match, "VERIFY": verify, "REVIEW": review}.items():
        monkeypatch.setenv(f"SELFIEGATE_MATCHING__{name}_THRESHOLD", value)

    with pytest.raises(WrongSetting) as error:
        load_settings()
    assert all(word in str(error.value) for word in words), str(error.value)


def test_rules_by_which_no_photo_would_pass_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFIEGATE_BACKEND", "rekognition")
    monkeypatch.setenv("SELFIEGATE_RULES__UNKNOWN", "refuse")
    with pytest.raises(WrongSetting, match=r"SELFIEGATE_RULES__UNKNOWN.*'refuse'.*SELFIEGATE_RULES__MIN_QUALITY=0"):
        load_settings()
    monkeypatch.setenv("SELFIEGATE_RULES__MIN_QUALITY", "0")

    assert load_settings().rules.unknown == "refuse"


@pytest.mark.parametrize(
    ("backend", "name", "value", "words"),
    [
        ("insightface", "UNCLEAR_THRESHOLD", "0.45", ["0.45", "above the match threshold, 0.4"]),
        ("insightface", "UNCLEAR_THRESHOLD", "80", ["80", "cosine similarity, above 0 and below 1"]),
        ("rekognition", "UNCLEAR_THRESHOLD", "0.32", ["0.32", "similarity, above 1 and below 100"]),
        ("insightface", "CLEAR_QUALITY", "101", ["101", "less than or equal to 100"]),
        ("insightface", "CLEAR_QUALITY", "nan", ["nan"]),
    ],
)
def test_what_makes_an_unclear_match_is_bounded(
    monkeypatch: pytest.MonkeyPatch, backend: str, name: str, value: str, words: list[str]
) -> None:
    monkeypatch.setenv("SELFIEGATE_BACKEND", backend)
    monkeypatch.setenv(f"SELFIEGATE_MATCHING__{name}", value)

    with pytest.raises(WrongSetting, match=name) as error:
        load_settings()
    assert all(word in str(error.value) for word in words), str(error.value)


def test_an_unset_unclear_threshold_yields_to_a_low_match_threshold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFIEGATE_MATCHING__MATCH_THRESHOLD", "0.31")
    used = load_settings().matching.on(SCALES["insightface"])

    assert used.unclear == used.floor(unclear=True) == used.floor() == 0.31


@pytest.mark.parametrize(("backend", "thresholds"), [("insightface", (0.5, 0.3)), ("rekognition", (95.0, 80.0))])
def test_thresholds_on_their_backends_scale_are_taken(
    monkeypatch: pytest.MonkeyPatch, backend: str, thresholds: tuple[float, float]
) -> None:
    monkeypatch.setenv("SELFIEGATE_BACKEND", backend)
    monkeypatch.setenv("SELFIEGATE_MATCHING__MATCH_THRESHOLD", str(thresholds[0]))
    monkeypatch.setenv("SELFIEGATE_MATCHING__VERIFY_THRESHOLD", "")
    used = load_settings().matching.on(SCALES[backend])

    assert (used.match, used.verify, used.review) == (*thresholds, thresholds[0])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"LEASE_S": "62", "RETRIES__FIRST_DELAY_S": "2"}, ["SELFIEGATE_LEASE_S (", "62.0", "take 62 s"]),
        ({"RETRIES__ATTEMPTS": "3", "RETRIES__FIRST_DELAY_S": "2"}, ["SELFIEGATE_LEASE_S (", "take 6 s"]),
        ({"RETRIES__STEP_TIMEOUT_S": "200"}, ["SELFIEGATE_SILENT_RUN_S (", "900.0", "may take 1200 s"]),
        ({"RETRIES__ATTEMPTS": "20", "RETRIES__FIRST_DELAY_S": "2"}, ["SELFIEGATE_SILENT_RUN_S ("]),
    ],
)
def test_durations_that_do_not_go_together_are_told(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], words: list[str]
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(f"SELFIEGATE_{name}", value)

    with pytest.raises(WrongSetting) as error:
        load_settings()
    assert all(word in str(error.value) for word in words), str(error.value)


@pytest.mark.parametrize("name", ["REGION", "ENDPOINT_URL", "QUEUE_URL", "TOPIC_ARN", "THUMBNAIL_BUCKET"])
def test_a_name_that_is_empty_is_not_set(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(f"SELFIEGATE_AWS__{name}", "")

    assert getattr(load_settings().aws, name.lower()) is None


def test_the_defaults_go_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SELFIEGATE_RETRIES__FIRST_DELAY_S")

    assert load_settings().lease_s < load_settings().retries.delays_s


def test_settings_that_do_not_go_together_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFIEGATE_AWS__PHOTO_BUCKET", "photos")
    monkeypatch.setenv("SELFIEGATE_AWS__THUMBNAIL_BUCKET", "photos")

    with pytest.raises(WrongSetting, match=r"^the setting SELFIEGATE_AWS \(.*\): .*THUMBNAIL_BUCKET are both"):
        load_settings()


def test_a_misspelt_name_in_a_file_has_its_nearest() -> None:
    Path("selfiegate.toml").write_text("[rules]\nmax_yaww = 3\n")

    with pytest.raises(
        WrongSetting, match=r"no setting rules\.max_yaww in selfiegate\.toml.*SELFIEGATE_RULES__MAX_YAW\?"
    ):
        load_settings()


@pytest.mark.parametrize("content", [b"[rules\n", b"\xff"])
def test_a_file_with_an_error_is_named(content: bytes) -> None:
    Path("selfiegate.toml").write_bytes(content)

    with pytest.raises(WrongSetting, match=r"selfiegate\.toml cannot be read"):
        load_settings()


def test_a_file_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "selfiegate.toml").symlink_to("/proc/self/mem")

    with pytest.raises(WrongSetting, match=r"home/selfiegate\.toml cannot be read"):
        load_settings()


def test_a_setting_that_was_renamed_is_taken_by_its_former_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFIEGATE_PHOTOS__JPEG_HERE", "0")

    assert load_settings().photos.inline_jpeg_max == 0


def test_how_long_stores_are_waited_for_is_taken_by_its_former_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "selfiegate.toml").write_text("sqlite_patience_s = 7.0\n")
    assert load_settings().store_patience_s == 7
    monkeypatch.setenv("SELFIEGATE_SQLITE_PATIENCE_S", "8")
    assert load_settings().store_patience_s == 8
    monkeypatch.setenv("SELFIEGATE_STORE_PATIENCE_S", "9")
    assert load_settings().store_patience_s == 9


@pytest.mark.parametrize("name", ["AUDIT_PAUSE_S", "ERASURE_PATIENCE_S", "SILENT_RUN_S", "STORE_PATIENCE_S"])
@pytest.mark.parametrize("value", ["inf", "nan", "-1"])
def test_no_wait_is_without_an_end(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"SELFIEGATE_{name}", value)

    with pytest.raises(WrongSetting, match=name):
        load_settings()
