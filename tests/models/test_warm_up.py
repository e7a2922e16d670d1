"""Ready means that the models answered a row; one that fails on any row is reported with its reason."""

from __future__ import annotations

from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from stretto import Client, asgi, deploy, model, parallel, step
from stretto.errors import DeployError

X = pd.DataFrame({"a": [0.0, 1.0, 2.0, 3.0], "b": [1.0, 0.0, 1.0, 0.0]})
Y = [0, 0, 1, 1]


class Broken(LogisticRegression):
    """Loads, and fails on every row, as an estimator that was pickled under another version does."""

    def predict(self, X: Any) -> Any:
        return self.attribute_of_another_version


class Counting(LogisticRegression):
    """Counts the rows that it was asked for."""

    rows = 0

    def predict(self, X: Any) -> Any:
        type(self).rows += len(X)
        return super().predict(X)


async def test_ready_means_that_the_models_answered_a_row_once() -> None:
    Counting.rows = 0
    async with Client(parallel(model(Counting().fit(X, Y), name="a"), step(len, name="b"))) as client:
        assert await client.ready()
        assert await client.ready()
    assert Counting.rows == 1


async def test_what_fails_on_every_row_is_not_ready_and_says_why(caplog: pytest.LogCaptureFixture) -> None:
    broken = model(Broken().fit(X, Y), name="old")
    async with Client(broken) as client:
        assert not await client.ready()
    assert "model 'old': it fails on every row: AttributeError: " in caplog.text
    async with httpx.AsyncClient(transport=httpx.ASGITransport(asgi(broken)), base_url="http://test") as http:
        reply = await http.get("/health/ready")
        assert reply.status_code == 503
        assert reply.json()["status"] == "not ready"
        assert "model 'old': it fails on every row: AttributeError: " in reply.json()["reason"]


async def test_a_model_may_refuse_the_values_of_a_made_up_row() -> None:
    class Strict(LogisticRegression):
        def predict(self, X: Any) -> Any:
            raise ValueError("no such values")

    texts = pd.DataFrame({"kind": ["x", "y", "x", "y"]})
    encoded = make_pipeline(OneHotEncoder(), LogisticRegression()).fit(texts, Y)
    for each in (Strict().fit(X, Y), encoded):
        async with Client(model(each, name="strict")) as client:
            assert await client.ready()


async def test_functions_are_not_asked() -> None:
    asked: list[Any] = []
    async with Client(step(asked.append, name="mine")) as client:
        assert await client.ready()
    assert asked == []


async def test_deploy_says_why_a_model_can_not_answer(ray_cluster: None) -> None:
    broken = Broken().fit(np.zeros((4, 2)), Y)
    broken.__class__.__module__ = "__main__"  # pickled by value: replicas do not have this file
    with pytest.raises(DeployError, match=r"model 'old': it fails on every row: AttributeError: .*another_version"):
        await deploy(model(broken, name="old"), name="old", route="/old")
