"""By handle any size gets through that Ray's object store takes, of rows and of answers."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
from grpc import RpcError

from stretto import Client, Pipeline, deploy, step
from stretto.batch.batch import Batch
from stretto.engine.context import Context
from stretto.errors import ConnectionFailed
from stretto.serve import replicas
from stretto.serve.calls import translated
from stretto.serve.pickling import pack_batch, unpack_batch
from stretto.serve.replicas import Replicas

pytestmark = pytest.mark.asyncio(loop_scope="session")

MB = 1_000_000


def size(x: Any) -> int:
    return len(x["photo"])


def first(row: Any) -> float:
    return float(row[0])


def ended(text: str) -> str:
    return text + "z"


def long(n: int) -> str:
    return "y" * n


def photo(megabytes: float) -> dict[str, bytes]:
    return {"photo": b"x" * int(megabytes * MB)}


async def test_large_rows_get_through_alone_and_together(ray_cluster: None) -> None:
    async with deploy(size, name="photo") as client:
        assert await client.predict(photo(9)) == 9 * MB
        assert await asyncio.gather(*(client.predict(photo(0.7)) for _ in range(8))) == [700_000] * 8
        assert await client.predict_many([photo(0.7), photo(6), photo(0)]) == [700_000, 6 * MB, 0]
        async with Client(client.url) as http:
            assert await http.predict(photo(9)) == 9 * MB


async def test_an_array_of_many_rows_gets_through(ray_cluster: None) -> None:
    async with deploy(first, name="wide") as client:
        table = np.arange(800_000.0).reshape(8000, 100)
        assert await client.predict_many(table) == [float(first) for first in table[:, 0]]


async def test_large_answers_get_through_of_the_ingress_and_of_stages(ray_cluster: None) -> None:
    split = Pipeline(step(long, num_replicas=1)) >> ended
    for pipeline, end in ((Pipeline(long), ""), (split, "z")):
        async with deploy(pipeline, name="long") as client:
            for n in (6 * MB, 3, 7 * MB, 2 * MB):
                assert await client.predict(n) == "y" * n + end
            answers = await client.predict_many([5 * MB, 1, 5 * MB])
            assert [len(each) - len(end) for each in answers] == [5 * MB, 1, 5 * MB]


class Handle:
    """A handle that answers rows of bytes with their lengths, and records the sizes of its calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, bool]] = []
        self.reference = False

    def options(self, *, _by_reference: bool, **_: Any) -> Handle:
        twin = Handle()
        twin.calls, twin.reference = self.calls, _by_reference
        return twin

    def remote(self, content: bytes, *_: Any) -> Any:
        self.calls.append((len(content), self.reference))
        lengths = [len(row) for row in unpack_batch(content).rows()]

        async def answer() -> Any:
            return pack_batch(Batch.of(lengths)), []

        return answer()


async def test_a_batch_is_cut_by_bytes_and_only_what_is_large_goes_by_reference(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(replicas, "CALL_BYTES", 100_000)
    monkeypatch.setattr(replicas, "VALUE_BYTES", 30_000)
    handle = Handle()
    way = Replicas(handle, "photo", "photo", None)
    rows = [b"x" * 1000] * 120 + [b"x" * 250_000] + [b"x" * 20_000]
    outcomes = await way.outcomes(Batch.of(rows), Context())
    assert outcomes.outcomes() == [len(row) for row in rows]
    assert all(length < 100_000 or length > 250_000 for length, _ in handle.calls)
    assert all(reference == (length > 30_000) for length, reference in handle.calls)
    assert len(handle.calls) > 2


async def test_an_error_of_the_way_to_a_replica_blames_no_step() -> None:
    error = translated(RpcError("RESOURCE_EXHAUSTED"), "photo")
    assert isinstance(error, ConnectionFailed)
