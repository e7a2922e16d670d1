"""An engine is verified on rows that it would be asked about: finite ones, on both sides of every split."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeRegressor

from stretto import Client, Pipeline, model, parallel
from stretto.models.verify import probes, tree_splits

rng = np.random.default_rng(7)
X = rng.normal(size=(300, 4))
y = (X[:, 0] > 0).astype(int)
HOLES = np.where(rng.random(X.shape) < 0.2, np.nan, X)
FITTED: dict[str, Any] = {
    "forest": RandomForestClassifier(5, random_state=0).fit(HOLES, y),
    "boosting": HistGradientBoostingClassifier(max_iter=5).fit(HOLES, y),
    # Its only split is that of missing values, whose threshold is infinite.
    "split of missing values": DecisionTreeRegressor(max_depth=1).fit(np.where(y[:, None], np.nan, 1.0), y),
}


@pytest.mark.parametrize("name", list(FITTED))
async def test_what_was_fitted_on_missing_values_compiles(name: str) -> None:
    """Rows without missing values are the engine's, and others the estimator's: the answers are the same for both."""
    estimator = FITTED[name]
    rows = np.vstack([HOLES, X])[:, : estimator.n_features_in_]
    for part in (model(estimator, engine="onnx"), model(estimator, engine="onnx", sample=rows[:60])):
        async with Client(part) as client:
            assert np.allclose(await client.predict_many(rows), estimator.predict(rows))
            for row in rows[:5]:
                assert np.allclose(await client.predict(row), estimator.predict(row[None])[0])


def test_a_pipeline_of_such_models_is_optimized() -> None:
    both = parallel(model(FITTED["forest"], name="forest"), model(LogisticRegression().fit(X, y), name="logistic"))
    assert "forest" in repr(Pipeline(both).optimize(X[:50]).plan())


@pytest.mark.parametrize("rows", [None, HOLES, np.full((3, 4), np.nan), np.full((3, 4), 1e300)], ids=str)
def test_rows_to_verify_on_are_finite(rows: Any) -> None:
    splits = tree_splits(FITTED["forest"])
    assert not np.isfinite(splits[1]).all()
    table = probes(FITTED["forest"], rows, splits)
    assert len(table) > 100
    assert np.isfinite(table).all()
