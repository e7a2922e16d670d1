"""``stretto trust``."""

from __future__ import annotations

import json
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from stretto.errors import ModelError
from stretto.models.extras import import_extra
from stretto.models.files.formats import asked_types

WORDS = {
    "safe": "runs no code of the file's",
    "checked": "its arrays are checked before it is used",
    "unknown": "must be named in trusted=[...]",
}


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--output", "-o", type=click.Path(path_type=Path, dir_okay=False), help="Write the unknown types here, as JSON."
)
def trust(file: Path, output: Path | None) -> None:
    """List the types that FILE, a .skops file or a folder of MLflow's, asks for, and the list that allows them.

    Nothing of the file is run. Look the unknown types up before you trust them: `trusted=` takes the list, or the
    path of the JSON file that --output writes.
    """
    import_extra("skops", "models", "stretto trust")
    words = asked_types(file)
    table = Table("type", "what it is", box=None, header_style="bold")
    for name, word in sorted(words.items(), key=lambda each: (each[1] != "unknown", each[1] != "checked", each[0])):
        table.add_row(name, f"[bold red]{word}[/]: {WORDS[word]}" if word == "unknown" else f"{word}: {WORDS[word]}")
    Console().print(table)
    unknown = [name for name, word in words.items() if word == "unknown"]
    if not unknown:
        click.echo("\nIt loads without trusted=.")
    else:
        click.echo(f"\ntrusted={unknown}")
    if output is not None:
        try:
            output.write_text(json.dumps(unknown, indent=2) + "\n")
        except OSError as error:
            raise ModelError(f"can't write {output.absolute()}: {error}") from error
        click.echo(f"written to {output}: pass trusted={str(output)!r}")
