"""What the records in DynamoDB know of the gallery: one item in the ledger's table."""

from __future__ import annotations

from selfiegate.aws.settings import AwsSettings
from selfiegate.known_gallery import GalleryMark
from selfiegate.stores.dynamodb_schema import RecordsTable

_KEY = {"user_id": "\tgallery", "photo_id": "gallery"}
"""No user's id holds a tab."""


class DynamoKnownGallery:
    """The note about the gallery of any number of machines."""

    def __init__(self, settings: AwsSettings) -> None:
        self._table = RecordsTable(settings, settings.ledger_table)
        self.records_id = f"dynamodb:{settings.ledger_table}"

    def get(self) -> GalleryMark | None:
        """Return the mark, or None."""
        item = self._table.get(_KEY)
        return GalleryMark(gallery_id=item["gallery_id"], newest=int(item["newest"])) if item else None

    is_durable = True

    def keep(self, mark: GalleryMark) -> None:
        """Store a first mark, or raise it."""
        if not self._table.put({**_KEY, **mark.model_dump()}, "attribute_not_exists(user_id)"):
            raised = "gallery_id = :gallery_id AND newest < :newest"
            self._table.update(_KEY, "SET newest = :newest", raised, **mark.model_dump())

    def replace(self, mark: GalleryMark | None) -> None:
        """Rely on another gallery from now on, or on none."""
        if mark:
            self._table.put({**_KEY, **mark.model_dump()}, "attribute_exists(user_id) OR attribute_not_exists(user_id)")
        else:
            self._table.delete(_KEY, "attribute_exists(user_id)")
