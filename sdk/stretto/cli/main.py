"""The group of commands."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import click

from stretto.cli.build import build
from stretto.cli.composers import composers
from stretto.cli.demo import demo
from stretto.cli.plan import plan
from stretto.cli.predict import predict
from stretto.cli.serve import serve
from stretto.errors import StrettoError


class _Commands(click.Group):
    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, and print an error of Stretto's without its traceback."""
        try:
            return super().invoke(ctx)
        except StrettoError as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("stretto"), prog_name="stretto")
def cli() -> None:
    """Compose fitted models as code, and run them in process, on Ray Serve or over HTTP."""


for command in (build, composers, demo, plan, predict, serve):
    cli.add_command(command)
