"""The command line, on click and rich."""

from __future__ import annotations

import asyncio
import signal
import sys
import tempfile
from collections.abc import Coroutine
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points, version
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.table import Table

from stretto import Client, Pipeline
from stretto.compiler import Placement, compile_plan
from stretto.errors import PipelineError, StrettoError

T = TypeVar("T")
TARGET = "MODULE:ATTRIBUTE of a pipeline, such as app:ensemble"


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("stretto"), prog_name="stretto")
def cli() -> None:
    """Compose fitted models as code, and run them in process, on Ray Serve or over HTTP."""


@cli.command()
@click.option("--keep", is_flag=True, help="Go on serving the ensemble at the end, until Ctrl-C.")
@click.option("--seconds", default=1.0, show_default=True, help="How long each figure of the table is measured.")
def demo(keep: bool, seconds: float) -> None:
    """Run the Ray Serve tutorial: train, save, deploy, and ask in process, by handle and over HTTP."""
    try:
        from stretto._demo.tutorial import Course
    except ImportError as error:
        raise click.ClickException(f"the demo needs {error.name}: pip install 'stretto[serve]'") from error
    with tempfile.TemporaryDirectory(prefix="stretto-demo-") as folder:
        _run(Course(Console(), Path(folder), seconds=seconds).run(keep=keep))


@cli.command()
@click.argument("target")
@click.option("--placement", type=click.Choice(["auto", "fused", "split"]), default="auto", show_default=True)
@click.option("--text", is_flag=True, help="Print the compiled plan itself, a line a node.")
def plan(target: str, placement: Placement, text: bool) -> None:
    """Show what becomes of TARGET: stages, deployments, handle calls, and why.

    TARGET is MODULE:ATTRIBUTE of a pipeline.
    """
    made = load(target).plan()
    try:
        if text:
            click.echo(compile_plan(made, placement).text)
        else:
            Console().print(made.explain(placement))
    except PipelineError as error:
        raise click.ClickException(str(error)) from error


@cli.command()
@click.argument("url")
@click.argument("row", required=False)
@click.option("--timeout", type=float, help="Seconds the answer may take.")
@click.option("--token", envvar="STRETTO_TOKEN", help="The server's bearer token.")
def predict(url: str, row: str | None, timeout: float | None, token: str | None) -> None:
    """Ask the pipeline at URL for ROW, a JSON value (or read it from standard input), and print the answer as JSON."""
    from stretto.wire import decode_json, encode_json

    async def ask() -> Any:
        async with Client(url, token=token) as client:
            return await client.predict(value, timeout=timeout)

    try:
        value = decode_json((sys.stdin.read() if row is None else row).encode())
        click.echo(encode_json(_run(ask())))
    except StrettoError as error:
        raise click.ClickException(str(error)) from error


@cli.command()
@click.argument("target")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", default=8000, show_default=True, help="The port to listen on.")
@click.option("--token", envvar="STRETTO_TOKEN", help="Ask for this bearer token.")
def serve(target: str, host: str, port: int, token: str | None) -> None:
    """Serve TARGET over HTTP from this process, with uvicorn.

    TARGET is MODULE:ATTRIBUTE of a pipeline. For Ray Serve, use `serve run` with stretto.application.
    """
    try:
        import uvicorn

        from stretto.server import asgi
    except ImportError as error:
        raise click.ClickException(f"serving needs {error.name}: pip install 'stretto[server]'") from error
    app = asgi(load(target), tokens=[token] if token else [])
    uvicorn.run(app, host=host, port=port, log_level="warning", access_log=False)


@cli.command()
@click.argument("target")
@click.option("--output", "-o", type=click.Path(path_type=Path, dir_okay=False), help="Write the file here.")
@click.option("--name", help="The application's name; that of the pipeline's last part unless given.")
@click.option("--route", help="Where it answers; /NAME unless given.")
@click.option("--placement", type=click.Choice(["auto", "fused", "split"]), default="auto", show_default=True)
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
    sys.path.insert(0, str(Path(app_dir).absolute()))
    try:
        import yaml

        from stretto.serving import config
    except ImportError as error:
        raise click.ClickException(f"building needs {error.name}: pip install 'stretto[serve]'") from error
    try:
        made = config(target, folder=None if installed else app_dir, **options)
    except PipelineError as error:
        raise click.ClickException(str(error)) from error
    text = (
        f"# Written by stretto build {target}, Stretto {version('stretto')}.\n\n{yaml.safe_dump(made, sort_keys=False)}"
    )
    if output is None:
        click.echo(text, nl=False)
    else:
        output.write_text(text)


@cli.command()
def composers() -> None:
    """List the composers that are installed, each with its one sentence."""
    found: dict[str, EntryPoint] = {}
    for entry in entry_points(group="stretto.composers"):
        other = found.setdefault(entry.name, entry)
        if other is not entry:
            both = " and ".join(sorted(_package(each) or each.value for each in (other, entry)))
            raise click.ClickException(
                f"two packages give a composer named {entry.name!r}: {both}; uninstall one of them"
            )
    table = Table("composer", "meaning", "from", box=None, header_style="bold")
    for _, entry in sorted(found.items()):
        sentence = (entry.load().__doc__ or "").strip().partition("\n\n")[0].replace("\n", " ")
        table.add_row(entry.name, " ".join(sentence.split()), _package(entry))
    Console().print(table)


def _package(entry: EntryPoint) -> str:
    return "" if entry.dist is None else f"{entry.dist.name} {entry.dist.version}"


def load(target: str) -> Pipeline[Any, Any]:
    """Return the pipeline at ``MODULE:ATTRIBUTE``, looking in the current directory first.

    Raises:
        click.ClickException: there is no such module or attribute, or it is not a pipeline.
    """
    module_name, _, attribute = target.partition(":")
    if not attribute:
        raise click.ClickException(f"{target!r}: expected {TARGET}")
    sys.path.insert(0, str(Path.cwd()))
    try:
        found = getattr(import_module(module_name), attribute)
    except ModuleNotFoundError as error:
        raise click.ClickException(f"{target!r}: there is no module {error.name!r} here") from error
    except AttributeError as error:
        raise click.ClickException(f"{target!r}: {error}") from error
    try:
        return Pipeline(found) if not isinstance(found, Pipeline) else found
    except PipelineError as error:
        raise click.ClickException(f"{target!r}: {error}") from error


def _run(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` to its end; Ctrl-C and SIGTERM cancel it, and what it started is stopped on the way out."""

    async def guarded() -> T:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        return await work

    try:
        return asyncio.run(guarded())
    except KeyboardInterrupt:
        raise click.exceptions.Exit(128 + signal.SIGINT) from None
    except asyncio.CancelledError:
        raise click.exceptions.Exit(128 + signal.SIGTERM) from None
