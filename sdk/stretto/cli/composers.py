"""``stretto composers``."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

import click
from rich.console import Console
from rich.table import Table


@click.command()
def composers() -> None:
    """List the composers that are installed, each with its one sentence."""
    table = Table("composer", "meaning", "from", box=None, header_style="bold")
    for _, entry in sorted(installed().items()):
        sentence = (entry.load().__doc__ or "").strip().partition("\n\n")[0].replace("\n", " ")
        table.add_row(entry.name, " ".join(sentence.split()), _package(entry))
    Console().print(table)


def installed() -> dict[str, EntryPoint]:
    """Return the composers of all packages by name.

    Raises:
        click.ClickException: two packages have one of the same name.
    """
    entries: dict[str, EntryPoint] = {}
    for entry in entry_points(group="stretto.composers"):
        other = entries.setdefault(entry.name, entry)
        if other is not entry:
            both = " and ".join(sorted(_package(each) or each.value for each in (other, entry)))
            raise click.ClickException(
                f"two packages have a composer named {entry.name!r}: {both}; uninstall one of them"
            )
    return entries


def _package(entry: EntryPoint) -> str:
    return "" if entry.dist is None else f"{entry.dist.name} {entry.dist.version}"
