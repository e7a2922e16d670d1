"""Row i: many rows in one call, next to the estimators alone."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Any

import numpy as np
from sklearn.datasets import load_iris
from sklearn.ensemble import VotingClassifier
from sklearn.preprocessing import LabelEncoder

from stretto import Client, model
from stretto_composers import vote
from tests.benchmarks.compared import OURS, SPEED, Compared, Line, at_least
from tests.benchmarks.programs.ensemble import ensemble
from tests.benchmarks.programs.iris import FEATURES, LABELS, fit
from tests.benchmarks.rounds import Contender, Figures, alternate
from tests.benchmarks.settings import Settings

ROWS = 100_000


async def measure(settings: Settings) -> AsyncGenerator[Compared]:
    """Return row i: the two estimators' own predict, and the VotingClassifier of the same members."""
    table = flowers(settings.of(ROWS))
    yield await _estimators(settings, table)
    yield await _voting(settings, table)


def flowers(count: int) -> np.ndarray:
    """Return an array of shape (count, 4) of measurements like those of iris."""
    rng = np.random.default_rng(0)
    data = load_iris().data
    return data[rng.integers(len(data), size=count)] + rng.normal(scale=0.1, size=(count, data.shape[1]))


async def _estimators(settings: Settings, table: np.ndarray) -> Compared:
    logistic, svm = fit()

    async def estimators() -> Any:
        return logistic.predict(table), svm.predict(table)

    line = Line("i", f"predict_many, {len(table):,} rows", 1)
    settings.say(f"i: {line.what}")
    async with Client(ensemble()) as client:
        ours, theirs = await client.predict_many(table), await estimators()
        _agree(ours, [{"logistic": LABELS[a], "svm": LABELS[b]} for a, b in zip(*theirs, strict=True)])
        contenders = [timed(OURS, lambda: client.predict_many(table)), timed("the estimators", estimators)]
        return line.compare(await alternate(contenders, settings.rounds), SPEED, "the estimators", at_least(0.9))


async def _voting(settings: Settings, table: np.ndarray) -> Compared:
    members = dict(zip(("logistic", "svm"), fit(), strict=True))
    voting = voting_classifier(members)

    async def predict() -> Any:
        return voting.predict(table)

    line = Line("i", f"predict_many of vote, {len(table):,} rows", 1)
    settings.say(f"i: {line.what}")
    parts = [model(each, name=name, features=FEATURES, labels=LABELS) for name, each in members.items()]
    async with Client(vote(*parts)) as client:
        _agree(await client.predict_many(table), (await predict()).tolist())
        contenders = [timed(OURS, lambda: client.predict_many(table)), timed("VotingClassifier", predict)]
        return line.compare(await alternate(contenders, settings.rounds), SPEED, "VotingClassifier", at_least(1))


def voting_classifier(members: dict[str, Any]) -> VotingClassifier:
    """Return the VotingClassifier of members that are fitted already, which scikit-learn has no call for."""
    voting = VotingClassifier(list(members.items()))
    voting.estimators_ = list(members.values())
    voting.le_ = LabelEncoder().fit(LABELS)
    voting.classes_ = voting.le_.classes_
    return voting


def timed(name: str, call: Callable[[], Awaitable[Any]]) -> Contender:
    """Return a contender: the time that one call takes."""

    async def run() -> Figures:
        start = time.perf_counter()
        await call()
        return {"seconds": time.perf_counter() - start}

    return Contender(name, run)


def _agree(ours: Sequence[Any], theirs: Sequence[Any]) -> None:
    if list(ours) != list(theirs):
        at = next(i for i, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b)
        raise RuntimeError(f"they differ at row {at}: {ours[at]!r} and {theirs[at]!r}")
