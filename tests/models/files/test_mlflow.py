"""Folders that MLflow saved a model in: read with the same rules of trust, and as MLflow means them."""

import json
import os
import pickle
import sys
import warnings

import lightgbm
import numpy as np
import pandas as pd
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
from stretto.models.signature import Column, Signature

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # it is read as MLflow is imported
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MLflow warns of its own type hints
    import mlflow.lightgbm
    import mlflow.pyfunc
    from mlflow.models import Model, ModelSignature, infer_signature
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


TYPES = pd.DataFrame({
    "city": ["bonn", "ulm"] * 5,
    "rooms": range(10),
    "small": np.arange(10, dtype=np.int32),
    "lift": [True, False] * 5,
    "share": np.arange(10, dtype=np.float32) * np.float32(0.1),
    "gap": [1.0, None] * 5,
    "when": pd.date_range("2024-01-01", periods=10),
    "area": np.arange(10) * 0.5,
    "bytes": [b"a", b"b"] * 5,
})  # fmt: skip


class Shows(mlflow.pyfunc.PythonModel):
    """Answers with its values as text."""

    def predict(self, context, model_input, params=None):
        return [" ".join(map(repr, row)) for row in model_input.itertuples(index=False)]


def inferred(*data):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow warns of integers
        return infer_signature(*data)


def quietly(save, *args, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow wants an example of the input
        save(*args, pip_requirements=["mlflow-skinny"], **options)


def test_a_signature_is_read_with_its_types(tmp_path):
    quietly(mlflow.pyfunc.save_model, tmp_path / "m", python_model=Shows(), signature=inferred(TYPES))
    found = load_model(tmp_path / "m", trusted=True).signature
    assert found.form == "frame"
    assert [(each.name, each.dtype, each.holds) for each in found.columns] == [
        ("city", "object", ("str",)), ("rooms", "int64", ()), ("small", "int32", ()), ("lift", "bool", ()),
        ("share", "float32", ()), ("gap", "float64", ()), ("when", "datetime64[ns]", ()), ("area", "float64", ()),
        ("bytes", "object", ("bytes",)),
    ]  # fmt: skip
    assert [each.name for each in found.columns if each.missing] == ["gap"]


def test_columns_of_every_type_reach_a_model_that_mlflow_runs(tmp_path):
    quietly(mlflow.pyfunc.save_model, tmp_path / "m", python_model=Shows(), signature=inferred(TYPES))
    right = mlflow.pyfunc.load_model(str(tmp_path / "m")).predict(TYPES)
    model = load_model(tmp_path / "m", trusted=True).estimator
    mixed = TYPES[TYPES.columns[::-1]].assign(more=1)
    objects = {name: np.array(TYPES[name].tolist(), dtype=object) for name in TYPES}
    for rows in (TYPES, mixed, objects, pickle.loads(pickle.dumps(TYPES))):
        assert model.predict(rows).tolist() == right
    assert pickle.loads(pickle.dumps(model)).predict(TYPES).tolist() == right


def test_an_array_of_floats_reaches_it_as_the_types_of_its_columns(tmp_path):
    numbers = TYPES[["rooms", "small", "lift", "share", "gap"]]
    quietly(mlflow.pyfunc.save_model, tmp_path / "m", python_model=Shows(), signature=inferred(numbers))
    right = mlflow.pyfunc.load_model(str(tmp_path / "m")).predict(numbers)
    model = load_model(tmp_path / "m", trusted=True).estimator
    assert model.predict(numbers.to_numpy(dtype=np.float64)).tolist() == right


@pytest.mark.parametrize("value", [1.5, np.nan, 1e30])
def test_a_number_that_is_no_integer_is_not_made_one(tmp_path, value):
    rooms = TYPES[["rooms"]]
    quietly(mlflow.pyfunc.save_model, tmp_path / "m", python_model=Shows(), signature=inferred(rooms))
    model = load_model(tmp_path / "m", trusted=True).estimator
    with pytest.raises(mlflow.MlflowException, match=r"Incompatible input types|rooms"):
        model.predict(np.array([[value]]))


def test_a_tensor_is_an_array_of_its_type(tmp_path):
    class Sum(mlflow.pyfunc.PythonModel):
        def predict(self, context, model_input, params=None):
            return model_input.sum(axis=1)

    single = X.astype(np.float32)
    quietly(mlflow.pyfunc.save_model, tmp_path / "m", python_model=Sum(), signature=inferred(single))
    saved = load_model(tmp_path / "m", trusted=True)
    assert saved.signature == Signature((Column(None, "float32"),) * 4)
    assert np.array_equal(saved.estimator.predict(single.astype(np.float64)), single.sum(axis=1))


async def test_a_booster_of_any_flavour_takes_its_integers(tmp_path):
    rooms, lift = TYPES[["rooms"]], TYPES["lift"]
    booster = lightgbm.LGBMClassifier(n_estimators=2, min_child_samples=1, verbose=-1).fit(rooms, lift)
    quietly(mlflow.lightgbm.save_model, booster, tmp_path / "m", signature=inferred(rooms, lift))
    async with Client(model(tmp_path / "m", trusted=True)) as client:
        assert await client.predict_many([{"rooms": 3}, {"rooms": 4}]) == booster.predict(rooms[3:5]).tolist()


@pytest.mark.parametrize(
    ("inputs", "signature"),
    [
        ([{"type": "double"}, {"type": "double"}], Signature((Column(None, "float64"),) * 2)),
        ([{"type": "string"}], Signature((Column(None, "object", ("str",)),), "values")),
        ([{"type": "array", "items": {"type": "long"}, "name": "a"}], Signature((Column("a", "object"),), "frame")),
        ([{"type": "long", "name": "a", "required": False}], Signature((Column("a", "int64", missing=True),), "frame")),
        ([{"type": "long", "name": "a", "optional": True}], Signature((Column("a", "int64", missing=True),), "frame")),
        (
            [{"type": "tensor", "tensor-spec": {"dtype": "int8", "shape": [-1]}}],
            Signature((Column(None, "int8"),), "values"),
        ),
        (
            [{"type": "tensor", "tensor-spec": {"dtype": "int8", "shape": [-1, 1]}, "name": "a"}],
            Signature((Column("a", "int8"),), "frame"),
        ),
        ([{"type": "tensor", "tensor-spec": {"dtype": "int8", "shape": [-1, 28, 28]}}], None),
        ([{"type": "tensor", "tensor-spec": {"dtype": "int8", "shape": [-1, -1]}}], None),
        ([], None),
    ],
)
def test_a_signature_is_read_as_what_it_says(tmp_path, inputs, signature):
    folder = of_sklearn(tmp_path / "m", names=None)
    skops.io.dump(fitted, folder / "model.skops")
    described = yaml.safe_load((folder / "MLmodel").read_text()) | {"signature": {"inputs": json.dumps(inputs)}}
    (folder / "MLmodel").write_text(yaml.safe_dump(described))
    assert load_model(folder).signature == signature


def test_the_columns_of_a_signature_come_in_the_order_that_the_estimator_was_fitted_in(tmp_path):
    folder = of_sklearn(tmp_path / "m", names=NAMES[::-1])
    skops.io.dump(LogisticRegression(max_iter=500).fit(pd.DataFrame(X, columns=NAMES), y), folder / "model.skops")
    assert load_model(folder).signature.names == tuple(NAMES)
    folder = of_sklearn(tmp_path / "other", names=["e", "f", "g", "h"])
    skops.io.dump(LogisticRegression(max_iter=500).fit(pd.DataFrame(X, columns=NAMES), y), folder / "model.skops")
    assert load_model(folder).signature is None


def test_a_signature_is_written_as_mlflow_infers_it():
    assert Signature.of(TYPES).to_mlflow().inputs == inferred(TYPES).inputs
    assert Signature.of(X).to_mlflow().inputs == inferred(X).inputs
    more = pd.DataFrame(
        {"c": pd.Categorical(["a", "b"]), "i": pd.Categorical([1, 2]), "n": pd.array([1, None], "Int64")}
    )
    assert (
        str(Signature.of(more).to_mlflow().inputs)
        == "['c': string (required), 'i': long (required), 'n': long (optional)]"
    )
    assert str(Signature.of(["a text"]).to_mlflow().inputs) == "[string (required)]"
    with pytest.raises(ModelError, match="MLflow has no type for the column a: timedelta64"):
        Signature.of(pd.DataFrame({"a": pd.to_timedelta([1])})).to_mlflow()


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
