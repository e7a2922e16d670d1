"""MLflow's registry: a model by its URI, read under the rules of its folder."""

import logging
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB

from stretto import Client, load_model, model
from stretto.errors import ModelError
from stretto.models import model_step
from stretto.models.files.registry import is_uri, model_name

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # it is read as MLflow is imported
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MLflow warns of its own type hints
    import mlflow.sklearn

X, y = load_iris(return_X_y=True, as_frame=True)


@pytest.fixture
def registry(tmp_path, monkeypatch):
    """Return a function that registers an estimator as iris, and gives its run and version."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setattr(logging.getLogger("mlflow"), "disabled", True)
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri((tmp_path / "mlruns").as_uri())

    def register(estimator):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of files as a store
            with mlflow.start_run() as run:
                info = mlflow.sklearn.log_model(
                    estimator, name="model", registered_model_name="iris", pip_requirements=["scikit-learn"],
                    signature=mlflow.models.infer_signature(X, y), serialization_format="skops",
                )  # fmt: skip
            version = info.registered_model_version
            mlflow.MlflowClient().set_registered_model_alias("iris", "champion", version)
        return run.info.run_id, version

    yield register
    mlflow.set_tracking_uri(before)


@pytest.mark.filterwarnings("ignore")
async def test_a_version_an_alias_and_a_run_are_models(registry):
    first, second = LogisticRegression(max_iter=500).fit(X, y), GaussianNB().fit(X, y)
    run, version = registry(first)
    for uri in (f"models:/iris/{version}", "models:/iris@champion", "models:/iris/latest", f"runs:/{run}/model"):
        part = model(uri, labels=["a", "b", "c"])
        assert part.label == ("model" if uri.startswith("runs") else "iris")
        async with Client(part) as client:
            assert await client.predict_many(X.head(3)) == ["a", "a", "a"]
        assert load_model(uri).signature.names == tuple(X.columns)
    # Another version: the alias is looked up again.
    registry(second)
    assert isinstance(load_model("models:/iris@champion").estimator, GaussianNB)
    assert isinstance(load_model(f"models:/iris/{version}").estimator, LogisticRegression)


@pytest.mark.filterwarnings("ignore")
def test_a_registered_model_whose_folder_changed_is_noticed(registry):
    registry(LogisticRegression(max_iter=500).fit(X, y))
    step = model_step("models:/iris@champion")
    file = step.fn.file
    assert file.is_current
    (saved,) = [each for each, _, _ in file.stamp if each.endswith("skops")]
    with Path(saved).open("ab") as content:
        content.write(b" ")
    assert not file.is_current
    assert np.array_equal(step.fn(X.to_numpy()[:1]), [0])


@pytest.mark.filterwarnings("ignore")
def test_what_the_registry_does_not_have_is_an_error_that_says_where_it_looked(registry, tmp_path):
    for uri in ("models:/iris/1", "models:/iris@champion", "runs:/abc/model", "models:/"):
        with pytest.raises(ModelError, match=f"MLflow does not find '{uri}' in file://{tmp_path}"):
            model(uri)


def test_names_and_uris():
    assert is_uri("models:/iris/1")
    assert not is_uri("models/iris")
    assert [model_name(each) for each in ("a/b.skops", "models:/iris@x", "models:/iris/3", "runs:/r/a/m")] == [
        "b", "iris", "iris", "m",
    ]  # fmt: skip
