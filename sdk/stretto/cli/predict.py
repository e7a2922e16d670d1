"""``stretto predict``."""

from __future__ import annotations

import sys
from typing import Any

import click

from stretto import Client
from stretto.cli.running import run
from stretto.wire import decode_json, encode_json


@click.command()
@click.argument("url")
@click.argument("row", required=False)
@click.option("--timeout", type=float, help="Seconds the answer may take.")
@click.option("--token", envvar="STRETTO_TOKEN", help="The server's bearer token.")
def predict(url: str, row: str | None, timeout: float | None, token: str | None) -> None:
    """Call the pipeline at URL with ROW, a JSON value (or from standard input), and print the answer as JSON."""

    async def ask(value: Any) -> Any:
        async with Client(url, token=token) as client:
            return await client.predict(value, timeout=timeout)

    value = decode_json((sys.stdin.read() if row is None else row).encode())
    click.echo(encode_json(run(ask(value))))
