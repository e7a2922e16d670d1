"""Break things while rows are answered, and print what became of them: ``python -m tests.chaos``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import nullcontext

import click
from rich.console import Console

from stretto import local_ray
from tests.chaos.cancelled import cancelled
from tests.chaos.fuzzed import fuzzed
from tests.chaos.networks import misbehaving
from tests.chaos.nodes import lost_node
from tests.chaos.overload import overloaded
from tests.chaos.poison import poisoned
from tests.chaos.replicas import killed_replicas, killed_servers, new_versions
from tests.chaos.report import Found, markdown, table
from tests.chaos.settings import Settings
from tests.chaos.soak import soaked

SCENARIOS: Mapping[str, Callable[[Settings], AsyncGenerator[Found]]] = {
    "1": killed_replicas,
    "2": killed_servers,
    "3": lost_node,
    "4": new_versions,
    "5": overloaded,
    "6": misbehaving,
    "7": cancelled,
    "8": poisoned,
    "9": fuzzed,
    "10": soaked,
}
ON_RAY = {"1", "2", "4", "5", "7"}


async def run(settings: Settings, only: list[str]) -> list[Found]:
    """Return what the scenarios found."""
    found: list[Found] = []
    # One Ray for all that need one; what brings its own comes before.
    for numbers, where in (
        ([each for each in only if each not in ON_RAY], nullcontext()),
        ([each for each in only if each in ON_RAY], local_ray()),
    ):
        if numbers:
            async with where:
                for number in numbers:
                    async for each in SCENARIOS[number](settings):
                        found.append(each)
                        Console(stderr=True, width=200).print("  ".join(each.cells()))
    return found


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--only", default=",".join(SCENARIOS), help="The scenarios, by number.")
@click.option("--ways", default="", help="The ways, as in 'HTTP, direct;handle, fused'; all without it.")
@click.option("--seconds", default=30.0, help="How long things break.")
@click.option("--versions", default=10, help="How many new versions are deployed.")
@click.option("--share", default=1.0, help="The share of the requests that is sent, where there is a number of them.")
@click.option("--for-page", is_flag=True, help="Print the table as markdown.")
def main(only: str, ways: str, seconds: float, versions: int, share: float, *, for_page: bool) -> None:
    """Break things while rows are answered, check every answer, and print what became of them."""
    wanted = tuple(way for way in ways.split(";") if way)
    settings = Settings(seconds=seconds, versions=versions, only_ways=wanted, share=share)
    found = asyncio.run(run(settings, only.split(",")))
    if for_page:
        click.echo(markdown(found))
    else:
        Console(width=220).print(table(found))


if __name__ == "__main__":
    main()
