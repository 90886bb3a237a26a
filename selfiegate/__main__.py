"""Entry point of the `selfiegate` command: that of a checkout or the image, with flows, else the wheel's."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from selfiegate.errors import BackendMisconfigured
from selfiegate.extras import named_when_missing


def main() -> None:
    """Run the command line."""
    with_flows = Path(__file__).parents[1] / "deployments" / "cli" / "app.py"
    module = "deployments.cli.app" if with_flows.is_file() else "selfiegate.cli.app"
    try:
        with named_when_missing():
            importlib.import_module(module).main()
    except KeyboardInterrupt:  # while modules are imported, say
        sys.exit(130)
    except BackendMisconfigured as error:  # what prints errors is not installed
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
