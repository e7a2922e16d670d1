"""What several commands take, and what they need to be installed."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import click

target_argument = click.argument("target")
"""MODULE:ATTRIBUTE of a pipeline."""

placement_option = click.option(
    "--placement", type=click.Choice(["auto", "fused", "split"]), default="auto", show_default=True
)


def import_from(folder: str) -> None:
    """Look for modules in `folder` first."""
    sys.path.insert(0, str(Path(folder).absolute()))


@contextmanager
def extra(name: str) -> Generator[None]:
    """Raise an error that says what to install if an import in the block fails.

    Raises:
        click.ClickException: it fails.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise click.ClickException(f"this command needs {error.name}: pip install 'stretto[{name}]'") from error
    except ImportError as error:
        raise click.ClickException(str(error)) from error
