"""Everything that can be set, from the environment (`SELFIEGATE_...`) or a `selfiegate.toml`.

The environment goes before the working folder's `selfiegate.toml`, and that before the one in
`SELFIEGATE_HOME`. A nested setting is `SELFIEGATE_RULES__MAX_YAW=30`, or `[rules] max_yaw = 30`. A list is
`log,sns` or JSON.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, Field, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from selfiegate.aws.settings import AwsSettings
from selfiegate.backends.insightface.pack import PackSettings
from selfiegate.decoding.decode import Limits
from selfiegate.errors import BackendMisconfigured, WrongSetting
from selfiegate.key_template import KeyTemplate
from selfiegate.matching import Matching
from selfiegate.policy import Rules
from selfiegate.setting_groups import BridgeSettings, Retries
from selfiegate.setting_sources import FORMER, Environment, TomlFile, files
from selfiegate.setting_types import COMMAS, Database, Folder, Name, text
from selfiegate.sql_database import PATIENCE_S
from selfiegate.thumbnails import ThumbnailSettings
from selfiegate.wrong_settings import PREFIX, Fault, env_name, nearest, sentence, told

_DELAYS = "SELFIEGATE_RETRIES__ATTEMPTS, SELFIEGATE_RETRIES__FIRST_DELAY_S"


def _key_template(text: str) -> str:
    try:
        KeyTemplate(text)
    except BackendMisconfigured as error:
        raise ValueError(str(error)) from None
    return text


class Settings(BaseSettings):
    """All settings, checked as a whole; build with `load_settings` for messages fit for people."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        nested_model_default_partial_update=True,
    )

    home: Folder = Field(Path("~/.selfiegate"), description="Where the embedded stores lie")
    backend: Literal["insightface", "rekognition"] = Field("insightface", description="What finds and compares faces")
    database: Database = Field(
        None, description="Of PostgreSQL 15 or later, for all that is kept there: postgresql://USER@HOST/DATABASE"
    )
    records: Literal["sqlite", "dynamodb", "postgres"] = Field(
        "sqlite", description="Where ledger and profiles are kept; postgres, where a database is set"
    )
    gallery: Literal["sqlite", "postgres"] = Field(
        "sqlite", description="Where insightface's faces are kept; postgres, where a database is set"
    )
    aws: AwsSettings = AwsSettings()
    insightface: PackSettings = PackSettings()
    photos: Limits = Limits()
    rules: Rules = Rules()
    matching: Matching = Matching()
    thumbnails: ThumbnailSettings = ThumbnailSettings()
    notices: Annotated[tuple[Literal["log", "sns", "ses"], ...], COMMAS] = Field(
        ("log",), description="How users and operators are told: log,sns,ses"
    )
    notification_block: Name = Field(None, description="A Prefect block that is told too: slack-webhook/riders")
    key_template: Annotated[str, Field(max_length=200), AfterValidator(_key_template)] = Field(
        "{user_id}/{name}", description="Whose photo an object key is, where its event tells none"
    )
    user_metadata: Name = Field(
        None,
        description="Object metadata that names the user, e.g. user-id (x-amz-meta-user-id), in key_template's place",
    )
    rejected_days: float = Field(30.0, gt=0, le=3650, description="Days after which refused photos leave the ledger")
    retries: Retries = Retries()
    bridge: BridgeSettings = BridgeSettings()
    audit_run_s: float = Field(
        1800.0, ge=1, le=86_400, description="Seconds after which an audit stops looking; the next audit goes on there"
    )
    audit_pause_s: float = Field(
        5.0,
        ge=0,
        le=60,
        description="Seconds between the audit's two looks before a repair; DynamoDB's index lags behind by less",
    )
    recheck_after_s: float = Field(
        600.0,
        ge=0,
        le=604_800,
        description="Seconds after which `reconcile` looks an accepted face up once more; longer than Rekognition's "
        "searches lag; 0: never",
    )
    silent_run_s: float = Field(
        900.0,
        ge=0,
        le=86_400,
        description="Seconds after which a run without a claim is presumed dead; all attempts at a step take less",
    )
    store_patience_s: float = Field(
        PATIENCE_S,
        gt=0,
        le=300,
        description="Seconds that a call to the embedded stores, or PostgreSQL, waits for another process's write",
    )
    lease_s: float = Field(
        60.0,
        gt=0,
        le=3600,
        description="Seconds without a renewed claim until a run is presumed dead; "
        "less than all retries' delays, where there are any",
    )

    _text = field_validator("*", mode="before")(text)

    @model_validator(mode="before")
    @classmethod
    def _in_the_database(cls, given: Any) -> Any:
        """Keep in the database what is not said to be kept elsewhere."""
        return {"records": "postgres", "gallery": "postgres", **given} if given.get("database") else given

    @model_validator(mode="after")
    def _agree(self) -> Self:
        """Refuse settings that do not go together, each by its sentence."""
        if faults := [told(*fault) for fault in self._faults()]:
            raise ValueError("\n".join(faults))
        return self

    @property
    def database_url(self) -> str:
        """The address of PostgreSQL, its password and all; empty where there is none, which it refuses."""
        return self.database.get_secret_value() if self.database else ""

    def _faults(self) -> Iterator[Fault]:
        for field, value, cause in self.matching.faults(self.backend):
            yield ("matching", field), value, cause
        if "postgres" in (self.records, self.gallery) and self.database is None:
            name = "records" if self.records == "postgres" else "gallery"
            yield (name,), "postgres", "it needs a database; mend it, SELFIEGATE_DATABASE=postgresql://..."
        if self.backend == "insightface" and (self.records == "sqlite") != (self.gallery == "sqlite"):
            why = (
                f"with SELFIEGATE_GALLERY={self.gallery} other machines share the one and not the other, and a face "
                "would be accepted twice; mend it, SELFIEGATE_DATABASE=postgresql://... alone puts both there"
            )
            yield ("records",), self.records, why
        if self.bridge.token and not self.bridge.port:
            why = "POST /events needs the bridge's server; mend it, or unset SELFIEGATE_BRIDGE__TOKEN"
            yield ("bridge", "port"), self.bridge.port, why
        least, most = self.rules.min_brightness, self.rules.max_brightness
        if least > most:
            yield ("rules", "min_brightness"), least, f"it is above SELFIEGATE_RULES__MAX_BRIGHTNESS, {most:g}"
        if self.backend == "rekognition" and self.rules.unknown == "refuse" and self.rules.min_quality > 0:
            why = "Rekognition tells no quality, so no photo would pass; mend it, SELFIEGATE_RULES__MIN_QUALITY=0"
            yield ("rules", "unknown"), self.rules.unknown, why
        delays_s, longest_s = self.retries.delays_s, self.retries.longest_s
        if 0 < delays_s <= self.lease_s:
            why = f"a run would give up before a dead run's lease ends; mend it, {_DELAYS}"
            yield ("lease_s",), self.lease_s, f"all delays between the attempts at a step take {delays_s:g} s: {why}"
        if longest_s >= self.silent_run_s:
            why = (
                f"a run that is alive would be presumed dead; mend it, {_DELAYS} or SELFIEGATE_RETRIES__STEP_TIMEOUT_S"
            )
            yield ("silent_run_s",), self.silent_run_s, f"all attempts at a step may take {longest_s:g} s: {why}"

    @property
    def is_of_one_machine(self) -> bool:
        """Say whether faces or records lie in files of this machine."""
        return self.records == "sqlite" or (self.backend == "insightface" and self.gallery == "sqlite")

    @property
    def stuck_after_s(self) -> float:
        """Seconds without a sign of life after which a call of a step is stuck.

        A step's thread goes on after the step's timeout, until the store that it waits for answers or gives up.
        """
        return 2 * self.retries.step_timeout_s + self.store_patience_s

    @property
    def folder(self) -> Path:
        """`home`, with `~` resolved."""
        return self.home.expanduser()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take arguments, then the environment, then the two files."""
        return init_settings, Environment(settings_cls), *(TomlFile(settings_cls, file) for file in files())


def sources() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield where settings come from, those that go first at the head: a name and what is set there, nested."""
    yield "environment", Environment(Settings)()
    for file in files():
        yield str(file), TomlFile(Settings, file)()


def leaves(model: type[BaseModel], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], FieldInfo]]:
    """Yield every setting of a model with the names that lead to it, those of nested models included."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from leaves(field.annotation, (*path, name))
        else:
            yield (*path, name), field


def load_settings() -> Settings:
    """Read the settings; raises `WrongSetting` that names each wrong one and what is allowed."""
    names = {env_name(path) for path, _ in leaves(Settings)}
    groups = {PREFIX + field.upper() for field in Settings.model_fields}  # a group may be set as JSON
    former = {env_name((name,)) for name in FORMER} | {f"{PREFIX}PHOTOS__JPEG_HERE"}  # now INLINE_JPEG_MAX
    known = names | groups | former
    if unknown := sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known):
        raise WrongSetting("\n".join(f"there is no setting {name}; {nearest(name, names)}" for name in unknown))
    try:
        return Settings()
    except ValidationError as error:
        raise WrongSetting("\n".join(sentence(detail, names) for detail in error.errors())) from None
