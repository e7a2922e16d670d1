"""Row m: a data frame of numbers, flags, categories and texts, next to the estimator itself."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from stretto import Client, model
from tests.benchmarks.compared import LATENCY, OURS, SPEED, Compared, Line, at_least
from tests.benchmarks.load import in_loop
from tests.benchmarks.rounds import alternate
from tests.benchmarks.rows.many_rows import ROWS, timed
from tests.benchmarks.settings import Settings

OWN = "the estimator"
FITTED = 5_000


async def measure(settings: Settings) -> AsyncGenerator[Compared]:
    """Return row m: one row as a dict, next to a frame of one row that is made by hand, and a frame of many."""
    frame = houses(settings.of(ROWS))
    numbers = [name for name in frame if frame[name].dtype.kind in "fib"]
    columns = ColumnTransformer(
        [
            ("numbers", StandardScaler(), numbers),
            ("names", OneHotEncoder(handle_unknown="ignore"), [name for name in frame if name not in numbers]),
        ]
    )
    fitted = houses(FITTED)
    estimator = make_pipeline(columns, LogisticRegression(max_iter=300)).fit(fitted, fitted["number 0"] > 0)
    async with Client(model(estimator, features=fitted)) as client:
        if list(await client.predict_many(frame)) != estimator.predict(frame).tolist():
            raise RuntimeError("they differ")
        yield await _one(settings, client, estimator, frame)

        async def own() -> Any:
            return estimator.predict(frame)

        line = Line("m", f"predict_many, {len(frame):,} mixed rows", 1)
        settings.say(f"m: {line.what}")
        contenders = [timed(OURS, lambda: client.predict_many(frame)), timed(OWN, own)]
        yield line.compare(await alternate(contenders, settings.rounds), SPEED, OWN, at_least(0.95))


async def _one(settings: Settings, client: Client[Any, Any], estimator: Any, frame: pd.DataFrame) -> Compared:
    row: dict[str, Any] = frame.iloc[0].to_dict()
    types = frame.dtypes.to_dict()

    async def own() -> Any:
        return estimator.predict(pd.DataFrame({name: pd.Series([row[name]], dtype=types[name]) for name in row}))

    line = Line("m", "a mixed row as a dict, in process", 1)
    settings.say(f"m: {line.what}")
    programs = [in_loop(OURS, lambda: client.predict(row)), in_loop(OWN, own)]
    figures = await alternate([each.asked_by(1, settings.seconds) for each in programs], settings.rounds)
    return line.compare(figures, LATENCY, OWN, at_least(1 / 1.3))


def houses(count: int) -> pd.DataFrame:
    """Return a frame of 20 columns: 6 of floats, 4 of integers, 2 of flags, 4 of categories and 4 of texts."""
    rng = np.random.default_rng(0)
    kinds, colours = np.array(list("abcdefgh")), np.array(["red", "green", "blue", "grey"], dtype=object)
    return pd.DataFrame(
        {
            **{f"number {i}": rng.normal(size=count) for i in range(6)},
            **{f"count {i}": rng.integers(0, 1_000, count) for i in range(4)},
            **{f"flag {i}": rng.random(count) < 0.5 for i in range(2)},
            **{f"kind {i}": pd.Categorical(rng.choice(kinds, count), categories=kinds) for i in range(4)},
            **{f"colour {i}": rng.choice(colours, count) for i in range(4)},
        }
    )
