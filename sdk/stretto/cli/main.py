"""The commands, and what several of them take and need."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
import tempfile
from collections.abc import Coroutine, Generator
from contextlib import contextmanager
from importlib.metadata import EntryPoint, entry_points, version
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.table import Table

from stretto import Client
from stretto.cli.trust import trust
from stretto.compiler import Placement, compile_plan
from stretto.errors import StrettoError
from stretto.serve.names import imported_pipeline
from stretto.wire import decode_json, encode_json

T = TypeVar("T")

_target = click.argument("target")
_placement = click.option(
    "--placement", type=click.Choice(["auto", "fused", "split"]), default="auto", show_default=True
)


class _Seconds(click.ParamType[float]):
    """A time such as 50ms or 0.05s."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return it in seconds."""
        if isinstance(value, float):
            return value
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s)", str(value).strip())
        if match is None or not float(match[1]):
            self.fail(f"{value!r} is no time: write 50ms or 0.05s", param, ctx)
        return float(match[1]) / (1000 if match[2] == "ms" else 1)


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


cli.add_command(trust)


@cli.command()
@_target
@click.option("--output", "-o", type=click.Path(path_type=Path, dir_okay=False), help="Write the file here.")
@click.option("--name", help="The application's name; by default that of the pipeline's last part.")
@click.option("--route", help="Where it answers; by default /NAME.")
@_placement
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
    _import_from(app_dir)
    with _extra("serve"):
        import yaml

        from stretto.serving import config
    content = yaml.safe_dump(config(target, folder=None if installed else app_dir, **options), sort_keys=False)
    text = f"# Written by stretto build {target}, Stretto {version('stretto')}.\n\n{content}"
    if output is None:
        click.echo(text, nl=False)
    else:
        output.write_text(text)


@cli.command()
def composers() -> None:
    """List the composers that are installed, each with its one sentence."""
    table = Table("composer", "meaning", "from", box=None, header_style="bold")
    for _, entry in sorted(_installed().items()):
        sentence = (entry.load().__doc__ or "").strip().partition("\n\n")[0].replace("\n", " ")
        table.add_row(entry.name, " ".join(sentence.split()), _package(entry))
    Console().print(table)


@cli.command()
@click.option("--keep", is_flag=True, help="Go on serving the ensemble at the end, until Ctrl-C.")
@click.option("--seconds", default=1.0, show_default=True, help="How long each figure of the table is measured.")
def demo(keep: bool, seconds: float) -> None:
    """Run the Ray Serve tutorial: train, save, deploy, and ask in process, by handle and over HTTP."""
    with _extra("serve"):
        from stretto._demo.demo import run_demo
    with tempfile.TemporaryDirectory(prefix="stretto-demo-") as folder:
        _run(run_demo(Path(folder), seconds=seconds, keep=keep))


@cli.command()
@_target
@_placement
@click.option("--text", is_flag=True, help="Print the compiled plan itself, a line a node.")
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), help="Rows per second to hold; needs --p99.")
@click.option("--p99", type=_Seconds(), help="The time in which 99 of 100 of them are answered, such as 50ms.")
@click.option(
    "--rows",
    type=click.Path(path_type=Path),
    help="Measure the steps on the rows of this file: a list in JSON, or one row.",
)
@click.option("--profile", "measures", type=click.Path(path_type=Path), help="The file of what was measured.")
@click.option("--cores", type=click.IntRange(min=1), help="The cores of all machines; by default those of this one.")
def plan(
    target: str,
    placement: Placement,
    text: bool,
    rate: float | None,
    p99: float | None,
    rows: Path | None,
    measures: Path | None,
    cores: int | None,
) -> None:
    """Show what becomes of TARGET: stages, deployments, handle calls, and why.

    TARGET is MODULE:ATTRIBUTE of a pipeline. With --rate and --p99 it is simulated, with each placement and growing
    numbers of replicas, and the cheapest that holds them is printed, with its options; where none does, the best, and
    this ends with 1. What steps cost is measured on --rows, and kept in the file --profile if there is one; without
    --rows it is read from there.
    """
    if (rate is None) != (p99 is None):
        raise click.UsageError("--rate and --p99 belong together")
    if rate is not None and rows is None and measures is None:
        raise click.UsageError("--rate needs --rows, to measure what steps cost, or --profile, where that was written")
    _import_from(".")
    pipeline, profile = imported_pipeline(target), None
    if rows is not None or measures is not None:
        with _extra("serve"):
            from stretto.cli import capacity
        if rows is not None:
            profile = _run(capacity.measured(pipeline, rows))
            if measures is not None:
                capacity.write_profile(profile, measures)
        elif measures is not None:
            profile = capacity.read_profile(measures)
        if profile is not None and rate is not None and p99 is not None:
            holds = _run(capacity.print_cheapest(pipeline, profile, rate, p99, cores))
            raise click.exceptions.Exit(0 if holds else 1)
    if text:
        click.echo(compile_plan(pipeline.plan(), placement, profile).text)
    else:
        Console().print(pipeline.plan().explain(placement, profile))


@cli.command()
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
    click.echo(encode_json(_run(ask(value))))


@cli.command()
@_target
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", default=8000, show_default=True, help="The port to listen on.")
@click.option("--token", envvar="STRETTO_TOKEN", help="Ask for this bearer token.")
@click.option("--workers", type=click.IntRange(min=1), help="Serve from so many processes, and replace those that end.")
def serve(target: str, host: str, port: int, token: str | None, workers: int | None) -> None:
    """Serve TARGET over HTTP, with uvicorn.

    TARGET is MODULE:ATTRIBUTE of a pipeline. With --workers the processes share the port, and one that ends, or whose
    event loop is stuck, is replaced. For Ray Serve, use `serve run` with stretto.application.
    """
    with _extra("server"):
        import uvicorn

        from stretto.cli.workers import supervise
        from stretto.server import asgi
        from stretto.server.connections import SETTINGS
    _import_from(".")
    if workers is not None:
        raise click.exceptions.Exit(supervise(target, host, port, token, workers))
    app = asgi(imported_pipeline(target), tokens=[token] if token else [], name=target.rpartition(":")[2])
    uvicorn.run(app, host=host, port=port, **SETTINGS)


def _run(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` to its end; Ctrl-C and SIGTERM cancel it, and what it started is stopped on the way out."""

    async def cancellable() -> T:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        return await work

    try:
        return asyncio.run(cancellable())
    except KeyboardInterrupt:
        raise click.exceptions.Exit(128 + signal.SIGINT) from None
    except asyncio.CancelledError:
        raise click.exceptions.Exit(128 + signal.SIGTERM) from None


def _import_from(folder: str) -> None:
    sys.path.insert(0, str(Path(folder).absolute()))


@contextmanager
def _extra(name: str) -> Generator[None]:
    """Raise an error that says what to install if an import in the block fails."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise click.ClickException(f"this command needs {error.name}: pip install 'stretto[{name}]'") from error
    except ImportError as error:
        raise click.ClickException(str(error)) from error


def _installed() -> dict[str, EntryPoint]:
    """Return the composers of all packages by name, or raise for two of the same name."""
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
