"""The command line, on click and rich."""

from stretto.cli.main import cli

__all__ = ["cli"]
