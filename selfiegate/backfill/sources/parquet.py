"""The rows of Parquet files; all that needs pyarrow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import IO, Any

from selfiegate.errors import BackendMisconfigured, WrongInput

_BATCH = 4096
_TIME = "last_modified_date"


def reader(columns: list[str]) -> Callable[[IO[bytes], str], Iterator[dict[str, Any]]]:
    """Return what reads these columns of a file, those that it has, a batch of rows at a time; times become ISO 8601.

    Raises `BackendMisconfigured` where pyarrow is not installed.
    """
    try:
        import pyarrow as arrow
        import pyarrow.compute
        from pyarrow import parquet
    except ImportError:
        raise BackendMisconfigured(
            "an inventory in Parquet needs pyarrow: install selfiegate[inventory], or have S3 write CSV"
        ) from None

    def rows(data: IO[bytes], name: str) -> Iterator[dict[str, Any]]:
        try:
            file = parquet.ParquetFile(data, pre_buffer=False)
            present = [column for column in columns if column in file.schema_arrow.names]
            for batch in file.iter_batches(_BATCH, columns=present, use_threads=False):
                yield from map(_row, _plain(arrow, batch).to_pylist())
        except (arrow.ArrowException, OSError, ValueError, OverflowError) as error:
            raise WrongInput(f"{name[:200]!r} cannot be read as Parquet: {str(error)[:200]}") from None

    return rows


def _plain(arrow: Any, batch: Any) -> Any:
    """Turn text into bytes, since it may not be UTF-8, and times into UTC's without a zone."""
    for number, field in enumerate(batch.schema):
        column = batch.column(number)
        if field.name == _TIME:
            column = _times(arrow, column)
        elif arrow.types.is_string(field.type) or arrow.types.is_large_string(field.type):
            column = column.cast(arrow.binary())
        batch = batch.set_column(number, field.name, column)
    return batch


def _times(arrow: Any, column: Any) -> Any:
    """Take a column of timestamps, or of milliseconds since 1970, to microseconds."""
    if arrow.types.is_integer(column.type):
        column = column.cast(arrow.timestamp("ms"))
    if not arrow.types.is_timestamp(column.type):
        raise ValueError(f"{_TIME} is of the type {column.type}")
    # Nanoseconds may be cut off; a time beyond all calendars is an error.
    fine = arrow.compute.CastOptions(arrow.timestamp("us", column.type.tz), allow_time_truncate=True)
    return column.cast(options=fine).cast(arrow.int64()).cast(arrow.timestamp("us"))


def _row(values: dict[str, Any]) -> dict[str, Any]:
    return {name: _readable(value) for name, value in values.items()}


def _readable(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return value.decode(errors="surrogateescape") if isinstance(value, bytes) else value
