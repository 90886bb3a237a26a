"""Opens what the settings name: the databases of records, of faces that are compared here, and the queue of events."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from selfiegate.errors import BackendMisconfigured
from selfiegate.event_queue import EventQueue
from selfiegate.extras import named_when_missing
from selfiegate.gallery import Gallery
from selfiegate.move_notes import require_settled
from selfiegate.records import Records
from selfiegate.settings import Settings

if TYPE_CHECKING:
    from selfiegate.postgres_database import PostgresDatabase
    from selfiegate.stores.postgres_queue import PostgresQueue

_FEW = 4


def open_records(settings: Settings) -> Records:
    """Build ledger, profiles and erasures alone: who only looks at them needs no models.

    Raises `BackendMisconfigured` where they are on the move, or have moved away.
    """
    records = _opened(settings)
    require_settled(records.known_gallery.get())
    return records


@named_when_missing()
def _opened(settings: Settings) -> Records:
    match settings.records:
        case "sqlite":
            from selfiegate.stores.sqlite_records import sqlite_records

            return sqlite_records(settings.folder / "records.db", settings.store_patience_s)
        case "dynamodb":
            return open_dynamodb(settings)
        case "postgres":
            from selfiegate.stores.postgres_records import postgres_records

            return postgres_records(_postgres(settings.database_url, settings.store_patience_s))


def open_dynamodb(settings: Settings) -> Records:
    """Build the records in DynamoDB, on the move or not."""
    from selfiegate.stores.dynamodb_erasures import DynamoErasures
    from selfiegate.stores.dynamodb_gallery import DynamoKnownGallery
    from selfiegate.stores.dynamodb_ledger import DynamoLedger
    from selfiegate.stores.dynamodb_profiles import DynamoProfiles

    ledger, aws = DynamoLedger(settings.aws, settings.rejected_days), settings.aws
    return Records(ledger, DynamoProfiles(aws), DynamoErasures(aws), DynamoKnownGallery(aws))


@named_when_missing()
def open_gallery(settings: Settings, records: Records, model: str) -> Gallery:
    """Build the gallery for a model's faces, and hold it to the records."""
    match settings.gallery:
        case "sqlite":
            from selfiegate.galleries.sqlite import SqliteGallery

            path = settings.folder / "gallery.db"
            return SqliteGallery(path, model, patience_s=settings.store_patience_s, records=records)
        case "postgres":
            from selfiegate.galleries.postgres import PostgresGallery

            database = _postgres(settings.database_url, settings.store_patience_s)
            together, snapshot = settings.records == "postgres", settings.folder / "sketches.copy"
            return PostgresGallery(database, model, records=records, together=together, snapshot=snapshot)


@named_when_missing()
def open_queue(settings: Settings, answers_in_s: float | None = None) -> EventQueue:
    """Build the queue of photo events: SQS where its address is set, else PostgreSQL.

    With `answers_in_s` PostgreSQL's patience is that short, over a few connections of their own.
    """
    if settings.aws.queue_url:
        from selfiegate.aws.sqs_queue import SqsQueue

        return SqsQueue(settings.aws)
    return open_postgres_queue(settings, answers_in_s)


@named_when_missing()
def open_postgres_queue(settings: Settings, answers_in_s: float | None = None) -> PostgresQueue:
    """Build the queue in PostgreSQL; raises `BackendMisconfigured` where the settings name another, or none."""
    if settings.aws.queue_url:
        raise BackendMisconfigured(
            "photo events are in SQS (SELFIEGATE_AWS__QUEUE_URL): look at them by `aws sqs` (docs/operations.md)"
        )
    if settings.database is None:
        raise BackendMisconfigured(
            "photo events come from a queue: set SELFIEGATE_DATABASE=postgresql://... or SELFIEGATE_AWS__QUEUE_URL"
        )
    from selfiegate.postgres_database import PostgresDatabase
    from selfiegate.stores.postgres_queue import PostgresQueue

    if answers_in_s is not None:
        return PostgresQueue(PostgresDatabase(settings.database_url, answers_in_s, size=_FEW))
    return PostgresQueue(_postgres(settings.database_url, settings.store_patience_s))


def upgrade(settings: Settings) -> None:
    """Bring the tables of records, gallery and queue up to date; no model is loaded."""
    open_records(settings)
    if settings.database and not settings.aws.queue_url:
        open_postgres_queue(settings)
    if settings.gallery == "postgres":
        from selfiegate.galleries.postgres import GALLERY
        from selfiegate.postgres_schema import migrate

        migrate(_postgres(settings.database_url, settings.store_patience_s), "gallery", GALLERY)


@cache
def _postgres(url: str, patience_s: float) -> PostgresDatabase:
    """Share one pool in this process: what is written to records and gallery can then be one transaction."""
    from selfiegate.postgres_database import PostgresDatabase

    return PostgresDatabase(url, patience_s)
