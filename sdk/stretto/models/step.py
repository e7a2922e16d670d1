"""Fitted estimators, and the files of saved ones, as steps."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from stretto.batch.frames import is_frame
from stretto.errors import BadRows, Disagreement, ModelError
from stretto.models.compiled import Compiled, compile_method
from stretto.models.engines import find_engine
from stretto.models.estimator import (
    Output,
    check_output,
    check_usable,
    classes_of_estimator,
    default_name,
    describe,
    feature_names,
    has_method,
    kind,
    outputs,
)
from stretto.models.files.cache import File, Reading, opened
from stretto.models.files.formats import SavedModel, Trust
from stretto.models.input.mixed import Mixed
from stretto.models.input.numeric import Given, Schema
from stretto.models.input.schema import Intake, intake
from stretto.models.labels import Labels, read_labels
from stretto.models.method import Method, check_frames, takes_missing
from stretto.models.parts import Rows
from stretto.plan.steps import ModelInfo, Step


@dataclass(frozen=True, slots=True, eq=False)
class Identity:
    """An estimator as what it is: equal to itself alone, and kept alive, so that its id is nobody else's."""

    estimator: Any

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Identity) and other.estimator is self.estimator

    def __hash__(self) -> int:
        return id(self.estimator)


@dataclass(frozen=True, slots=True, eq=False)
class ModelFunction:
    """A model over a column of rows: the function of its step.

    `labels` name the classes in the order of ``classes_``. `source` says which model it is, `shown` how it was
    written, and `note` what is to be said of it in a plan.
    """

    method: Method | Compiled
    schema: Intake
    labels: Labels | None
    source: Hashable
    shown: str
    note: str = ""

    @property
    def estimator(self) -> Any:
        """The fitted estimator."""
        return self.method.estimator

    @property
    def file(self) -> File | None:
        """The file that it was read from, or None."""
        return self.source if isinstance(self.source, File) else None

    @property
    def engine(self) -> str:
        """The engine that computes it, or the empty string."""
        return self.method.engine if isinstance(self.method, Compiled) else ""

    @property
    def transforms(self) -> bool:
        """Whether it answers with a row of numbers for other models."""
        return self.output == "transform" or (self.output == "predict" and not has_method(self.estimator, "predict"))

    @property
    def output(self) -> Output:
        """What it answers with."""
        return self.method.output

    @property
    def features(self) -> tuple[str, ...] | None:
        """The names of its features in order, where they are known."""
        return self.schema.features

    @property
    def extra(self) -> frozenset[str] | None:
        """The features a row may have beyond its own; None means any."""
        return self.schema.extra

    @property
    def classes(self) -> tuple[Any, ...] | None:
        """What it tells apart, as its answers name them and in the order of its probabilities, or None."""
        if self.labels is not None:
            return self.labels.names
        classes = classes_of_estimator(self.estimator)
        return None if classes is None else tuple(classes.tolist())

    @property
    def key(self) -> Hashable:
        """Equal for models that give equal answers to equal rows."""
        # By repr, since the labels (1, 0) and (True, False) are equal and give different answers.
        return (
            "model",
            self.source,
            self.engine,
            self.output,
            repr(self.labels and self.labels.names),
            self.schema.key,
        )

    def __repr__(self) -> str:
        return f"{self.shown}, engine={self.engine!r}" if self.engine else self.shown

    def __call__(self, column: Any) -> Any:
        """Return an answer a row, as an array or a list; probabilities by label as a dict of such columns.

        `column` is a list of rows, an array of shape (n_rows, n_features), or a dict of columns, each a feature; or
        what `schema` has read from one of these.

        Raises:
            BadRows: some rows are not what the model takes; it names every one of them.
        """
        given = column if isinstance(column, Given) else self.schema.given(column)
        self.schema.admit(given)
        if not given.size:
            return self._nothing()
        try:
            answers = self.method(given)
        except ValueError as error:
            self._blame(given, error)
            raise
        return self.said(answers)

    def _blame(self, given: Given, error: ValueError) -> None:
        """Refuse the rows with missing values that the model, which alone knows which it takes, does not take."""
        culprits: dict[int, Exception] = {}
        for i in self.schema.suspects(given):
            try:
                self.method(given.only(i))
            except ValueError as why:
                culprits[i] = self.schema.refused(given.only(i), str(why).partition("\n")[0])
        if culprits:
            raise BadRows(culprits) from error

    def _nothing(self) -> Any:
        # Asked about no rows at all, scikit-learn raises: what an answer looks like is seen from one to a made-up row.
        given = self.schema.sample()
        try:
            with np.errstate(all="ignore"):
                answers = None if given is None else self.said(self.method(given))
        except Exception:
            answers = None
        match answers:
            case dict():
                return {key: each[:0] for key, each in cast("dict[str, Any]", answers).items()}
            case None:
                return np.empty(0)
            case _:
                return answers[:0]

    def said(self, answers: Any) -> Any:
        """Return the answers as the step gives them, from the estimator's own: with labels, or by label."""
        match self.output:
            case "label_proba":
                table = np.asarray(answers)
                return {str(label): table[:, at] for at, label in enumerate(self.classes or ())}
            case "predict" if self.labels is not None:
                return self.labels.of(answers)
            case _:
                return answers


def model_step(
    target: Any,
    *,
    name: str | None = None,
    features: Any = None,
    labels: Any = None,
    output: str = "predict",
    trusted: Trust = False,
    strict: bool = False,
    mmap: bool = False,
    engine: str | None = None,
    sample: Any = None,
    options: Mapping[str, Any] | None = None,
) -> Step:
    """Return the step of a fitted estimator, of a `SavedModel`, or of the path of a saved one.

    See `stretto.model`, which puts it in a pipeline. The estimator is used as it is: fit it before, not afterwards.

    Raises:
        ModelError: it is not fitted, its file is not there, damaged or not trusted, or names, labels or output don't
            fit it.

    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> iris = load_iris()
    >>> fitted = LogisticRegression(max_iter=1000).fit(iris.data, iris.target)
    >>> step = model_step(fitted, labels=iris.target_names)
    >>> step.fn([[5.1, 3.5, 1.4, 0.2], (6.3, 3.3, 6.0, 2.5)]).tolist()
    ['setosa', 'virginica']
    """
    saved, source, shown = _opened(target, Reading(trusted, strict, mmap))
    estimator = saved.estimator
    check_usable(estimator)
    name = name or (Path(target).stem if isinstance(source, File) else default_name(estimator))
    try:
        fn = _function(saved, name, features, labels, output, source, shown)
        fn = fn if engine is None else on_engine(fn, engine, sample)
    except Disagreement as error:
        raise Disagreement(f"model {name!r}: {error.message}", error.rows) from error.__cause__
    except ModelError as error:
        raise ModelError(f"model {name!r}: {error}") from error.__cause__
    empty = Step(fn=fn, name=name, vectorized=True, pure=True, options=options or {})
    return with_function(empty, fn)


def _opened(target: Any, reading: Reading) -> tuple[SavedModel, Hashable, str]:
    if isinstance(target, str | os.PathLike):
        file = opened(cast("str", target), reading)
        return file.saved, file, repr(os.fspath(cast("str", target)))
    saved = target if isinstance(target, SavedModel) else SavedModel(target)
    return saved, Identity(saved.estimator), describe(saved.estimator)


def _function(
    saved: SavedModel, name: str, features: Any, labels: Any, output: str, source: Hashable, shown: str
) -> ModelFunction:
    estimator = saved.estimator
    columns = features if is_frame(features) else None
    features = features if columns is None else list(columns.columns)
    names, count = feature_names(estimator, saved.features if features is None else features)
    known = saved.labels if labels is None else read_labels(labels)
    named = None if known is None else Labels(estimator, known)
    schema = intake(estimator, Schema(name, names, count, missing=takes_missing(estimator)), columns)
    by_name = isinstance(schema, Mixed)
    method = Method(estimator, check_output(estimator, output), named=by_name)
    check_frames(estimator, named=by_name)
    if known is not None and output == "label_proba" and len(set(map(str, known))) < len(known):
        raise ModelError(
            f"labels= has one name for two classes in {list(known)}: output='label_proba' needs different ones"
        )
    return ModelFunction(method, schema, named, source, shown)


def on_engine(fn: ModelFunction, engine: str, sample: Any = None) -> ModelFunction:
    """Return a model that an engine computes, verified on the rows of `sample`, or on drawn ones without a sample.

    Raises:
        Disagreement: its answers to some of them differ from the estimator's.
        ModelError: there is no such engine, it can't compute the model, or the model can't take the rows.
    """
    if isinstance(fn.method, Compiled):
        return fn
    find_engine(engine)
    if not isinstance(fn.schema, Schema):
        raise ModelError("its rows are not numbers alone, and no others are compiled: leave engine= out")
    try:
        table = None if sample is None else fn.schema.table(sample)
    except BadRows as error:
        raise ModelError(
            f"sample= has a row that the model does not take: {next(iter(error.errors.values()))}"
        ) from error
    return replace(fn, method=compile_method(fn.method, engine, table))


def model_info(fn: ModelFunction) -> ModelInfo:
    """Return what is known of a model before it runs."""
    estimator = fn.estimator
    return ModelInfo(
        features=fn.schema.features,
        n_features=getattr(estimator, "n_features_in_", None),
        output=fn.output,
        outputs=outputs(estimator),
        kind=kind(estimator),
        classes=fn.classes,
        width=_width(fn),
        file=fn.file,
        engine=fn.engine,
        note=fn.method.note if isinstance(fn.method, Compiled) else fn.note,
    )


def _width(fn: ModelFunction) -> int | None:
    estimator, classes = fn.estimator, fn.classes
    if fn.output in ("proba", "label_proba"):
        return None if classes is None else len(classes)
    if fn.output == "predict" and has_method(estimator, "predict"):
        # A regressor does not say how many columns its target had.
        return None if classes is None or getattr(estimator, "multilabel_", False) else 0
    vocabulary = getattr(estimator, "vocabulary_", None)
    if fn.output == "decision" or vocabulary is not None:
        return None if vocabulary is None else len(vocabulary)
    try:
        return len(estimator.get_feature_names_out())
    except Exception:  # not every transformer knows them, and each raises an error of its own
        return None


def with_function(step: Step, fn: ModelFunction) -> Step:
    """Return the step of a model with another model in its place."""
    return replace(step, fn=fn, key=fn.key, reading=fn.schema, model=model_info(fn))


def accepting(step: Step, extra: frozenset[str] | None) -> Step:
    """Return the step with the names `extra` accepted beyond its own features (None: any), if it reads rows."""
    fn = step.fn
    if step.reading is None or not isinstance(fn, ModelFunction | Rows) or fn.schema.extra == extra:
        return step
    schema = fn.schema
    wider = (
        replace(schema, schema=replace(schema.schema, extra=extra))
        if isinstance(schema, Mixed)
        else replace(schema, extra=extra)
    )
    fn = replace(fn, schema=wider)
    key = fn.key if isinstance(fn, ModelFunction) else ("rows", repr(wider))
    return replace(step, fn=fn, key=key, reading=wider)
