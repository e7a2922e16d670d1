"""A plugin of pytest for scikit-learn's own tests: what its ensembles answer there is also asked through Stretto.

Each outermost call of `predict`, `predict_proba`, `decision_function` or `transform` of a watched class is asked again
through `from_sklearn` and through `model`, once it has returned. The file that ``STRETTO_TALLY`` names gets a line of
JSON for each: ``equal``, ``otherwise``, ``error`` or ``not applicable``, and why.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import StackingClassifier, StackingRegressor, VotingClassifier, VotingRegressor
from sklearn.pipeline import FeatureUnion, Pipeline

from stretto import Client, from_sklearn, model

WATCHED = (
    ColumnTransformer,
    FeatureUnion,
    Pipeline,
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
    VotingRegressor,
)
OUTPUTS = {"predict": "predict", "predict_proba": "proba", "decision_function": "decision", "transform": "transform"}
inside = threading.Event()
"""Set within an outermost call, and while Stretto is asked, in whose threads the methods are called again."""
tally: list[dict[str, str]] = []


class Watched:
    """A method that is asked through Stretto too, where nothing watched has called it."""

    def __init__(self, method: Any, name: str) -> None:
        self.method, self.name = method, name

    def __get__(self, estimator: Any, owner: Any = None) -> Any:
        bound = self.method.__get__(estimator, owner)
        if estimator is None:
            return bound

        @functools.wraps(bound)
        def called(*args: Any, **options: Any) -> Any:
            if inside.is_set():
                return bound(*args, **options)
            inside.set()
            try:
                answers = bound(*args, **options)
                watch(estimator, self.name, args, options, answers)
            finally:
                inside.clear()
            return answers

        return called


def watch(estimator: Any, method: str, args: Any, options: Any, theirs: Any) -> None:
    """Ask for the same answers, and note whether they are."""
    reason = "" if len(args) == 1 and not options else "called with more than rows"
    rows = args[0] if args else None
    if method == "transform" and getattr(estimator, "flatten_transform", True) is False:
        reason = "with flatten_transform=False members, and not rows, are along the first axis"
    if not reason and not ((hasattr(rows, "__len__") and np.ndim(rows)) or hasattr(rows, "toarray")):
        reason = f"a {type(rows).__name__} is no rows"
    for way in (from_sklearn, model):
        kind, said = ("not applicable", reason) if reason else compared(way, estimator, method, rows, theirs)
        tally.append(
            {
                "kind": kind,
                "said": said,
                "way": way.__name__,
                "estimator": type(estimator).__name__,
                "method": method,
                "test": os.environ.get("PYTEST_CURRENT_TEST", "").rpartition("/")[2].partition(" ")[0],
            }
        )


def compared(way: Any, estimator: Any, method: str, rows: Any, theirs: Any) -> tuple[str, str]:
    async def asked() -> list[Any]:
        async with Client(way(estimator, name="m", output=OUTPUTS[method])) as client:
            return await client.predict_many(rows)

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ours = asyncio.run(asked())
    except Exception as error:
        return "error", f"{type(error).__name__}: {error}"
    same, said = equal(ours, theirs)
    return ("equal" if same else "otherwise"), said


def equal(ours: Any, theirs: Any) -> tuple[bool, str]:
    if isinstance(theirs, list) and theirs and isinstance(theirs[0], np.ndarray):  # probabilities of several targets
        theirs = np.swapaxes(np.asarray(theirs), 0, 1)
    if hasattr(theirs, "to_dict") and hasattr(theirs, "columns"):
        if not all(isinstance(each, dict) and list(each) == list(map(str, theirs.columns)) for each in ours):
            return False, f"{ours[:2]} for a frame of {list(theirs.columns)}"
        ours, theirs = [list(each.values()) for each in ours], theirs.to_numpy()
    theirs = theirs.toarray() if hasattr(theirs, "toarray") else np.asarray(theirs)
    if len(ours) != len(theirs):
        return False, f"{len(ours)} answers to {len(theirs)} rows"
    if not len(theirs):
        return True, ""
    mine = np.asarray(ours, dtype=object if theirs.dtype == object else None)
    theirs = theirs.ravel() if theirs.ndim == 2 and theirs.shape[1] == 1 and mine.ndim == 1 else theirs
    if mine.shape != theirs.shape:
        return False, f"shape {mine.shape} for {theirs.shape}"
    if theirs.dtype.kind in "fc":
        close = np.allclose(mine.astype(theirs.dtype), theirs, rtol=1e-9, atol=1e-12, equal_nan=True)
    else:
        pairs = zip(mine.ravel().tolist(), theirs.ravel().tolist(), strict=True)
        close = all(is_missing(b) if is_missing(a) else a == b for a, b in pairs)
    return close, "" if close else f"{ours[:2]} for {theirs[:2].tolist()}"


def is_missing(value: Any) -> bool:
    return value is None or type(value).__name__ == "NAType" or bool(value != value)


def pytest_configure(config: Any) -> None:
    for kind in WATCHED:
        for name in OUTPUTS:
            if name in vars(kind):
                setattr(kind, name, Watched(vars(kind)[name], name))


def pytest_unconfigure(config: Any) -> None:
    with Path(os.environ["STRETTO_TALLY"]).open("a") as file:
        file.writelines(f"{json.dumps(each)}\n" for each in tally)
