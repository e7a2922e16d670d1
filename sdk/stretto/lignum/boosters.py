"""The estimators of XGBoost, LightGBM and CatBoost: their files, and the thresholds of their trees."""

from __future__ import annotations

import json
import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np


def library(estimator: Any) -> str:
    """Return the library of an estimator: ``"xgboost"``, ``"lightgbm"`` or ``"catboost"``.

    Raises:
        NotImplementedError: it is of another one.
    """
    name = type(estimator).__module__.partition(".")[0]
    if name not in ("xgboost", "lightgbm", "catboost"):
        raise NotImplementedError("it is not of XGBoost, LightGBM or CatBoost")
    return name


def saved(estimator: Any) -> bytes:
    """Return the content of the file that its library writes of it.

    Raises:
        NotImplementedError: it is of another library, or treats a number as missing.
    """
    match library(estimator):
        case "xgboost":
            if not math.isnan(estimator.missing):
                raise NotImplementedError(f"missing={estimator.missing!r}")
            return bytes(_xgboost(estimator).save_raw("ubj"))
        case "lightgbm":
            return estimator.booster_.model_to_string().encode()
        case _:
            return _catboost(estimator, "cbm")


def splits(estimator: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the features that the trees split, and the thresholds."""
    match library(estimator):
        case "xgboost":
            trees = json.loads(_xgboost(estimator).save_raw("json"))["learner"]["gradient_booster"]["model"]["trees"]
            cuts = [
                (feature, threshold)
                for tree in trees
                for feature, threshold, left in zip(
                    tree["split_indices"], tree["split_conditions"], tree["left_children"], strict=True
                )
                if left >= 0
            ]
        case "lightgbm":
            lines = dict.fromkeys(("split_feature", "threshold"), "")
            for line in estimator.booster_.model_to_string().splitlines():
                key, _, values = line.partition("=")
                if key in lines:
                    lines[key] += f" {values}"
            features, thresholds = (map(float, lines[key].split()) for key in lines)
            cuts = list(zip(features, thresholds, strict=True))
        case _:
            trees = json.loads(_catboost(estimator, "json"))["oblivious_trees"]
            cuts = [(split["float_feature_index"], split["border"]) for tree in trees for split in tree["splits"]]
    pairs = np.array(cuts, dtype=np.float64).reshape(-1, 2)
    return pairs[:, 0].astype(int), pairs[:, 1]


def _xgboost(estimator: Any) -> Any:
    booster = estimator.get_booster()
    # With early stopping the estimator predicts with the trees up to the best iteration.
    best = getattr(estimator, "best_iteration", None)
    return booster if best is None else booster[: best + 1]


def _catboost(estimator: Any, kind: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        estimator.save_model(str(path), format=kind)
        return path.read_bytes()
