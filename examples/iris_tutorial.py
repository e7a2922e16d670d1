"""The Ray Serve tutorial "scikit-learn and model compositions", whole, the Stretto way.

Run it with ``python examples/iris_tutorial.py``: it starts a Ray of its own on this machine, and stops it at the end.
``docs/tutorial.md`` shows the parts between the marks, and explains them; ``stretto demo`` runs them too.
"""

import asyncio
import json
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import requests
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.svm import SVC

from stretto import Client, Pipeline, deploy, local_ray, model, parallel, save_model, step

FEATURES = ["sepal length", "sepal width", "petal length", "petal width"]
ROW = {"sepal length": 1.2, "sepal width": 1.0, "petal length": 1.1, "petal width": 0.9}
FILES = ["logistic_regression.skops", "svm_classifier.skops"]


# --8<-- [start:train]
def train() -> tuple[LogisticRegression, float, list[str]]:
    """Return a fitted model, its accuracy on rows it has not seen, and the labels of its classes."""
    iris: Any = load_iris()
    x, x_val, y, y_val = train_test_split(iris.data, iris.target, test_size=0.3, stratify=iris.target, random_state=7)
    fitted = LogisticRegression(max_iter=1000).fit(x, y)
    return fitted, float(fitted.score(x_val, y_val)), [str(name) for name in iris.target_names]


# --8<-- [end:train]


# --8<-- [start:one_model]
async def one_model(folder: Path) -> str:
    """Deploy one saved model at a route, and query it with a JSON object of named features."""
    fitted, _, labels = train()
    path = save_model(fitted, folder / "iris_logistic.skops", labels=labels, features=FEATURES)

    async with deploy(model(path, name="logistic"), name="logistic_regressor", route="/logistic_regressor") as client:
        answer = await client.predict(ROW)
        response = await asyncio.to_thread(requests.get, client.url, json=ROW)
        assert response.json() == answer
    return answer


# --8<-- [end:one_model]


# --8<-- [start:train_two]
def train_two(folder: Path) -> tuple[Path, Path]:
    """Save two models, with the labels of a file inside."""
    iris: Any = load_iris()
    labels = [str(name) for name in iris.target_names]
    label_file = folder / "iris_labels.json"
    label_file.write_text(json.dumps(labels))
    logistic = LogisticRegression(max_iter=1000).fit(iris.data, iris.target)
    svm = SVC().fit(iris.data, iris.target)
    return (
        save_model(logistic, folder / FILES[0], labels=label_file, features=FEATURES),
        save_model(svm, folder / FILES[1], labels=label_file, features=FEATURES),
    )


# --8<-- [end:train_two]


# --8<-- [start:endpoints]
async def endpoints(logistic: Pipeline[Any, str], svm: Pipeline[Any, str]) -> list[str]:
    """Deploy two versioned endpoints, and ask one now and one later."""
    async with (
        deploy(logistic, name="logistic:v1", route="/logistic") as first,
        deploy(svm, name="svm:v1", route="/svm") as second,
    ):
        print(f"  {first}", f"  {second}", sep="\n")
        later = first.submit(ROW)
        print(f"  {later}")
        answers = [await later, await second.predict(ROW)]
        for client in (first, second):
            response = await asyncio.to_thread(requests.get, client.url, json=ROW)
            assert response.json() in answers
    return answers


# --8<-- [end:endpoints]


# --8<-- [start:ensemble]
async def ensemble(logistic: Pipeline[Any, str], svm: Pipeline[Any, str]) -> dict[str, str]:
    """Deploy both models behind one route."""
    both = Pipeline(parallel(logistic, svm))
    async with deploy(both, name="ensemble", route="/ensemble", placement="split") as client:
        response = await asyncio.to_thread(requests.get, client.url, json=ROW)
        return response.json()


# --8<-- [end:ensemble]


# --8<-- [start:slow]
def slow(answer: str) -> Pipeline[Any, str]:
    """Return a model that takes half a second."""

    def think(row: Mapping[str, float]) -> str:
        time.sleep(0.5)
        return answer

    # An option of Ray Serve's gives a step a deployment of its own.
    return step(think, name=f"slow_{answer}", blocking=True, num_replicas=1)


async def side_by_side() -> tuple[int, float]:
    """Return the handle calls of one request, and the seconds for which both slow models ran at once."""
    both = parallel(slow("setosa"), slow("virginica"))
    async with deploy(both, name="slow", route="/slow", placement="split") as client:
        trace = await client.trace(ROW)
    first, second = (span for span in trace.spans if span.kind == "handle")
    together = min(first.end, second.end) - max(first.start, second.start)
    return trace.handle_calls, together


# --8<-- [end:slow]


# --8<-- [start:both_ways]
async def both_ways(pipeline: Pipeline[Any, Any]) -> tuple[Any, Any, Any]:
    """Ask one pipeline in process, by handle and over HTTP."""
    async with Client(pipeline) as here:
        in_process = await here.predict(ROW)
    async with deploy(pipeline, name="both", route="/both") as by_handle, Client(by_handle.url) as over_http:
        return in_process, await by_handle.predict(ROW), await over_http.predict(ROW)


# --8<-- [end:both_ways]


# --8<-- [start:custom]
def aggregate(answers: dict[str, str]) -> dict[str, Any]:
    """Return a summary of the models' answers."""
    labels = list(answers.values())
    return {"answer": max(labels, key=labels.count), "agreed": len(set(labels)) == 1, **answers}


async def custom(logistic: Pipeline[Any, str], svm: Pipeline[Any, str]) -> dict[str, Any]:
    """Combine the answers with a function of the user's own."""
    combined = Pipeline(parallel(logistic, svm)) >> aggregate
    async with Client(combined) as client:
        return await client.predict(ROW)


# --8<-- [end:custom]


async def main(folder: Path) -> dict[str, Any]:
    """Run every part in order, and return what each answered."""
    logistic, svm = train_and_save(folder)
    async with local_ray():  # one Ray for all parts; without it, each deploy starts and stops its own
        return await deployed(folder, logistic, svm)


def train_and_save(folder: Path) -> tuple[Pipeline[Any, str], Pipeline[Any, str]]:
    """Run the parts before the deployment, and print what each did."""
    _, accuracy, _ = train()
    show("train", f"validation accuracy {accuracy:.3f}, on rows the model had not seen")
    paths = train_two(folder)
    show("save", " and ".join(f"{path.name} ({path.stat().st_size:,} bytes)" for path in paths) + ", labels inside")
    return model(paths[0], name="logistic"), model(paths[1], name="svm")


async def deployed(folder: Path, logistic: Pipeline[Any, str], svm: Pipeline[Any, str]) -> dict[str, Any]:
    """Run the parts that deploy something, print what each did, and return what each answered."""
    answer = await one_model(folder)
    show("one model", f"a saved model answers {answer!r} at its route")
    answers = await endpoints(logistic, svm)
    show("endpoints", "two models, each with a version in its name")
    show("handle", f"submit() and predict() answer {answers[0]!r} and {answers[1]!r}")
    both = await ensemble(logistic, svm)
    show("ensemble", f"a deployment a model, and one request answers {both}")
    calls, together = await side_by_side()
    show("side by side", f"{calls} handle calls inside Serve, both under way for {together:.2f} s")
    ways = await both_ways(parallel(logistic, svm))
    same = all(each == ways[0] for each in ways)
    show("three ways", f"in process, by handle, over HTTP: {'the same' if same else ways}, {ways[0]}")
    summary = await custom(logistic, svm)
    show("your function", f"behind both models it answers {summary}")
    return {
        "one model": answer,
        "endpoints": answers,
        "ensemble": both,
        "side by side": (calls, together),
        "both ways": ways,
        "custom": summary,
    }


def show(part: str, text: str) -> None:
    """Print what a part did."""
    print(f"✓ {part:<13} {text}", flush=True)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        asyncio.run(main(Path(name)))
