"""What travels between processes: files that have not changed, batches, and arrays that can be written to."""

from __future__ import annotations

import os
import threading
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from stretto import Pipeline, model, save_model
from stretto.batch.batch import Batch
from stretto.compiler import compile_plan
from stretto.errors import InputError, StepError
from stretto.serve import pickling
from stretto.serve.deployments import StageReplica
from stretto.serve.pickling import pack_batch, pickle_plan, reachable, sendable, unpack_batch

X, y = load_iris(return_X_y=True)
FLAVOR = """flavors:
  sklearn: {pickled_model: model.skops, serialization_format: skops, sklearn_version: 1.6.0}
"""


@pytest.fixture
def one_node(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Ray of this machine alone."""
    monkeypatch.setattr(pickling, "connected", lambda: True)
    monkeypatch.setattr(pickling.ray, "nodes", list)


@pytest.mark.usefixtures("one_node")
@pytest.mark.filterwarnings("ignore:.*was saved by")
def test_a_folder_that_changed_is_not_sent_as_its_path(tmp_path):
    (tmp_path / "MLmodel").write_text(FLAVOR)
    path = save_model(LogisticRegression(max_iter=1000).fit(X, y), tmp_path / "model.skops")
    plan = model(tmp_path, trusted=True).plan()
    assert reachable(plan) == {str(tmp_path)}
    os.utime(path, ns=(1, 1))
    assert reachable(plan) == frozenset()


@pytest.mark.usefixtures("one_node")
def test_a_file_that_changed_or_went_is_not_sent_as_its_path(tmp_path):
    path = save_model(LogisticRegression(max_iter=1000).fit(X, y), tmp_path / "iris.skops")
    plan = model(path).plan()
    assert reachable(plan) == {str(path)}
    os.utime(path, ns=(1, 1))
    assert reachable(plan) == frozenset()
    path.unlink()
    assert reachable(plan) == frozenset()


def test_rows_that_are_arrays_of_one_shape_travel_as_one():
    rows = [np.ones(3), np.zeros(3)]
    batch = unpack_batch(pack_batch(Batch.of(rows, request=True)))
    assert isinstance(batch.values, np.ndarray)
    assert batch.from_request(0)
    assert all(np.array_equal(a, b) for a, b in zip(batch.rows(), rows, strict=True))


@pytest.mark.parametrize("rows", [[], [1, 2], [np.ones(2), np.ones(3)], [np.ones(2), 1], [np.float64(1)]])
def test_other_rows_travel_as_they_are(rows):
    batch = unpack_batch(pack_batch(Batch.of(rows)))
    assert isinstance(batch.values, list)
    assert not batch.request
    assert repr(batch.values) == repr(rows)


@pytest.mark.parametrize("values", [[1, None, 3], np.arange(3), {"a": Batch([1, 2, 3], 3)}])
def test_a_batch_arrives_with_its_errors(values):
    sent = Batch(values, 3, {1: InputError("no")}, request=True)
    arrived = unpack_batch(pack_batch(sent))
    assert list(map(repr, arrived.outcomes())) == list(map(repr, sent.outcomes()))
    assert arrived.request


def test_arrays_can_be_written_to_where_they_arrive():
    mine = np.ones(3)
    arrived = unpack_batch(pack_batch(Batch({"a": Batch(mine, 3), "b": Batch([mine, 1, 2], 3)}, 3)))
    arrived.values["a"].values[0] = 7
    arrived.values["b"].values[0][0] = 7
    assert mine.tolist() == [1, 1, 1]


@pytest.mark.parametrize("request_", [True, False])
def test_a_value_that_can_not_be_pickled_fails_alone(request_):
    """The caller's own is a bad input, and one that a step made is the failure of a step."""
    batch = Batch([1, threading.Lock(), 3], 3, request=request_)
    rest, rows, errors = sendable(batch, "svm")
    assert (rest.values, rows) == ([1, 3], [0, 2])
    assert {i: type(error) for i, error in errors.items()} == {1: InputError if request_ else StepError}


async def test_an_answer_that_can_not_be_pickled_fails_alone():
    def lock(x: int) -> Any:
        return threading.Lock() if x == 13 else x

    replica = StageReplica(pickle_plan(compile_plan(Pipeline(lock).plan())), "lock")
    content, _ = await replica.run(pack_batch(Batch.of([1, 13, 2])), None, False, "", None)
    first, second, third = unpack_batch(content).outcomes()
    assert (first, third) == (1, 2)
    assert isinstance(second, StepError)
    assert "pickle" in second.detail
