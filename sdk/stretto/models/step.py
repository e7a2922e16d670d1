"""Fitted estimators, and the files of saved ones, as steps."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from stretto.batch.frames import is_frame, is_series
from stretto.errors import BadRows, Disagreement, ModelError
from stretto.models.answers import model_info
from stretto.models.compiled import Compiled, compile_method
from stretto.models.engines import find_engine
from stretto.models.estimator import (
    check_output,
    check_usable,
    default_name,
    describe,
    feature_names,
    fitted_names,
    leaves_columns_alone,
    takes_missing,
    writes_underscores,
)
from stretto.models.files.cache import File, read_file
from stretto.models.files.formats import LoadOptions, SavedModel, Trust
from stretto.models.files.registry import model_name
from stretto.models.function import ModelFunction, ReadRows
from stretto.models.input.infer import infer_reader
from stretto.models.input.mixed import MixedInput
from stretto.models.input.numeric import NumericInput
from stretto.models.input.row import RowFormat, listed
from stretto.models.labels import Labels, read_labels
from stretto.models.method import method_of
from stretto.models.signature import Signature
from stretto.plan.steps import Step


@dataclass(frozen=True, slots=True, eq=False)
class Identity:
    """An estimator, equal to itself alone. Holding it keeps its id from becoming that of another object."""

    estimator: Any

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Identity) and other.estimator is self.estimator

    def __hash__(self) -> int:
        return id(self.estimator)


def model_step(
    target: Any,
    *,
    name: str | None = None,
    features: Any = None,
    labels: Any = None,
    output: str = "predict",
    extra: str = "forbid",
    trusted: Trust = False,
    strict: bool = False,
    mmap: bool = False,
    engine: str | None = None,
    sample: Any = None,
    options: Mapping[str, Any] | None = None,
) -> Step:
    """Return the step of a fitted estimator, of a `SavedModel`, or of the path of a saved one.

    See `stretto.model`, which returns it as a pipeline. The estimator is not copied: fit it before, not afterwards.

    Raises:
        ModelError: it is not fitted, its file is missing, damaged or not trusted, or names, labels or output do not
            fit it.

    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> iris = load_iris()
    >>> fitted = LogisticRegression(max_iter=1000).fit(iris.data, iris.target)
    >>> step = model_step(fitted, labels=iris.target_names)
    >>> step.fn([[5.1, 3.5, 1.4, 0.2], (6.3, 3.3, 6.0, 2.5)]).tolist()
    ['setosa', 'virginica']
    """
    saved, source, shown = _opened(target, LoadOptions(trusted, strict, mmap))
    estimator = saved.estimator
    check_usable(estimator)
    name = name or (model_name(target) if isinstance(source, File) else default_name(estimator))
    try:
        if extra not in ("forbid", "ignore"):
            raise ModelError(f"extra={extra!r}: it is 'forbid', or 'ignore' for names beyond the features in a row")
        fn = _function(saved, name, features, labels, output, extra, source, shown)
        fn = fn if engine is None else on_engine(fn, engine, sample)
    except Disagreement as error:
        raise Disagreement(f"model {name!r}: {error.message}", error.rows) from error.__cause__
    except ModelError as error:
        raise ModelError(f"model {name!r}: {error}") from error.__cause__
    return with_function(Step(fn=fn, name=name, vectorized=True, pure=True, options=options or {}), fn)


def _opened(target: Any, options: LoadOptions) -> tuple[SavedModel, Hashable, str]:
    if isinstance(target, str | os.PathLike):
        file = read_file(cast("str", target), options)
        return file.saved, file, repr(os.fspath(cast("str", target)))
    saved = target if isinstance(target, SavedModel) else SavedModel(target)
    return saved, Identity(saved.estimator), describe(saved.estimator)


def _function(
    saved: SavedModel, name: str, features: Any, labels: Any, output: str, extra: str, source: Hashable, shown: str
) -> ModelFunction:
    estimator = saved.estimator
    signature = _signature(saved, features)
    given = signature.names if signature is not None else saved.features if features is None else features
    names, count = feature_names(estimator, given)
    if signature is not None and signature.form != "values":
        count = len(signature.columns) if count is None else count
        _check_signature(estimator, signature, count)
    given = saved.labels if labels is None else read_labels(labels)
    if given is not None and output == "label_proba" and len(set(map(str, given))) < len(given):
        raise ModelError(
            f"labels= has one name for two classes in {list(given)}: output='label_proba' needs different ones"
        )
    accepted = None if extra == "ignore" else frozenset[str]()
    row = RowFormat(
        name,
        names,
        count,
        accepted,
        takes_missing(estimator),
        spare=leaves_columns_alone(estimator),
        blanks=writes_underscores(estimator),
    )
    reader = infer_reader(estimator, row, signature)
    method = method_of(estimator, check_output(estimator, output), mixed=isinstance(reader, MixedInput))
    labelled = None if given is None else Labels(estimator, given)
    return ModelFunction(method, reader, labelled, source, shown, saved.note, signature=signature)


def _check_signature(estimator: Any, signature: Signature, count: int) -> None:
    kind = type(estimator).__name__
    if count != len(signature.columns):
        raise ModelError(f"features= has {len(signature.columns)} columns, but {kind} was fitted on {count} features")
    fitted = fitted_names(estimator)
    if signature.form == "frame" and fitted is not None and not writes_underscores(estimator):
        names = set(map(str, fitted))
        other = next((each.label for each in signature.columns if each.label not in names), None)
        if other is not None:
            raise ModelError(f"features= has a column {other!r}, but {kind} was fitted on {listed(list(fitted))}")


def _signature(saved: SavedModel, features: Any) -> Signature | None:
    """Return what was recorded from the data that the user gives, or that is in the file; None of names alone."""
    if features is None:
        return saved.signature
    if is_frame(features) or (is_series(features) and hasattr(features, "index")):
        return Signature.of(features)
    if isinstance(features, np.ndarray) and features.ndim == 2:
        return Signature.of(features, saved.features)
    return None


def on_engine(fn: ModelFunction, engine: str, sample: Any = None) -> ModelFunction:
    """Return a model that an engine computes, verified on the rows of `sample`, or on drawn ones without a sample.

    Raises:
        Disagreement: its answers to some of them differ from the estimator's.
        ModelError: there is no such engine, it can't compute the model, or the model can't take the rows.
    """
    if isinstance(fn.method, Compiled):
        return fn
    find_engine(engine)
    if not isinstance(fn.reader, NumericInput):
        raise ModelError("its rows are not numbers alone, and no others are compiled: leave engine= out")
    try:
        table = None if sample is None else fn.reader.table(sample)
    except BadRows as error:
        raise ModelError(
            f"sample= has a row that the model does not take: {next(iter(error.errors.values()))}"
        ) from error
    return replace(fn, method=compile_method(fn.method, engine, table))


def with_function(step: Step, fn: ModelFunction) -> Step:
    """Return the step of a model with another model in its place."""
    return replace(step, fn=fn, key=fn.key, reader=fn.reader, model=model_info(fn))


def accepting(step: Step, extra: frozenset[str] | None) -> Step:
    """Return the step of a model with the names `extra` accepted beyond its features (None: any).

    One that accepts any, and any other step, is unchanged.
    """
    fn = step.fn
    if not isinstance(fn, ModelFunction | ReadRows) or fn.reader.extra in (extra, None):
        return step
    fn = replace(fn, reader=fn.reader.accepting(extra))
    return replace(step, fn=fn, key=fn.key, reader=fn.reader)
