"""``stretto demo``: the tutorial, and its ensemble measured next to the same one without Stretto."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias

import aiohttp
from rich.console import Console
from rich.table import Table

from stretto import Client, Pipeline, SavedModel, deploy, load_model, local_ray, parallel
from stretto._demo import baseline
from stretto._demo.measure import Rate, measure

tutorial: Any = import_module("stretto._demo.iris_tutorial")

Program: TypeAlias = Callable[[], Awaitable[Any]]
Programs: TypeAlias = dict[str, tuple[Program, Program]]


async def run_demo(folder: Path, *, seconds: float, keep: bool) -> None:
    """Run the tutorial, saving its models in `folder`, and measure its ensemble.

    Each figure is measured for `seconds`. With `keep`, the ensemble is served until this is cancelled.
    """
    console = Console()
    console.print("[bold]Stretto[/]: the Ray Serve tutorial's iris ensemble, three ways\n")
    with console.status("training two models on iris"):
        logistic, svm = await asyncio.to_thread(tutorial.train_and_save, folder)
    both = Pipeline(parallel(logistic, svm))
    with console.status("starting Ray on this machine") as status:
        async with local_ray():
            status.update("deploying")
            await tutorial.deployed(folder, logistic, svm)
            status.update("measuring, next to the same ensemble without Stretto")
            table = await _compared(both, [load_model(folder / name) for name in tutorial.FILES], seconds)
            status.stop()
            console.print()
            console.print(table)
            console.print("[dim]median latency of 1 caller; answers a second for 64 callers; measured just now[/]")
            if keep:
                await _keep(console, both)
    console.print("\nEverything that was started is stopped again.")


async def _compared(both: Pipeline[Any, Any], models: list[SavedModel], seconds: float) -> Table:
    """Return the rates of the three ways next to those of the same ensemble without Stretto, measured in turn."""
    table = Table("", "baseline, 1 caller", "Stretto", "baseline, 64 callers", "Stretto", "ratio", box=None)
    for column in table.columns[1:]:
        column.justify = "right"
    async with _programs(both, models) as programs:
        for way, calls in programs.items():
            single = [await measure(call, 1, seconds) for call in calls]
            many = [await measure(call, 64, seconds) for call in calls]
            ratio = many[1].per_second / many[0].per_second
            table.add_row(way, *map(_latency, single), *map(_throughput, many), f"{ratio:.0f} x")
    return table


@asynccontextmanager
async def _programs(both: Pipeline[Any, Any], models: list[SavedModel]) -> AsyncGenerator[Programs]:
    """Yield, for each way of asking, the baseline's call and Stretto's."""
    from ray import serve

    logistic, svm = [each.estimator for each in models]
    labels = [str(label) for label in models[0].labels or ()]
    in_asyncio = baseline.for_asyncio(logistic, svm, tutorial.FEATURES, labels)
    app = baseline.for_serve(logistic, svm, tutorial.FEATURES, labels)
    handle = await asyncio.to_thread(serve.run, app, name="baseline", route_prefix="/baseline")
    connector = aiohttp.TCPConnector(limit=64)
    async with (
        deploy(both, name="compared", route="/compared") as by_handle,
        Client(both) as in_process,
        Client(by_handle.url) as over_http,
        aiohttp.ClientSession(connector=connector) as session,
    ):
        url = by_handle.url.replace("/compared", "/baseline")

        async def post() -> Any:
            async with session.post(url, json=tutorial.ROW) as response:
                return await response.json()

        yield {
            "in process": (lambda: in_asyncio(tutorial.ROW), lambda: in_process.predict(tutorial.ROW)),
            "by handle": (lambda: handle.predict.remote(tutorial.ROW), lambda: by_handle.predict(tutorial.ROW)),
            "over HTTP": (post, lambda: over_http.predict(tutorial.ROW)),
        }
    await asyncio.to_thread(serve.delete, "baseline")


async def _keep(console: Console, both: Pipeline[Any, Any]) -> None:
    async with deploy(both, name="ensemble", route="/ensemble") as client:
        row = json.dumps(tutorial.ROW)
        console.print(f"\n[bold]Serving[/] at {client.url}. Ask it from another terminal:\n")
        console.print(f"  curl -d '{row}' {client.url}", highlight=False, soft_wrap=True)
        console.print(f"  stretto predict {client.url} '{row}'\n", highlight=False, soft_wrap=True)
        console.print("Ctrl-C stops it.")
        await asyncio.Event().wait()


def _latency(rate: Rate) -> str:
    return f"{rate.p50_ms:.2f} ms"


def _throughput(rate: Rate) -> str:
    return f"{rate.per_second:,.0f}/s"
