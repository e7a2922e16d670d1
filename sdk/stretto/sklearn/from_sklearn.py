"""A fitted ensemble or pipeline of scikit-learn as a Stretto pipeline of its parts."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import replace
from functools import reduce
from operator import rshift
from typing import Any, Literal, TypeAlias, cast

import numpy as np

from stretto.models import ModelFunction, default_name, model_step
from stretto.models.estimator import Output, classes_of_estimator, has_method, kind
from stretto.models.function import rows_step
from stretto.models.input.column_types import column_places
from stretto.models.input.mixed import MixedInput
from stretto.models.method import method_of
from stretto.models.returned import gives_frames
from stretto.models.step import Identity
from stretto.pipeline import Atom, Pipeline, parallel
from stretto.plan.nodes import Call, Node
from stretto.plan.steps import ModelInfo, Step
from stretto.sklearn.parts import Classes, Labelled, Member, Select, SideBySide

Part: TypeAlias = Pipeline[Any, Any]

OUTPUTS: dict[str, Output] = {"predict": "predict", "predict_proba": "proba", "decision_function": "decision"}


def from_sklearn(
    estimator: Any,
    *,
    name: str | None = None,
    features: Any = None,
    labels: Any = None,
    output: str = "predict",
    extra: Literal["forbid", "ignore"] = "forbid",
) -> Pipeline[Any, Any]:
    """Return the parts of a fitted estimator as a pipeline that answers as it does, its members side by side.

    A ``VotingClassifier`` becomes a `vote` or an `average`, a ``VotingRegressor`` an `average`, a
    ``StackingClassifier`` or ``StackingRegressor`` a `stack` of the catalogue (with weights, `weighted`); a
    ``Pipeline`` is a chain, a ``FeatureUnion`` or ``ColumnTransformer`` its parts side by side, and a search the best
    estimator it found: at any depth, each member is a step. Any other estimator is a single step, as in `model`.

    Rows are read once for all members. Labels are the same, and numbers to 1e-9. A table that scikit-learn keeps sparse
    does not travel between steps, so what makes one stays in one step with what takes it; so does a ``FeatureUnion`` or
    ``ColumnTransformer`` that makes data frames. `name`, `features`, `labels`, `output` and `extra` are those of
    `model`.

    Raises:
        ModelError: it is not fitted, or names, labels or output do not fit it.

    >>> from sklearn.datasets import load_iris
    >>> from sklearn.ensemble import VotingClassifier
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.svm import SVC
    >>> iris = load_iris()
    >>> voting = VotingClassifier([("logistic", LogisticRegression(max_iter=1000)), ("svm", SVC())])
    >>> pipeline = from_sklearn(voting.fit(iris.data, iris.target), labels=iris.target_names)
    >>> [step.name for step in pipeline.plan().steps() if not step.internal]
    ['logistic', 'svm']
    """
    whole = model_step(estimator, name=name, features=features, labels=labels, output=output, extra=extra)
    fn = cast("ModelFunction", whole.fn)
    framed = isinstance(fn.reader, MixedInput) and fn.reader.frame is not None
    wanted: Output = "proba" if fn.output == "label_proba" else fn.output
    parts = _Parts().of(fn.estimator, wanted, name or default_name(estimator), framed)
    if parts is None:
        return _call(whole)
    pipeline = _call(replace(rows_step(fn.reader, strict=True), internal=True)) >> parts
    if fn.classes is not None and fn.output not in ("decision", "transform"):
        labelled = Labelled(fn.classes, fn.labels, by_label=fn.output == "label_proba")
        info = ModelInfo(output=fn.output, kind="classifier", classes=fn.classes)
        pipeline >>= _between(labelled, f"{whole.name} labels", model=info)
    return Pipeline.of(Atom(pipeline.__call__, f"from_sklearn({fn!r})", whole.name))


def _call(step: Step) -> Part:
    return Pipeline.of(Atom(lambda node: Call((node,), step=step), step.name, step.name))


def _between(fn: Callable[[Any], Any], name: str, **options: Any) -> Part:
    """Return a step between the members, which users do not see."""
    return _call(Step(fn=fn, name=name, vectorized=True, named=False, internal=True, **options))


class _Parts:
    """Makes pipelines of the parts of an estimator, over a table that was read. Every member has a name of its own."""

    def __init__(self) -> None:
        self._names: set[str] = set()
        self._steps: dict[Hashable, Step] = {}

    def part(self, estimator: Any, output: Output, name: str, framed: bool) -> Part:
        """Return the estimator's parts, or itself as one."""
        parts = self.of(estimator, output, name, framed)
        return self.whole(estimator, output, name, framed) if parts is None else parts

    def whole(self, estimator: Any, output: Output, name: str, framed: bool) -> Part:
        """Return the estimator as one step."""
        key: Hashable = ("member", Identity(estimator), output, framed)
        if key not in self._steps:
            fn, own = Member(method_of(estimator, output, mixed=framed)), self._unused(name)
            self._steps[key] = Step(
                fn=fn, name=own, vectorized=True, pure=True, key=key, model=_info(estimator, output)
            )
        return _call(self._steps[key])

    def of(self, estimator: Any, output: Output, name: str, framed: bool) -> Part | None:
        """Return the parts of the estimator; None where it stays whole."""
        from sklearn.compose import ColumnTransformer
        from sklearn.ensemble import StackingClassifier, StackingRegressor, VotingClassifier, VotingRegressor
        from sklearn.pipeline import FeatureUnion
        from sklearn.pipeline import Pipeline as Chain

        if hasattr(estimator, "best_estimator_") and has_method(estimator, "predict", "transform"):
            return self.of(estimator.best_estimator_, output, name, framed)
        # A subclass may override anything: only these very classes are known.
        known: dict[type, Callable[..., Part | None]] = {
            Chain: self._chain,
            ColumnTransformer: self._columns,
            FeatureUnion: self._union,
            StackingClassifier: self._stacking,
            StackingRegressor: self._stacking,
            VotingClassifier: self._voting,
            VotingRegressor: self._voting,
        }
        make = known.get(type(estimator))
        return None if make is None else make(estimator, output, name, framed)

    def _chain(self, chain: Any, output: Output, name: str, framed: bool) -> Part | None:
        steps = [(own, step) for own, step in chain.steps if step is not None and step != "passthrough"]
        if not steps:
            return None
        # From the first step on that makes a sparse table, the chain stays together.
        cut = next((at for at, (_, step) in enumerate(steps[:-1]) if gives_sparse(step)), len(steps) - 1)
        if cut == 0 and len(steps) > 1:
            return None
        last = steps[cut][1] if cut == len(steps) - 1 else type(chain)(steps[cut:])
        parts = [self.part(step, "transform", own, framed and at == 0) for at, (own, step) in enumerate(steps[:cut])]
        parts.append(self.part(last, output, steps[-1][0] if len(steps) > 1 else name, framed and cut == 0))
        return reduce(rshift, parts)

    def _voting(self, voting: Any, output: Output, name: str, framed: bool) -> Part | None:
        from stretto_composers import average, vote, weighted

        weights = None if voting.weights is None else list(voting._weights_not_none)
        if output in ("transform", "decision") or (weights and not (min(weights) >= 0 < sum(weights))):
            return None
        classes = getattr(voting, "classes_", None)
        soft = classes is not None and voting.voting == "soft"
        outputs: list[Output] = ["proba" if soft else "predict"] * len(voting.estimators_)
        members = self._members(_names(voting.estimators), voting.estimators_, outputs, framed)
        if classes is not None and output == "predict":
            return vote(*members, weights=weights, voting="soft" if soft else "hard") >> _classes(classes, name)
        mean = average(*members) if weights is None else weighted(*members, weights=weights)
        return mean if classes is None else _of_classes(mean, len(classes))

    def _stacking(self, stacking: Any, output: Output, name: str, framed: bool) -> Part | None:
        from stretto_composers import stack

        classes = getattr(stacking, "classes_", None)
        several = isinstance(classes, list)  # of a target with several columns
        if several or output == "transform" or (stacking.passthrough and framed):
            return None
        outputs: list[Output] = [OUTPUTS[method] for method in stacking.stack_method_]
        members = self._members(_names(stacking.estimators), stacking.estimators_, outputs, framed)
        if stacking.passthrough:
            members.append(Pipeline.of(Atom(lambda node: node, "its own input", "its own input")))
        stacked = stack(self.part(stacking.final_estimator_, output, f"{name} final", framed=False), *members)
        return stacked if classes is None or output != "predict" else stacked >> _classes(classes, name)

    def _union(self, union: Any, output: Output, name: str, framed: bool) -> Part | None:
        members = [(own, member) for own, member in union.transformer_list if member != "drop"]
        whole = gives_frames(union, "transform") or any(
            member == "passthrough" or gives_sparse(member) for _, member in members
        )
        if whole or not members or output not in ("predict", "transform"):
            return None
        parts = {own: self.part(member, "transform", own, framed) for own, member in members}
        return _side_by_side(parts, union.transformer_weights, name)

    def _columns(self, columns: Any, output: Output, name: str, framed: bool) -> Part | None:
        # One that drops every column, or has none, does not know whether its table would be sparse.
        if getattr(columns, "sparse_output_", False) or gives_frames(columns, "transform"):
            return None
        if output not in ("predict", "transform"):
            return None
        fitted = getattr(columns, "feature_names_in_", None)
        names = () if fitted is None else tuple(map(str, fitted))
        parts: dict[str, Part] = {}
        for own, member, chosen in columns.transformers_:
            places = tuple(column_places(chosen, columns.n_features_in_, fitted))
            if not places or (isinstance(member, str) and member == "drop"):
                continue
            select = Select(places, tuple(names[at] for at in places) if names else (), isinstance(chosen, str | int))
            key = ("select", select.places, select.names, select.single)
            parts[own] = _between(select, f"{own} columns", pure=True, key=key)
            if not _is_same(member, framed):
                parts[own] >>= self.part(member, "transform", own, framed and not select.single)
        return _side_by_side(parts, columns.transformer_weights, name) if parts else None

    def _members(
        self, names: Iterable[str], members: Sequence[Any], outputs: Sequence[Output], framed: bool
    ) -> list[Part]:
        parts = [self.part(*each, framed) for each in zip(members, outputs, names, strict=True)]
        return [Pipeline.of(Atom(part.__call__, part.text, own)) for own, part in zip(names, parts, strict=True)]

    def _unused(self, name: str) -> str:
        """Return a name that no other member has."""
        own, count = name, 1
        while own in self._names:
            count += 1
            own = f"{name}-{count}"
        self._names.add(own)
        return own


def _names(estimators: Sequence[tuple[str, Any]]) -> list[str]:
    return [name for name, member in estimators if member != "drop"]


def _info(estimator: Any, output: Output) -> ModelInfo:
    """Return what composers may know of a member. Its predictions stay as they are, so no output is named for them."""
    classes = classes_of_estimator(estimator)
    return ModelInfo(
        output="" if output == "predict" else output,
        outputs=(output,),
        kind=kind(estimator),
        n_features=getattr(estimator, "n_features_in_", None),
        classes=None if classes is None else tuple(classes.tolist()),
    )


def _of_classes(mean: Part, count: int) -> Part:
    """Return a mean of probabilities as that of a classifier, whose classes are their places."""
    info = ModelInfo(output="proba", outputs=("proba",), kind="classifier", classes=tuple(range(count)))

    def lower(node: Node) -> Node:
        made = cast("Call", mean(node))
        return replace(made, step=replace(cast("Step", made.step), model=info))

    return Pipeline.of(Atom(lower, mean.text, mean.label))


def _classes(classes: Any, name: str) -> Part:
    return _between(Classes(np.asarray(classes)), f"{name} classes")


def _side_by_side(parts: dict[str, Part], weights: dict[str, float] | None, name: str) -> Part:
    join = SideBySide(tuple(weights.get(own) for own in parts) if weights else ())
    return parallel(**parts) >> _between(join, name)


def _is_same(member: Any, framed: bool) -> bool:
    """Return whether it returns its table unchanged: a fitted "passthrough" is such an estimator."""
    if isinstance(member, str):
        return True
    return not framed and type(member).__name__ == "FunctionTransformer" and member.func is None


def gives_sparse(estimator: Any) -> bool:
    """Return whether a fitted transformer may return a sparse table."""
    for name in ("sparse_output_", "sparse_output", "sparse"):
        if isinstance(getattr(estimator, name, None), bool):
            return getattr(estimator, name)
    if getattr(estimator, "encode", "") == "onehot":  # of KBinsDiscretizer
        return True
    if hasattr(estimator, "steps"):
        return any(gives_sparse(step) for _, step in estimator.steps)
    if hasattr(estimator, "transformer_list"):
        return any(gives_sparse(part) for _, part in estimator.transformer_list)
    from sklearn.utils import get_tags

    tags = get_tags(estimator).input_tags if hasattr(estimator, "__sklearn_tags__") else None
    return tags is not None and not tags.two_d_array and (tags.string or tags.dict)
