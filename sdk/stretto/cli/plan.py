"""``stretto plan``."""

from __future__ import annotations

import click
from rich.console import Console

from stretto.cli.arguments import import_from, placement_option, target_argument
from stretto.compiler import Placement, compile_plan
from stretto.serve.names import imported_pipeline


@click.command()
@target_argument
@placement_option
@click.option("--text", is_flag=True, help="Print the compiled plan itself, a line a node.")
def plan(target: str, placement: Placement, text: bool) -> None:
    """Show what becomes of TARGET: stages, deployments, handle calls, and why.

    TARGET is MODULE:ATTRIBUTE of a pipeline.
    """
    import_from(".")
    plan = imported_pipeline(target).plan()
    if text:
        click.echo(compile_plan(plan, placement).text)
    else:
        Console().print(plan.explain(placement))
