"""What the AWS adapters share: clients, and AWS's errors in our own words."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,  # noqa: A004  botocore's: refused, closed, timed out
    CredentialRetrievalError,
    FlexibleChecksumError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    ResponseStreamingError,
    SSLError,
)

from selfiegate.aws.settings import AwsSettings
from selfiegate.errors import BackendMisconfigured, BackendUnavailable
from selfiegate.untrusted_text import plain

__all__ = [
    "Access",
    "AwsSettings",
    "access_of_environment",
    "client",
    "code_of",
    "regions_of",
    "take_access_from",
    "throttle",
    "throttle_with",
    "translated",
    "wait_for_nothing",
]

_UNAVAILABLE = {
    "ConditionalRequestConflict",
    "InternalError",
    "InternalServerError",
    "KMSThrottling",
    "KMSThrottlingException",
    "KMS.ThrottlingException",
    "KmsThrottled",
    "LimitExceededException",
    "OperationAborted",
    "OverLimit",
    "PriorRequestNotComplete",
    "ProvisionedThroughputExceededException",
    "ReplicatedWriteConflictException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestTimeTooSkewed",
    "RequestTimeout",
    "RequestTimeoutException",
    "ServiceUnavailable",
    "SlowDown",
    "Throttled",
    "Throttling",
    "ThrottlingException",
    "TransactionConflictException",
    "TransactionInProgressException",
}
"""A load, a lock or a clock that may be another in a moment."""

_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"}
_UNKNOWN_KEYS = {"InvalidAccessKeyId", "InvalidClientTokenId", "UnrecognizedClientException"}
_SKEWED = re.compile("signature (expired|not yet current)", re.IGNORECASE)
"""Other services than S3 tell a wrong clock so, with the code of a wrong signature."""

_lock = threading.Lock()


class Access(NamedTuple):
    """How a service is reached: with whose credentials, and with which further arguments of its client."""

    session: boto3.Session
    arguments: Mapping[str, Any] = MappingProxyType({})


def access_of_environment(service: str, settings: AwsSettings) -> Access:
    """Return the access that boto3 finds by itself."""
    return Access(boto3.Session(region_name=settings.region))


def wait_for_nothing(action: str) -> None:
    """Let a call be made at once."""


_access_of: Callable[[str, AwsSettings], Access] = access_of_environment
_wait: Callable[[str], None] = wait_for_nothing


def take_access_from(source: Callable[[str, AwsSettings], Access]) -> None:
    """Let clients be made with another source of credentials, such as a Prefect block; it is told the service."""
    global _access_of
    _access_of = source
    _client.cache_clear()


def throttle_with(wait: Callable[[str], None]) -> None:
    """Let each call of Rekognition wait first, given its action ('DetectFaces'), so that workers share a quota."""
    global _wait
    _wait = wait


def throttle(action: str) -> None:
    """Wait until a call of this action may be made."""
    _wait(action)


def client(service: str, settings: AwsSettings) -> Any:
    """Return this process's client of a service; boto3's clients may be used by several threads."""
    with _lock:
        return _client(service, settings)


@lru_cache(32)
def _client(service: str, settings: AwsSettings) -> Any:
    # Few retries of botocore's own: the flow's are the ones that people see. Rekognition answers in 1-5 s.
    config = Config(
        connect_timeout=5,
        read_timeout=20,
        retries={"mode": "standard", "total_max_attempts": 2},
        max_pool_connections=32,
        # boto3 signs forms by the older version in some regions, which S3 refuses for objects under a KMS key.
        **({"signature_version": "s3v4"} if service == "s3" else {}),
    )
    with translated(f"the AWS client of {service}"):
        session, arguments = _access_of(service, settings)
        endpoint = settings.endpoint_of(service) or arguments.get("endpoint_url") or settings.endpoint_url
        merged = config.merge(arguments.get("config", Config()))
        return session.client(service, **{**arguments, "endpoint_url": endpoint, "config": merged})


def regions_of(service: str) -> frozenset[str]:
    """Return the regions, of all partitions, that this version of boto3 knows a service in."""
    session = boto3.Session()
    found = (session.get_available_regions(service, partition) for partition in session.get_available_partitions())
    return frozenset(region for regions in found for region in regions)


def code_of(error: ClientError) -> str:
    """Return AWS's error code, such as 'AccessDenied', or the HTTP status where there is none."""
    return str(error.response.get("Error", {}).get("Code", "")) or str(_status(error))


def _status(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn AWS's errors into ours: `BackendUnavailable` may pass, `BackendMisconfigured` needs somebody."""
    what = plain(what)  # it may hold a stranger's key, and ends in logs
    try:
        yield
    except ClientError as error:
        said = error.response.get("Error", {}).get("Message") or ""
        message = f"{what}: {code_of(error)}: {said}"
        if code_of(error) in _EXPIRED:
            _client.cache_clear()  # the next client looks for credentials anew: somebody may have renewed them
            raise BackendUnavailable(f"{message}; renew the credentials that this process gets") from error
        if code_of(error) in _UNAVAILABLE or _SKEWED.search(said) or _status(error) in (429, *range(500, 600)):
            raise BackendUnavailable(message) from error
        if code_of(error) in _UNKNOWN_KEYS:
            _client.cache_clear()  # a block's keys may have been rotated
        raise BackendMisconfigured(f"{message}; `selfiegate aws check` names what is missing") from error
    except SSLError as error:
        if "CERTIFICATE_VERIFY_FAILED" not in str(error):
            raise BackendUnavailable(f"{what}: {error}") from error
        raise BackendMisconfigured(f"{what}: {error}; AWS_CA_BUNDLE names the file of your own CA") from error
    except (
        ConnectionError,
        CredentialRetrievalError,
        FlexibleChecksumError,
        HTTPClientError,
        IncompleteReadError,
        ResponseStreamingError,
    ) as error:
        raise BackendUnavailable(f"{what}: {error}") from error
    except BotoCoreError as error:  # no credentials, no region, wrong parameters
        if isinstance(error, NoCredentialsError):
            _client.cache_clear()  # a machine's own may come a moment later
        raise BackendMisconfigured(f"{what}: {error}; see SELFIEGATE_AWS__REGION and AWS's own credentials") from error
