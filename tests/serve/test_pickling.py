"""What travels between processes: files that have not changed, batches, and arrays that can be written to."""

from __future__ import annotations

import os
import pickle

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from stretto import model, save_model
from stretto.batch.batch import Batch
from stretto.errors import InputError
from stretto.serve import pickling
from stretto.serve.pickling import pack_batch, reachable, unpack_batch, writable

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
    wire = pack_batch(Batch.of(rows, request=True))
    assert isinstance(wire, tuple)
    assert isinstance(wire[0], np.ndarray)
    batch = unpack_batch(wire)
    assert batch.from_request(0)
    assert all(np.array_equal(a, b) for a, b in zip(batch.rows(), rows, strict=True))


@pytest.mark.parametrize("rows", [[], [1, 2], [np.ones(2), np.ones(3)], [np.ones(2), 1], [np.float64(1)]])
def test_other_rows_travel_as_they_are(rows):
    assert pack_batch(Batch.of(rows)) == (rows, False)


@pytest.mark.parametrize("values", [[1, None, 3], np.arange(3), {"a": Batch([1, 2, 3], 3)}])
def test_a_batch_arrives_with_its_errors(values):
    sent = Batch(values, 3, {1: InputError("no")}, request=True)
    arrived = unpack_batch(pickle.loads(pickle.dumps(pack_batch(sent))))
    assert list(map(repr, arrived.outcomes())) == list(map(repr, sent.outcomes()))
    assert arrived.request


def test_arrays_that_ray_shares_can_be_written_to():
    shared = np.ones(3)
    shared.flags.writeable = False
    columns = Batch({"a": Batch(shared, 3), "b": Batch([shared, 1, 2], 3)}, 3)
    copy = writable(columns)
    copy.values["a"].values[0] = 7
    copy.values["b"].values[0][0] = 7
    assert shared.tolist() == [1, 1, 1]
    assert writable(mine := np.ones(2)) is mine
