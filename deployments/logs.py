"""What a process says, and where: Prefect's log, and our own."""

from __future__ import annotations

import logging
import os

_QUIET = {
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",  # runs are logged to the API all the same
    "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",  # a first start migrates its database
}


def quiet_prefect(verbose: bool) -> None:
    """Keep Prefect's log off the terminal unless it is asked for; call before Prefect is imported."""
    for name, value in _QUIET.items():
        if verbose and "LOGGING" in name:
            continue
        os.environ.setdefault(name, value)


def log_to_stderr() -> None:
    """Let a long-lived process say what it does, one line each; call after Prefect is imported."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    for name in ("selfiegate", "tasks", "flows", "deployments"):
        logger = logging.getLogger(name)
        logger.setLevel(logging.INFO)
        logger.handlers, logger.propagate = [handler], False


def drop_ends_of_tasks() -> None:
    """Send no line of the log for each task that ended well: its state says the same, and each line is a row."""

    def tells_more(record: logging.LogRecord) -> bool:
        return record.levelno > logging.INFO or not record.getMessage().startswith("Finished in state")

    logging.getLogger("prefect.task_runs").addFilter(tells_more)
