"""The command line, on click and rich: a file a command."""

from stretto.cli.main import cli

__all__ = ["cli"]
