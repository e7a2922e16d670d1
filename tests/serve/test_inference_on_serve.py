"""Triton's client gets the answers of a deployed pipeline, through Serve's proxy and from the replicas themselves."""

from __future__ import annotations

import anyio.to_thread
import numpy as np
import pytest
import tritonclient.http
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from stretto import deploy, model

pytestmark = pytest.mark.usefixtures("ray_cluster")

X, y = load_iris(return_X_y=True)
LABELS = ["setosa", "versicolor", "virginica"]


def asked(url: str) -> list[list[str]]:
    """Return the labels by Triton's client, with data as JSON and as bytes each way."""
    found: list[list[str]] = []
    with tritonclient.http.InferenceServerClient(url.removeprefix("http://")) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("v2-iris")
        assert client.get_model_metadata("v2-iris")["inputs"] == [
            {"name": "input", "datatype": "FP64", "shape": [-1, 4]}
        ]
        for binary_in in (False, True):
            for binary_out in (False, True):
                rows = tritonclient.http.InferInput("any", list(X.shape), "FP64")
                rows.set_data_from_numpy(X, binary_data=binary_in)
                output = tritonclient.http.InferRequestedOutput("output", binary_data=binary_out)
                labels = client.infer("v2-iris", [rows], outputs=[output]).as_numpy("output")
                found.append([each.decode() if isinstance(each, bytes) else each for each in labels.tolist()])
    return found


async def test_by_the_proxy_and_directly_at_the_route_and_at_the_root() -> None:
    pipeline = model(LogisticRegression(max_iter=500).fit(X, y), labels=LABELS)
    async with deploy(pipeline, name="v2-iris", direct=True) as client:
        answers = await client.predict_many(np.asarray(X))
        root = client.direct_url.removesuffix("/v2-iris")
        for url in (client.url, client.direct_url, root):
            assert await anyio.to_thread.run_sync(asked, url) == [answers] * 4
