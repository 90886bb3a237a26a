"""Libraries that not every installation has: the wheel's extras bring them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from selfiegate.errors import BackendMisconfigured

_EXTRA_OF = {
    "boto3": "aws",
    "botocore": "aws",
    "cv2": "insightface",
    "faiss": "insightface",
    "insightface": "insightface",
    "onnxruntime": "insightface",
    "prefect": "flows",
    "prefect_aws": "flows",
    "prometheus_client": "flows",
    "psycopg": "postgres",
    "psycopg_pool": "postgres",
    "rich": "cli",
    "typer": "cli",
}


@contextmanager
def named_when_missing() -> Iterator[None]:
    """Raise `BackendMisconfigured` where an extra's library is not installed; the message says how to install it."""
    try:
        yield
    except ModuleNotFoundError as error:
        library = (error.name or "").partition(".")[0]
        if library not in _EXTRA_OF:
            raise
        raise BackendMisconfigured(
            f"{library} is not installed; pip install 'selfiegate[{_EXTRA_OF[library]}]'"
        ) from error
