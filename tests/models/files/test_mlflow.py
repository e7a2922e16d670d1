"""Folders that MLflow saved a model in: read with the same rules of trust, and as MLflow means them."""

import os
import pickle
import sys
import warnings

import numpy as np
import pytest
import skl2onnx
import skops.io
import yaml
from skl2onnx.common.data_types import FloatTensorType
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from stretto import Client, load_model, model
from stretto.errors import ModelError
from stretto.models import model_step

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # it is read as MLflow is imported
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MLflow warns of its own type hints
    import mlflow.pyfunc
    from mlflow.models import Model, ModelSignature
    from mlflow.types import ColSpec, DataType, Schema

    class Sums(mlflow.pyfunc.PythonModel):
        """What only MLflow can run."""

        def predict(self, context, model_input, params=None):
            return model_input["a"] + model_input["d"]


X, y = load_iris(return_X_y=True)
fitted = LogisticRegression(max_iter=1000).fit(X, y)
NAMES = ["a", "b", "c", "d"]


class Bomb:
    """Runs code when it is unpickled."""

    went_off = False

    def __reduce__(self):
        return setattr, (Bomb, "went_off", True)


def described(folder, flavor, said, *, names=NAMES):
    """Write what MLflow writes, by MLflow's own description of a model."""
    folder.mkdir()
    signature = ModelSignature(Schema([ColSpec(DataType.double, name) for name in names])) if names else None
    about = Model(signature=signature)
    about.add_flavor(flavor, **said)
    about.save(str(folder / "MLmodel"))
    return folder


def of_sklearn(folder, name="model.skops", **options):
    said = {"pickled_model": name, "serialization_format": name.partition(".")[2], "sklearn_version": "1.9.1"}
    return described(folder, "sklearn", said, **options)


async def test_a_folder_is_a_model_with_the_names_of_its_signature(tmp_path):
    skops.io.dump(fitted, of_sklearn(tmp_path / "iris") / "model.skops")
    flowers = model(tmp_path / "iris", labels=["x", "y", "z"])
    assert flowers.label == "iris"
    async with Client(flowers) as client:
        assert await client.predict(dict(zip("dcba", X[0, ::-1].tolist(), strict=True))) == "x"


@pytest.mark.parametrize("trusted", [False, ["builtins.setattr"]])
def test_a_pickle_in_a_folder_runs_nothing_unless_it_is_trusted(tmp_path, trusted):
    (of_sklearn(tmp_path / "iris", "model.pkl") / "model.pkl").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ModelError, match=r"model\.pkl is a pickle.*pass trusted=True"):
        model(tmp_path / "iris", trusted=trusted)
    assert not Bomb.went_off


def test_a_trusted_pickle_in_a_folder_is_read(tmp_path):
    (of_sklearn(tmp_path / "iris", "model.pkl", names=None) / "model.pkl").write_bytes(pickle.dumps(fitted))
    saved = load_model(tmp_path / "iris", trusted=True)
    assert saved.features is None
    assert np.array_equal(saved.estimator.predict(X), fitted.predict(X))


def test_an_onnx_model_in_a_folder_is_read(tmp_path):
    folder = described(tmp_path / "iris", "onnx", {"data": "model.onnx", "onnx_version": "1.18"})
    graph = skl2onnx.convert_sklearn(fitted, initial_types=[("rows", FloatTensorType([None, 4]))], target_opset=18)
    (folder / "model.onnx").write_bytes(graph.SerializeToString())
    assert model_step(folder).fn(X).tolist() == fitted.predict(X).tolist()
    assert model_step(folder).features == tuple(NAMES)


def test_what_only_mlflow_runs_it_runs_where_it_is_trusted(tmp_path):
    folder = tmp_path / "sums"
    signature = ModelSignature(Schema([ColSpec(DataType.double, name) for name in NAMES]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow wants an example of the input
        mlflow.pyfunc.save_model(folder, python_model=Sums(), signature=signature, pip_requirements=["mlflow-skinny"])
    with pytest.raises(ModelError, match="python_function, which can run any code"):
        model(folder)
    fn = model_step(folder, trusted=True).fn
    assert np.allclose(fn(X), X[:, 0] + X[:, 3])
    assert np.allclose(pickle.loads(pickle.dumps(fn))(X[:2]), X[:2, 0] + X[:2, 3])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "it is no description of a model"),
        ("flavors: [", "it is no description of a model"),
        ("flavors: {}", "has the flavors"),
        ("flavors: {keras: {data: x}}", "has the flavors keras; those read here are sklearn, onnx"),
        ("flavors: {sklearn: {pickled_model: ../secret.skops}}", "which is outside the folder"),
        ("flavors: {sklearn: {pickled_model: gone.skops}}", "there is no model file"),
    ],
)
def test_a_folder_that_is_no_model_is_refused(tmp_path, text, says):
    (tmp_path / "MLmodel").write_text(text)
    with pytest.raises(ModelError, match=says):
        load_model(tmp_path)


def test_a_folder_is_read_without_mlflow(tmp_path, monkeypatch):
    skops.io.dump(fitted, of_sklearn(tmp_path / "iris") / "model.skops")
    monkeypatch.setitem(sys.modules, "mlflow", None)
    assert yaml.safe_load((tmp_path / "iris" / "MLmodel").read_text())["flavors"]
    assert load_model(tmp_path / "iris").features == tuple(NAMES)


def test_without_the_extra_the_error_names_it(tmp_path, monkeypatch):
    described(tmp_path / "odd", "python_function", {"loader_module": "x"})
    monkeypatch.setitem(sys.modules, "mlflow.pyfunc", None)
    with pytest.raises(ModelError, match=r"pip install 'stretto\[mlflow\]'"):
        load_model(tmp_path / "odd", trusted=True)
