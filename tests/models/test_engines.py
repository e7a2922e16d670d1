"""Engines are found by entry point, and what they compute is verified, whoever wrote them."""

from __future__ import annotations

import importlib
import pickle
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge

from stretto import Client, Pipeline, model
from stretto.errors import Disagreement, ModelError
from stretto.models import find_engine, model_step
from tests.cases import FEATURES, SETOSA, iris_model

ROWS = np.random.default_rng(0).normal(size=(60, 4))
FITTED = Ridge().fit(ROWS, ROWS @ [1.0, 2.0, 3.0, 4.0] + 1)

SOURCE = """
import numpy as np
from stretto.nodes import Engine

class Dot:
    tolerance = 1e-9

    def __init__(self, weights, bias):
        self.weights, self.bias = weights, bias

    def __str__(self):
        return "a dot product"

    def __call__(self, table):
        return table @ self.weights + self.bias

class DotEngine(Engine):
    off = 0.0

    def kernels(self, estimator, output):
        if not hasattr(estimator, "coef_") or estimator.coef_.ndim != 1:
            yield NotImplementedError("it is not linear")
        else:
            yield Dot(estimator.coef_, estimator.intercept_ + self.off)

class WrongEngine(DotEngine):
    off = 0.01

class NoEngine:
    pass
"""

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Installs a distribution that registers engines, as ``name="module:Class"``."""

    def install(distribution: str, **engines: str) -> None:
        folder = tmp_path / f"{distribution}-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        lines = [f"{name} = {target}" for name, target in engines.items()]
        (folder / "entry_points.txt").write_text("\n".join(["[stretto.engines]", *lines, ""]))
        importlib.invalidate_caches()

    (tmp_path / "dot_engine.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    find_engine.cache_clear()
    yield install
    find_engine.cache_clear()


def test_an_engine_of_another_package_computes_a_model(install: Install) -> None:
    install("dots", dot="dot_engine:DotEngine")
    step = model_step(FITTED, engine="dot", sample=ROWS)
    assert np.allclose(step.fn(ROWS), FITTED.predict(ROWS))
    assert step.model is not None
    assert step.model.engine == "dot"
    assert re.fullmatch(
        r"a dot product(, the estimator from \d+ rows)?; verified on 60 rows, numbers within 1e-09", step.model.note
    )
    assert repr(step.fn) == "Ridge(), engine='dot'"
    assert step.key != model_step(FITTED).key
    assert np.allclose(pickle.loads(pickle.dumps(step)).fn(ROWS), FITTED.predict(ROWS))


async def test_a_pipeline_is_optimized_by_it_as_far_as_it_can(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("dots", dot="dot_engine:DotEngine")
    compiled = importlib.import_module("stretto.models.compiled")
    monkeypatch.setattr(compiled, "_time", lambda what, *_: 0.0 if isinstance(what, compiled.Compiled) else 1.0)
    pipeline = (model(FITTED, name="ridge") >> (lambda x: {"x": x})).optimize(ROWS, engine="dot")
    assert "a dot product; verified on 60 rows" in str(pipeline.plan())
    async with Client(pipeline) as client:
        assert (await client.predict(ROWS[0]))["x"] == pytest.approx(FITTED.predict(ROWS[:1])[0])
    other = iris_model("logistic").optimize(engine="dot")
    assert "not compiled: engine='dot' can't compile LogisticRegression" in str(other.plan())


def test_what_differs_is_refused_with_the_rows(install: Install) -> None:
    install("dots", wrong="dot_engine:WrongEngine")
    with pytest.raises(Disagreement, match=r"model 'ridge': Ridge on engine='wrong' .* on 60 of 60 rows") as caught:
        model(FITTED, engine="wrong", sample=ROWS)
    assert len(caught.value.rows.splitlines()) == 10


def test_an_unknown_engine_names_those_that_are_installed() -> None:
    with pytest.raises(
        ModelError, match=r"engine='tensorrt' is not installed: the engines are .*'onnx'.*; install the"
    ):
        model(FITTED, engine="tensorrt")
    with pytest.raises(ModelError, match=r"engine='tensorrt' is not installed"):
        Pipeline(FITTED).optimize(engine="tensorrt")


def test_two_packages_with_an_engine_of_one_name_are_both_named(install: Install) -> None:
    install("dots", dot="dot_engine:DotEngine")
    install("spots", dot="dot_engine:WrongEngine")
    with pytest.raises(
        ModelError, match=r"two packages provide an engine named 'dot': dots 1\.0 and spots 1\.0; uninst"
    ):
        model(FITTED, engine="dot")


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("no_such_module:Engine", r"engine 'dot' of dots 1\.0 can't be loaded from no_such_module:Engine \(ModuleNotF"),
        ("dot_engine:Missing", r"can't be loaded from dot_engine:Missing \(AttributeError: .*reinstall or uninstall"),
        (
            "dot_engine:NoEngine",
            r"engine 'dot' of dots 1\.0: dot_engine:NoEngine is not a subclass of stretto\.nodes\.Engine",
        ),
    ],
)
def test_an_engine_that_can_t_be_loaded_names_its_package(install: Install, target: str, message: str) -> None:
    install("dots", dot=target)
    with pytest.raises(ModelError, match=message):
        model(FITTED, engine="dot")


def test_an_engine_without_a_file_format_says_so(install: Install) -> None:
    install("dots", dot="dot_engine:DotEngine")
    with pytest.raises(ModelError, match=r"model\.dot: this engine reads no files"):
        find_engine("dot").read(Path("model.dot"))


async def test_a_model_on_an_engine_rejects_bad_rows_in_the_same_words(install: Install) -> None:
    install("dots", dot="dot_engine:DotEngine")
    plain, fast = (model(FITTED, name="ridge", features=FEATURES, engine=engine) for engine in (None, "dot"))
    async with Client(plain) as one, Client(fast) as other:
        for row in (SETOSA, {"petal": 1.0}, [1.0, 2.0], "text", [np.nan, 1.0, 2.0, 3.0]):
            answers = [await each.predict_many([row], on_error="return") for each in (one, other)]
            assert repr(answers[0]) == repr(answers[1]) or np.allclose(*answers)


def test_logistic_regression_has_no_kernel_of_that_engine(install: Install) -> None:
    install("dots", dot="dot_engine:DotEngine")
    fitted = LogisticRegression().fit(ROWS, ROWS[:, 0] > 0)
    with pytest.raises(
        ModelError, match=r"model 'flowers': engine='dot' can't compile LogisticRegression .*not linear"
    ):
        model(fitted, name="flowers", engine="dot")
