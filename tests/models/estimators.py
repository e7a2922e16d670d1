"""Fitted estimators of every kind that users have, on one table of homes, for tests that compare their answers.

An estimator is fitted once it is asked for. Its columns are some of those of `HOMES`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor, make_column_selector, make_column_transformer
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputClassifier, MultiOutputRegressor
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    OneHotEncoder,
    OrdinalEncoder,
    StandardScaler,
    TargetEncoder,
)
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

Form: TypeAlias = Literal["frame", "array", "text", "row"]

ROWS = 48
KINDS = pd.CategoricalDtype(["flat", "house", "loft"])
GRADES = pd.CategoricalDtype([3, 1, 2], ordered=True)
_draw = np.random.default_rng(0)


def _of(values: Sequence[Any], *, gaps: bool = False) -> list[Any]:
    drawn = [values[at] for at in _draw.integers(len(values), size=ROWS)]
    return [None if gaps and at % 9 == 4 else each for at, each in enumerate(drawn)]


HOMES = pd.DataFrame(
    {
        "zip": pd.Series(_of([10115, 20095, 50667, 80331]), dtype="int64"),
        "rooms": pd.Series(_of([1, 2, 3, 4, 5]), dtype="int8"),
        "area": pd.Series(_of([31.5, 48.0, 77.25, 120.0], gaps=True), dtype="float64"),
        "share": pd.Series(_of([0.1, 0.5, 0.7]), dtype="float32"),
        "garden": pd.Series(_of([True, False]), dtype="bool"),
        "city": pd.Series(_of(["bonn", "kiel", "ulm"]), dtype="str"),
        "street": pd.Series(_of(["ring", "markt", "hof"], gaps=True), dtype="str"),
        "kind": pd.Series(_of(["flat", "house", "loft"], gaps=True), dtype=KINDS),
        "grade": pd.Series(_of([1, 2, 3]), dtype=GRADES),
        "floor": pd.Series(_of([0, 1, 2, 9], gaps=True), dtype="Int64"),
        "built": pd.Series(
            _of([pd.Timestamp("1905-03-01"), pd.Timestamp("1978-07-01"), pd.Timestamp("2021-12-31")]),
            dtype="datetime64[us]",
        ),
        "code": pd.Series(_of(["a", "b", 7]), dtype="object"),
        "note": pd.Series(_of(["quiet and bright", "near the river", "bright, with a river view"]), dtype="str"),
        "length": pd.Series(_draw.normal(size=ROWS), dtype="float64"),
        "width": pd.Series(_draw.normal(size=ROWS), dtype="float64"),
    }
)
CLASSES = np.where(HOMES["rooms"] + HOMES["garden"] > 4, "dear", np.where(HOMES["zip"] > 50000, "fair", "cheap"))
PRICES = (HOMES["rooms"].astype(float) * 100 + HOMES["zip"] / 1000 + HOMES["length"]).to_numpy()
NUMBERS = ("rooms", "area", "share", "length", "width")
PLAIN = ("rooms", "share", "length")
MIXED = ("zip", "area", "garden", "city", "street", "kind")


@dataclass(frozen=True)
class Case:
    """An estimator and the rows that it takes.

    Attributes:
        fit: Returns it, fitted on its columns of the homes.
        columns: Their names.
        typed: It looks at types that rows do not show: a frame does, and so does a signature.
        form: What it is called with.
        dtype: The type of its array.
        signed: Whether a signature is required (True), not possible (False), or either (None).
        numbers: It takes nothing but numbers, and a missing flag is a missing number to it, not an object.
    """

    fit: Callable[..., Any]
    columns: tuple[str, ...] = MIXED
    typed: bool = False
    form: Form = "frame"
    dtype: str = "float64"
    signed: bool | None = None
    numbers: bool = False

    @cached_property
    def rows(self) -> Any:
        """What it was fitted on."""
        if self.form == "array":
            return HOMES[list(self.columns)].to_numpy(dtype=self.dtype)
        return HOMES[self.columns[0]] if self.form == "text" else HOMES[list(self.columns)]

    @cached_property
    def estimator(self) -> Any:
        """It, fitted."""
        return self.fit(self.rows)


def _encoded(columns: Any = ("zip", "city", "street", "kind"), **options: Any) -> Any:
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    return make_column_transformer(
        (OneHotEncoder(**options), list(columns)), (numbers, ["area"]), ("passthrough", ["garden"])
    )


def _classifies(*parts: Any, last: Any = None, y: Any = CLASSES) -> Callable[[Any], Any]:
    return lambda rows: make_pipeline(*parts, LogisticRegression() if last is None else last).fit(rows, y)


def _fits(estimator: Any, y: Any = CLASSES) -> Callable[[Any], Any]:
    return lambda rows: estimator.fit(rows, y)


def as_words(frame: pd.DataFrame) -> pd.DataFrame:
    """Return columns that depend on the types of the frame: what integers, flags and dates are as texts."""
    decade = frame["built"].dt.strftime("%Y").str[:3] if "built" in frame else frame["garden"].astype(str)
    return pd.DataFrame({"zip": frame["zip"].astype(str), "garden": frame["garden"].astype(str), "decade": decade})


def in_place(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame that it has written to, as users do."""
    frame["zip"] = frame["zip"] // 10000
    return frame[["zip", "garden"]]


class Dated(TransformerMixin, BaseEstimator):
    """A transformer of one's own, by `.str` and `.dt`."""

    def fit(self, frame: pd.DataFrame, y: Any = None) -> Dated:
        """Return itself."""
        self.feature_names_in_ = np.array(frame.columns, dtype=object)
        self.n_features_in_ = len(frame.columns)
        return self

    def transform(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return numbers."""
        return pd.DataFrame(
            {
                "first": frame["city"].str[0].map({"b": 0, "k": 1, "u": 2}).fillna(-1),
                "year": frame["built"].dt.year.fillna(0),
                "rest": frame["zip"] % 10,
                "floor": frame["floor"].fillna(-1).astype(int),
            }
        )


class Unnamed(TransformerMixin, BaseEstimator):
    """A transformer of one's own that records nothing."""

    def fit(self, frame: pd.DataFrame, y: Any = None) -> Unnamed:
        """Return itself."""
        return self

    def transform(self, frame: pd.DataFrame) -> np.ndarray:
        """Return numbers."""
        return np.column_stack(
            [frame["city"].str.len().fillna(0), frame["zip"] // 10000, frame["garden"].astype(float)]
        )


class Rule:
    """An object of one's own, with `predict` alone."""

    def predict(self, frame: pd.DataFrame) -> list[str]:
        """Return what it makes of the types too."""
        rows = frame.to_dict("split")["data"]
        types = [str(each) for each in frame.dtypes]
        return ["|".join(f"{each} {_shown(value)}" for each, value in zip(types, row, strict=True)) for row in rows]


def _shown(value: Any) -> str:
    return "missing" if pd.isna(value) else repr(value)


class Wrapped(BaseEstimator):
    """An estimator of one's own around a pipeline, which shows nothing of what it takes."""

    def fit(self, frame: pd.DataFrame, y: Any) -> Wrapped:
        """Return itself, with the pipeline fitted."""
        self.inner_ = make_pipeline(_encoded(**LENIENT), LogisticRegression()).fit(frame, y)
        return self

    def predict(self, frame: pd.DataFrame) -> np.ndarray:
        """Return the pipeline's answers."""
        return self.inner_.predict(frame)


class Halves:
    """An object of one's own on an array, whose type it keeps."""

    n_features_in_ = 3

    def predict(self, rows: np.ndarray) -> np.ndarray:
        """Return numbers of the array's type."""
        return (rows // 2).sum(axis=1, dtype=rows.dtype)


def total(rows: np.ndarray) -> np.ndarray:
    """Return the sum of each row of an array."""
    return rows.sum(axis=1)


def described(row: dict[str, Any]) -> str:
    """Return what a function of one row makes of it."""
    return "|".join("missing" if pd.isna(row[name]) else repr(row[name]) for name in ("zip", "garden", "city"))


def _lightgbm(kind: str = "LGBMClassifier", **options: Any) -> Any:
    import lightgbm

    small = {"n_estimators": 4, "min_child_samples": 2, "num_leaves": 5, "verbose": -1, "n_jobs": 1}
    return getattr(lightgbm, kind)(**small, **options)


def _xgboost(kind: str = "XGBClassifier", **options: Any) -> Any:
    import xgboost

    return getattr(xgboost, kind)(n_estimators=4, max_depth=3, n_jobs=1, **options)


def _catboost(kind: str = "CatBoostClassifier", **options: Any) -> Any:
    import catboost

    return getattr(catboost, kind)(
        iterations=4, depth=3, verbose=0, thread_count=1, allow_writing_files=False, **options
    )


def _encoders(name: str, **options: Any) -> Any:
    import category_encoders

    return getattr(category_encoders, name)(**options)


def _oversampled(rows: Any) -> Any:
    from imblearn.over_sampling import RandomOverSampler
    from imblearn.pipeline import make_pipeline as make_sampled

    return make_sampled(_encoded(handle_unknown="ignore"), RandomOverSampler(random_state=0), LogisticRegression()).fit(
        rows, CLASSES
    )


def _balanced(rows: Any) -> Any:
    from imblearn.ensemble import BalancedRandomForestClassifier

    return BalancedRandomForestClassifier(n_estimators=3, random_state=0).fit(rows, CLASSES)


CODES = (CLASSES == "dear").astype(int)
THREE = np.unique(CLASSES, return_inverse=True)[1]
TWO = np.column_stack([PRICES, -PRICES + HOMES["rooms"]])
BOOSTED = ("zip", "area", "garden", "kind", "grade", "share")
LENIENT = {"handle_unknown": "ignore"}

CASES: dict[str, Case] = {
    "strict one-hot": Case(_classifies(_encoded())),
    "lenient one-hot": Case(_classifies(_encoded(**LENIENT))),
    "infrequent one-hot": Case(_classifies(_encoded(handle_unknown="infrequent_if_exist", min_frequency=8))),
    "one-hot of integers alone": Case(_classifies(OneHotEncoder(**LENIENT)), ("zip", "rooms")),
    "one-hot of all, strict": Case(_classifies(OneHotEncoder()), ("zip", "city", "kind")),
    "one-hot of grades": Case(_classifies(OneHotEncoder(**LENIENT)), ("grade", "zip")),
    "one-hot of objects": Case(_classifies(OneHotEncoder(**LENIENT)), ("city", "street")),
    "ordinal with unknown_value": Case(
        _classifies(
            OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-2),
            last=RandomForestClassifier(4, random_state=0),
        ),
        ("zip", "city", "street", "kind"),
    ),
    "target encoder": Case(_classifies(TargetEncoder(random_state=0)), ("zip", "city", "street")),
    "scaler and imputer": Case(_classifies(SimpleImputer(add_indicator=True), StandardScaler()), NUMBERS),
    "imputer of texts": Case(
        _classifies(
            make_column_transformer(
                (make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(**LENIENT)), ["street", "city"]),
                (SimpleImputer(), ["area"]),
            )
        ),
        ("street", "area", "city"),
    ),
    "selector of types": Case(
        _classifies(
            make_column_transformer(
                (OneHotEncoder(**LENIENT), make_column_selector(dtype_exclude="number")),
                (SimpleImputer(), make_column_selector(dtype_include="number")),
            )
        )
    ),
    "remainder": Case(
        _classifies(
            ColumnTransformer([("o", OneHotEncoder(**LENIENT), ["city"])], remainder=SimpleImputer()),
        ),
        ("city", "zip", "area", "rooms"),
    ),
    "columns by position": Case(
        _classifies(make_column_transformer((OneHotEncoder(**LENIENT), [0, 3]), (SimpleImputer(), [1]))),
    ),
    "union": Case(
        _classifies(
            make_union(OneHotEncoder(**LENIENT), OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1))
        ),
        ("zip", "city"),
    ),
    "nullable integers": Case(
        _classifies(SimpleImputer(), KBinsDiscretizer(3, quantile_method="averaged_inverted_cdf")), ("floor", "zip")
    ),
    "function of a frame": Case(
        _classifies(FunctionTransformer(as_words), OneHotEncoder(**LENIENT)), ("built", "zip", "garden"), typed=True
    ),
    "function that writes": Case(_classifies(FunctionTransformer(in_place)), ("zip", "garden"), typed=True),
    "function in columns": Case(
        _classifies(
            make_column_transformer(
                (make_pipeline(FunctionTransformer(as_words), OneHotEncoder(**LENIENT)), ["zip", "garden"]),
                (OneHotEncoder(**LENIENT), ["kind"]),
            )
        ),
        ("zip", "kind", "garden"),
        typed=True,
    ),
    "own transformer": Case(_classifies(Dated()), ("city", "built", "zip", "floor"), typed=True),
    "own transformer in columns": Case(
        _classifies(make_column_transformer((Dated(), ["city", "built", "zip", "floor"]), (OneHotEncoder(), ["kind"]))),
        ("kind", "city", "built", "zip", "floor", "area"),
        typed=True,
    ),
    "own transformer without names": Case(_classifies(Unnamed()), ("city", "zip", "garden"), typed=True, signed=True),
    "boosting from dtype": Case(
        _fits(HistGradientBoostingClassifier(max_iter=4, min_samples_leaf=2)), BOOSTED, typed=True
    ),
    "boosting of prices": Case(
        _fits(
            HistGradientBoostingRegressor(max_iter=4, min_samples_leaf=2, categorical_features=["zip", "kind"]), PRICES
        ),
        ("zip", "kind", "area"),
        typed=True,
    ),
    "texts": Case(_classifies(TfidfVectorizer()), ("note",), form="text"),
    "texts in columns": Case(
        _classifies(make_column_transformer((TfidfVectorizer(), "note"), (OneHotEncoder(**LENIENT), ["zip"]))),
        ("note", "zip"),
    ),
    "frames out": Case(
        lambda rows: _encoded(**LENIENT, sparse_output=False).set_output(transform="pandas").fit(rows),
    ),
    "frames between": Case(
        lambda rows: (
            make_pipeline(_encoded(**LENIENT, sparse_output=False), StandardScaler(), LogisticRegression())
            .set_output(transform="pandas")
            .fit(rows, CLASSES)
        )
    ),
    "vote": Case(
        _fits(
            VotingClassifier(
                [
                    ("one", make_pipeline(_encoded(**LENIENT), LogisticRegression())),
                    ("two", make_pipeline(_encoded(("zip", "city"), **LENIENT), DecisionTreeClassifier(max_depth=3))),
                ],
                voting="soft",
            )
        )
    ),
    "search": Case(
        _fits(
            GridSearchCV(
                make_pipeline(_encoded(**LENIENT), LogisticRegression()), {"logisticregression__C": [0.5, 1]}, cv=2
            )
        )
    ),
    "stack": Case(
        _fits(
            StackingClassifier(
                [
                    ("one", make_pipeline(_encoded(**LENIENT), LogisticRegression())),
                    ("two", make_pipeline(_encoded(("zip", "city"), **LENIENT), DecisionTreeClassifier(max_depth=3))),
                ],
                cv=2,
            )
        )
    ),
    "several prices": Case(_classifies(_encoded(**LENIENT), last=MultiOutputRegressor(Ridge()), y=TWO)),
    "several classes": Case(
        _classifies(
            _encoded(**LENIENT),
            last=MultiOutputClassifier(LogisticRegression()),
            y=np.column_stack([CLASSES, np.where(HOMES["garden"], "yes", "no")]),
        )
    ),
    "prices of shape (n, 1)": Case(_classifies(_encoded(**LENIENT), last=LinearRegression(), y=PRICES.reshape(-1, 1))),
    "logarithms of prices": Case(
        _fits(
            TransformedTargetRegressor(
                make_pipeline(_encoded(**LENIENT), Ridge()), func=np.log1p, inverse_func=np.expm1
            ),
            PRICES,
        )
    ),
    "lightgbm": Case(lambda rows: _lightgbm().fit(rows, CLASSES), BOOSTED, typed=True, signed=True),
    "lightgbm of prices": Case(
        lambda rows: _lightgbm("LGBMRegressor").fit(rows, PRICES), ("kind", "rooms"), typed=True, signed=True
    ),
    "lightgbm of numbers": Case(lambda rows: _lightgbm().fit(rows, CLASSES), ("zip", "garden", *NUMBERS), numbers=True),
    "lightgbm behind columns": Case(_classifies(_encoded(**LENIENT), last=_lightgbm())),
    "lightgbm behind an own function": Case(
        lambda rows: make_pipeline(FunctionTransformer(), _lightgbm()).fit(rows, CLASSES),
        BOOSTED,
        typed=True,
        signed=True,
    ),
    "xgboost": Case(
        lambda rows: _xgboost(enable_categorical=True).fit(rows, THREE),
        ("zip", "area", "garden", "kind", "share"),
        typed=True,
        signed=True,
    ),
    "xgboost of numbers": Case(lambda rows: _xgboost().fit(rows, THREE), ("zip", "garden", *NUMBERS), numbers=True),
    "xgboost of several prices": Case(lambda rows: _xgboost("XGBRegressor").fit(rows, TWO), NUMBERS),
    "xgboost behind columns": Case(
        lambda rows: make_pipeline(_encoded(**LENIENT), _xgboost()).fit(rows, THREE),
    ),
    "catboost": Case(
        lambda rows: _catboost(cat_features=["zip", "city"]).fit(rows, CLASSES),
        ("zip", "area", "garden", "city"),
        typed=True,
    ),
    "catboost by position": Case(
        lambda rows: _catboost("CatBoostRegressor", cat_features=[1]).fit(rows, PRICES), ("share", "zip"), typed=True
    ),
    "catboost of numbers": Case(lambda rows: _catboost().fit(rows, CLASSES), NUMBERS),
    "catboost behind columns": Case(lambda rows: make_pipeline(_encoded(**LENIENT), _catboost()).fit(rows, CODES)),
    "oversampled": Case(_oversampled),
    "balanced forest": Case(_balanced, PLAIN),
    "category_encoders' target encoder": Case(
        lambda rows: make_pipeline(_encoders("TargetEncoder", cols=["zip", "city"]), LogisticRegression()).fit(
            rows, CODES
        ),
        ("zip", "city", "length"),
        typed=True,
    ),
    "category_encoders' ordinal encoder": Case(
        lambda rows: make_pipeline(_encoders("OrdinalEncoder"), DecisionTreeClassifier(max_depth=4)).fit(rows, CLASSES),
        ("zip", "city", "street", "kind"),
        typed=True,
    ),
    "category_encoders' count encoder in columns": Case(
        _classifies(
            make_column_transformer((_encoders("CountEncoder", cols=["city"]), ["city"]), ("passthrough", ["length"]))
        ),
        ("length", "city"),
        typed=True,
    ),
    "catboost in a pipeline": Case(
        lambda rows: make_pipeline("passthrough", _catboost(cat_features=["zip", "city"])).fit(rows, CLASSES),
        ("area", "zip", "city"),
        typed=True,
    ),
    "vote of boosters": Case(
        _fits(VotingClassifier([("one", _lightgbm()), ("two", _catboost())], voting="soft")), NUMBERS
    ),
    "search of catboost": Case(_fits(GridSearchCV(_catboost(), {"depth": [2, 3]}, cv=2)), NUMBERS),
    "xgboost in a pipeline": Case(
        lambda rows: make_pipeline("passthrough", _xgboost(enable_categorical=True)).fit(rows, THREE),
        ("kind", "area", "zip"),
        typed=True,
        signed=True,
    ),
    "calibrated": Case(_fits(CalibratedClassifierCV(make_pipeline(_encoded(**LENIENT), LogisticRegression()), cv=2))),
    "one against the rest": Case(_fits(OneVsRestClassifier(make_pipeline(_encoded(**LENIENT), LogisticRegression())))),
    "own estimator around a pipeline": Case(_fits(Wrapped()), typed=True, signed=True),
    "own rule": Case(lambda rows: Rule(), ("zip", "city", "code", "built", "floor"), typed=True, signed=True),
    "logistic": Case(_fits(LogisticRegression()), PLAIN),
    "forest of prices": Case(_fits(RandomForestRegressor(3, random_state=0), PRICES), PLAIN),
    "logistic of an array": Case(_fits(LogisticRegression()), PLAIN, form="array"),
    "vectors of an array": Case(_fits(SVC()), PLAIN, form="array"),
    "neighbours of small floats": Case(_fits(KNeighborsClassifier(3)), PLAIN, form="array", dtype="float32"),
    "boosting of an array": Case(
        _fits(HistGradientBoostingClassifier(max_iter=3, min_samples_leaf=2)), NUMBERS, form="array"
    ),
    "one-hot of an array": Case(_classifies(OneHotEncoder(**LENIENT)), ("zip", "rooms"), form="array", dtype="int64"),
    "one-hot of an array of objects": Case(
        _classifies(OneHotEncoder(**LENIENT)), ("zip", "city"), form="array", dtype="object"
    ),
    "xgboost of an array": Case(lambda rows: _xgboost().fit(rows, THREE), NUMBERS, form="array"),
    "lightgbm of an array": Case(lambda rows: _lightgbm().fit(rows, CLASSES), NUMBERS, form="array"),
    "own object on integers": Case(
        lambda rows: Halves(), ("zip", "rooms", "garden"), form="array", dtype="int64", typed=True
    ),
    "function of an array": Case(lambda rows: total, PLAIN, form="array", signed=False),
    "function of a row": Case(lambda rows: described, ("zip", "garden", "city"), form="row", signed=False),
}
