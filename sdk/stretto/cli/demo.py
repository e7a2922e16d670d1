"""``stretto demo``."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from stretto.cli.arguments import extra
from stretto.cli.running import run


@click.command()
@click.option("--keep", is_flag=True, help="Go on serving the ensemble at the end, until Ctrl-C.")
@click.option("--seconds", default=1.0, show_default=True, help="How long each figure of the table is measured.")
def demo(keep: bool, seconds: float) -> None:
    """Run the Ray Serve tutorial: train, save, deploy, and ask in process, by handle and over HTTP."""
    with extra("serve"):
        from stretto._demo.demo import run_demo
    with tempfile.TemporaryDirectory(prefix="stretto-demo-") as folder:
        run(run_demo(Path(folder), seconds=seconds, keep=keep))
