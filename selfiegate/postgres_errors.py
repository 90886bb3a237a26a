"""What PostgreSQL and its driver say of a fault, told by what mends it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import errors
from psycopg_pool import PoolTimeout

from selfiegate.errors import BackendMisconfigured, BackendUnavailable

_MISCONFIGURED = (
    psycopg.ProgrammingError,  # no such table, no right to it, and the like
    errors.InvalidPassword,
    errors.InvalidAuthorizationSpecification,
)
_REFUSED = re.compile(
    r"password authentication failed|no password supplied|(database|role) .* does not exist|no pg_hba|"
    r"permission denied for database|invalid connection option|could not parse"
)
"""What a server answers to a connection that will never be let in; libpq hands out no code for it."""


@contextmanager
def translated(place: str, exhausted: str) -> Iterator[None]:
    """Raise the product's errors; `exhausted` says why no connection was to be had."""
    try:
        yield
    except _MISCONFIGURED as error:
        raise BackendMisconfigured(f"{place}: {text_of(error)}; {_mend(error)}") from error
    except PoolTimeout as error:
        raise BackendUnavailable(f"{place}: {exhausted}") from error
    except psycopg.OperationalError as error:
        why = text_of(error)
        if error.sqlstate is None and _REFUSED.search(why):
            raise BackendMisconfigured(f"{place}: {why}; mend SELFIEGATE_DATABASE") from error
        raise BackendUnavailable(f"{place}: {why}") from error
    except psycopg.Error as error:
        raise BackendUnavailable(f"{place}: {text_of(error)}") from error


def text_of(error: psycopg.Error) -> str:
    """Return an error in one line."""
    return error.diag.message_primary or " ".join(str(error).split()) or type(error).__name__


def _mend(error: Exception) -> str:
    if isinstance(error, errors.UndefinedTable | errors.UndefinedColumn | errors.UndefinedFunction):
        return "these are not the tables of this version of selfiegate; restore the database from a backup"
    if isinstance(error, errors.InsufficientPrivilege):
        return "grant it to the role, or run `selfiegate database upgrade` as a role that may create tables"
    return "mend SELFIEGATE_DATABASE"
