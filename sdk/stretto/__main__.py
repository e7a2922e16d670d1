"""The command line: ``python -m stretto``, or ``stretto``."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line, or say what to install for it."""
    try:
        from stretto.cli import cli
    except ImportError as error:
        sys.exit(f"stretto: the command line needs {error.name}: pip install 'stretto[cli]'")
    cli(prog_name="stretto")


if __name__ == "__main__":
    main()
