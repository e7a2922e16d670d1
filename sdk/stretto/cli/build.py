"""``stretto build``."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

from stretto.cli.arguments import extra, import_from, placement_option, target_argument


@click.command()
@target_argument
@click.option("--output", "-o", type=click.Path(path_type=Path, dir_okay=False), help="Write the file here.")
@click.option("--name", help="The application's name; by default that of the pipeline's last part.")
@click.option("--route", help="Where it answers; by default /NAME.")
@placement_option
@click.option("--host", default="127.0.0.1", show_default=True, help="The address Serve's proxy listens on.")
@click.option("--port", default=8000, show_default=True, help="The port Serve's proxy listens on.")
@click.option("--app-dir", default=".", show_default=True, help="Where the module is, here and on the cluster's nodes.")
@click.option(
    "--installed", is_flag=True, help="The nodes have the module installed: write no --app-dir into the file."
)
@click.option("--token-variable", help="The nodes' environment variable with the bearer token to ask for.")
def build(target: str, output: Path | None, app_dir: str, installed: bool, **options: Any) -> None:
    """Write the config file of TARGET for `serve deploy` and `serve run`, as `serve build` does.

    TARGET is MODULE:ATTRIBUTE of a pipeline.
    """
    import_from(app_dir)
    with extra("serve"):
        import yaml

        from stretto.serving import config
    content = yaml.safe_dump(config(target, folder=None if installed else app_dir, **options), sort_keys=False)
    text = f"# Written by stretto build {target}, Stretto {version('stretto')}.\n\n{content}"
    if output is None:
        click.echo(text, nl=False)
    else:
        output.write_text(text)
