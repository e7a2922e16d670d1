"""The steps of the demo: each does what one of the tutorial does, and prints the result."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import aiohttp
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.svm import SVC

from stretto import Client, Pipeline, deploy, local_ray, model, parallel, save_model, step
from stretto._demo import baseline
from stretto._demo.measure import Rate, measure

FEATURES = ["sepal length", "sepal width", "petal length", "petal width"]
ROW = {"sepal length": 1.2, "sepal width": 1.0, "petal length": 1.1, "petal width": 0.9}


Program: TypeAlias = Callable[[], Awaitable[Any]]
Programs: TypeAlias = dict[str, tuple[Program, Program]]
"""For each way to run the ensemble, the call of the baseline and that of Stretto."""


@dataclass(slots=True)
class Trained:
    """The two fitted models, their labels, and their parts read back from disk."""

    logistic: Any
    svm: Any
    labels: list[str]
    parts: dict[str, Pipeline[Any, str]] = field(default_factory=dict)


def aggregate(predictions: Mapping[str, str]) -> dict[str, Any]:
    """Return a summary of the models' predictions, as a user would write it."""
    labels = list(predictions.values())
    return {"answer": max(labels, key=labels.count), "agreed": len(set(labels)) == 1}


def slow(name: str) -> Pipeline[Any, str]:
    """Return a model that takes 0.4 seconds, in a deployment of its own."""

    def think(row: Mapping[str, float]) -> str:
        time.sleep(0.4)
        return name

    return step(think, name=name, blocking=True, num_replicas=1)


class Course:
    """Runs the steps in order and prints the result of each."""

    def __init__(self, console: Console, folder: Path, *, seconds: float) -> None:
        self.console = console
        self.folder = folder
        self.seconds = seconds

    async def run(self, *, keep: bool) -> None:
        """Run every step; with `keep`, go on serving the ensemble until interrupted."""
        self.console.print("[bold]Stretto[/]: the Ray Serve tutorial's iris ensemble, three ways\n")
        with self.console.status("training two models on iris"):
            trained = await asyncio.to_thread(self.train)
        async with AsyncExitStack() as stack:
            with self.console.status("starting Ray on this machine"):
                await stack.enter_async_context(local_ray())
            with self.console.status("deploying"):
                await self.single(trained)
                await self.endpoints(trained)
            both = Pipeline(parallel(trained.parts["logistic"], trained.parts["svm"]))
            with self.console.status("deploying the ensemble"):
                await self.ensemble(both)
                await self.side_by_side()
                await self.ways(both)
                await self.custom(both)
            await self.compare(both, trained)
            if keep:
                await self.keep(both)
        self.console.print("\nEverything that was started is stopped again.")

    def say(self, part: str, text: str) -> None:
        """Print the result of a step."""
        self.console.print(f"[green]✓[/] [bold]{part:<13}[/] {text}", highlight=False, soft_wrap=True)

    def train(self) -> Trained:
        """Train, validate on held-out rows, save and read back."""
        iris: Any = load_iris()
        x, x_val, y, y_val = train_test_split(
            iris.data, iris.target, test_size=0.3, stratify=iris.target, random_state=7
        )
        score = LogisticRegression(max_iter=1000).fit(x, y).score(x_val, y_val)
        self.say("train", f"validation accuracy {score:.3f}, on {len(y_val)} rows the model had not seen")
        labels = [str(name) for name in iris.target_names]
        trained = Trained(
            LogisticRegression(max_iter=1000).fit(iris.data, iris.target), SVC().fit(iris.data, iris.target), labels
        )
        label_file = self.folder / "labels.json"
        label_file.write_text(json.dumps(labels))
        for name, estimator in (("logistic", trained.logistic), ("svm", trained.svm)):
            path = save_model(estimator, self.folder / f"{name}.skops", labels=label_file, features=FEATURES)
            trained.parts[name] = model(path, name=name)
            self.say("save", f"{path.name} ({path.stat().st_size:,} bytes), labels inside")
        return trained

    async def single(self, trained: Trained) -> None:
        """Deploy one model at a route, and query it with a JSON object of named features."""
        part = trained.parts["logistic"]
        async with deploy(part, name="logistic_regressor", route="/logistic_regressor") as client:
            self.say("one model", f"GET {client.url} with the row as JSON answers {await _get(client.url, ROW)}")

    async def endpoints(self, trained: Trained) -> None:
        """Deploy two versioned endpoints; call one now, and read the answer of the other later."""
        async with (
            deploy(trained.parts["logistic"], name="logistic:v1", route="/logistic") as first,
            deploy(trained.parts["svm"], name="svm:v1", route="/svm") as second,
        ):
            later = first.submit(ROW)
            shown = repr(later)
            self.say("endpoints", f"{first!r} and {second!r}")
            answer = await second.predict(ROW)
            self.say("handle", f"submit() gave {shown}; svm:v1 returned {answer!r}, then logistic:v1 {await later!r}")

    async def ensemble(self, both: Pipeline[Any, Any]) -> None:
        """Deploy the tutorial's own shape: one deployment per model, called concurrently by handle."""
        async with deploy(both, name="ensemble", route="/ensemble", placement="split") as client:
            answer = await _get(client.url, ROW)
            trace = await client.trace(ROW)
            self.say("ensemble", f"GET {client.url} answers {answer}; {trace.handle_calls} handle calls inside Serve")

    async def side_by_side(self) -> None:
        """Show from timestamps that two slow models run at the same time."""
        async with deploy(parallel(slow("setosa"), slow("virginica")), name="slow", route="/slow") as client:
            trace = await client.trace(ROW)
            spans = [span for span in trace.spans if span.kind == "handle"]
            both = min(span.end for span in spans) - max(span.start for span in spans)
            took = max(span.end for span in spans) - min(span.start for span in spans)
            self.say("side by side", f"two models of 0.40 s each took {took:.2f} s, {both:.2f} s of it together")

    async def ways(self, both: Pipeline[Any, Any]) -> None:
        """Call the same composition in process, by handle and over HTTP."""
        async with (
            deploy(both, name="ways", route="/ways") as by_handle,
            Client(both) as here,
            Client(by_handle.url) as over_http,
        ):
            answers = [await client.predict(ROW) for client in (here, by_handle, over_http)]
        same = all(answer == answers[0] for answer in answers)
        self.say("three ways", f"in process, by handle, over HTTP: {'the same' if same else answers}, {answers[0]}")
        if not same:
            raise AssertionError(f"the three ways differ: {answers}")

    async def custom(self, both: Pipeline[Any, Any]) -> None:
        """Put the user's own function behind the fan-out."""
        combined = both >> aggregate
        async with Client(combined) as client:
            self.say("your function", f"{combined!r} answers {await client.predict(ROW)}")

    async def compare(self, both: Pipeline[Any, Any], trained: Trained) -> None:
        """Measure the three ways and the baseline of each, in turn."""
        headings = ("by hand, 1 caller", "Stretto", "by hand, 64 callers", "Stretto", "ratio")
        table = Table("", *headings, box=None)
        for column in table.columns[1:]:
            column.justify = "right"
        with self.console.status("measuring, next to the same ensemble by hand"):
            async with _programs(both, trained) as programs:
                for way, (hand, ours) in programs.items():
                    alone = [await measure(call, 1, self.seconds) for call in (hand, ours)]
                    crowd = [await measure(call, 64, self.seconds) for call in (hand, ours)]
                    ratio = crowd[1].per_second / crowd[0].per_second
                    table.add_row(way, *map(_latency, alone), *map(_throughput, crowd), f"{ratio:.0f} x")
        self.console.print()
        self.console.print(table)
        self.console.print("[dim]median latency of 1 caller; answers a second for 64 callers; measured just now[/]")

    async def keep(self, both: Pipeline[Any, Any]) -> None:
        """Go on serving until interrupted."""
        async with deploy(both, name="ensemble", route="/ensemble") as client:
            row = json.dumps(ROW)
            self.console.print(f"\n[bold]Serving[/] at {client.url}. Ask it from another terminal:\n")
            self.console.print(f"  curl -d '{row}' {client.url}", highlight=False, soft_wrap=True)
            self.console.print(f"  stretto predict {client.url} '{row}'\n", highlight=False, soft_wrap=True)
            self.console.print("Ctrl-C stops it.")
            await asyncio.Event().wait()


@asynccontextmanager
async def _programs(both: Pipeline[Any, Any], trained: Trained) -> AsyncGenerator[Programs]:
    from ray import serve

    here = baseline.for_asyncio(trained.logistic, trained.svm, FEATURES, trained.labels)
    app = baseline.for_serve(trained.logistic, trained.svm, FEATURES, trained.labels)
    handle = await asyncio.to_thread(serve.run, app, name="by_hand", route_prefix="/by_hand")
    connector = aiohttp.TCPConnector(limit=64)
    async with (
        deploy(both, name="compared", route="/compared") as by_handle,
        Client(both) as in_process,
        Client(by_handle.url) as over_http,
        aiohttp.ClientSession(connector=connector) as session,
    ):
        hand_url = by_handle.url.replace("/compared", "/by_hand")

        async def hand_http() -> Any:
            async with session.post(hand_url, json=ROW) as response:
                return await response.json()

        yield {
            "in process": (lambda: here(ROW), lambda: in_process.predict(ROW)),
            "by handle": (lambda: handle.predict.remote(ROW), lambda: by_handle.predict(ROW)),
            "over HTTP": (hand_http, lambda: over_http.predict(ROW)),
        }
    await asyncio.to_thread(serve.delete, "by_hand")


async def _get(url: str, row: Mapping[str, float]) -> str:
    async with aiohttp.ClientSession() as session, session.get(url, json=row) as response:
        return await response.text()


def _latency(rate: Rate) -> str:
    return f"{rate.p50_ms:.2f} ms"


def _throughput(rate: Rate) -> str:
    return f"{rate.per_second:,.0f}/s"
