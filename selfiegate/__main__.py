"""Entry point of the `selfiegate` command.

The command runs Prefect flows, which live beside this package in a checkout or an image, not in the wheel.
"""

from __future__ import annotations

import importlib
import sys


def main() -> None:
    """Run the command line, or say where it is to be had."""
    try:
        importlib.import_module("deployments.cli.app").main()
    except KeyboardInterrupt:  # while modules are imported, say
        sys.exit(130)
    except ModuleNotFoundError as error:
        if error.name != "deployments":
            raise
        sys.exit("selfiegate: only the library is installed; the command runs from a checkout (see its README)")


if __name__ == "__main__":
    main()
