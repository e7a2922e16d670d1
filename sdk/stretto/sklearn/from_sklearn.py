"""A fitted ensemble or pipeline of scikit-learn as a Stretto pipeline of its parts."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, cast

import numpy as np

from stretto.models import ModelFunction, default_name, model_step
from stretto.models.estimator import Output, has_method
from stretto.models.input.kinds import column_places
from stretto.models.input.mixed import Mixed
from stretto.models.method import Method
from stretto.models.parts import Beside, Classes, Largest, Mean, Member, Most, Saying, Select, Stacked, rows_step
from stretto.models.step import Identity
from stretto.pipeline import Atom, Pipeline
from stretto.plan.nodes import Call, Node, Pack
from stretto.plan.steps import ModelInfo, Step

OUTPUTS: dict[str, Output] = {"predict": "predict", "predict_proba": "proba", "decision_function": "decision"}


def from_sklearn(
    estimator: Any, *, name: str | None = None, features: Any = None, labels: Any = None, output: str = "predict"
) -> Pipeline[Any, Any]:
    """Return the parts of a fitted estimator as a pipeline that answers as it does, its members side by side.

    A ``Pipeline``, ``VotingClassifier``, ``VotingRegressor``, ``StackingClassifier``, ``StackingRegressor``,
    ``FeatureUnion`` or ``ColumnTransformer``, at any depth, becomes a step a member; a search, the best it found; any
    other estimator a single step, as in `model`. Rows are read once for all of them. Labels are the same, and numbers
    to 1e-9. A table that scikit-learn keeps sparse does not travel between steps, so what makes one stays in one step
    with what takes it. `name`, `features`, `labels` and `output` are those of `model`.

    Raises:
        ModelError: it is not fitted, or names, labels or output do not fit it.

    >>> from sklearn.datasets import load_iris
    >>> from sklearn.ensemble import VotingClassifier
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.svm import SVC
    >>> iris = load_iris()
    >>> voting = VotingClassifier([("logistic", LogisticRegression(max_iter=1000)), ("svm", SVC())])
    >>> pipeline = from_sklearn(voting.fit(iris.data, iris.target), labels=iris.target_names)
    >>> [step.name for step in pipeline.plan().steps()]
    ['rows', 'logistic', 'svm', 'votingclassifier', 'votingclassifier classes', 'votingclassifier labels']
    """
    whole = model_step(estimator, name=name, features=features, labels=labels, output=output)
    fn = cast("ModelFunction", whole.fn)
    build = _Build(framed=isinstance(fn.schema, Mixed) and fn.schema.frames is not None)
    asked: Output = "proba" if fn.output == "label_proba" else fn.output
    lower = build.lowered(fn.estimator, asked, name or default_name(estimator), framed=build.framed)
    if lower is None:
        return Pipeline.of(Atom(lambda node: Call((node,), step=whole), whole.name, whole.name))

    def lowered(node: Node) -> Node:
        node = lower(Call((node,), step=rows_step(fn.schema)))
        if fn.classes is None or fn.output in ("decision", "transform"):
            return node
        said = Saying(fn.output, fn.classes, fn.labels)
        known = ModelInfo(output=fn.output, kind="classifier", classes=fn.classes)
        return Call((node,), step=Step(fn=said, name=f"{whole.name} labels", vectorized=True, named=False, model=known))

    return Pipeline.of(Atom(lowered, f"from_sklearn({fn!r})", whole.name))


def _call(node: Node, fn: Callable[[Any], Any], name: str) -> Node:
    return Call((node,), step=Step(fn=fn, name=name, vectorized=True, named=False))


Lower = Callable[[Node], Node]


class _Build:
    """Builds the plan of an ensemble: for each part, a function from the node of its input to that of its answers."""

    def __init__(self, *, framed: bool) -> None:
        self.framed = framed
        self._names: set[str] = set()
        self._made: dict[Hashable, Step] = {}

    def part(self, estimator: Any, output: Output, name: str, *, framed: bool) -> Lower:
        """Return the estimator's parts, or itself as one."""
        return self.lowered(estimator, output, name, framed=framed) or self.whole(
            estimator, output, name, framed=framed
        )

    def whole(self, estimator: Any, output: Output, name: str, *, framed: bool) -> Lower:
        """Return the estimator as one step."""
        key: Hashable = ("member", Identity(estimator), output, framed)
        made = self._made.get(key)
        if made is None:
            fn = Member(Method(estimator, output, named=framed))
            made = Step(fn=fn, name=self._own(name), vectorized=True, pure=True, key=key, model=ModelInfo())
            self._made[key] = made
        return lambda node: Call((node,), step=made)

    def lowered(self, estimator: Any, output: Output, name: str, *, framed: bool) -> Lower | None:
        """Return the parts of the estimator; None where it is to stay whole."""
        from sklearn.compose import ColumnTransformer
        from sklearn.ensemble import StackingClassifier, StackingRegressor, VotingClassifier, VotingRegressor
        from sklearn.pipeline import FeatureUnion
        from sklearn.pipeline import Pipeline as Chain

        if hasattr(estimator, "best_estimator_") and has_method(estimator, "predict", "transform"):
            return self.lowered(estimator.best_estimator_, output, name, framed=framed)
        # A subclass may do otherwise: only these very classes are known.
        known: dict[type, Callable[..., Lower | None]] = {
            Chain: self._chain,
            ColumnTransformer: self._columns,
            FeatureUnion: self._union,
            StackingClassifier: self._stacking,
            StackingRegressor: self._stacking,
            VotingClassifier: self._voting,
            VotingRegressor: self._voting,
        }
        lower = known.get(type(estimator))
        return None if lower is None else lower(estimator, output, name, framed)

    def _chain(self, chain: Any, output: Output, name: str, framed: bool) -> Lower | None:
        steps = [(own, step) for own, step in chain.steps if step is not None and step != "passthrough"]
        if not steps:
            return None
        # From what gives a sparse table on, all stays together.
        cut = next((at for at, (_, step) in enumerate(steps[:-1]) if gives_sparse(step)), len(steps) - 1)
        if cut == 0 and len(steps) > 1:
            return None
        last = steps[cut][1] if cut == len(steps) - 1 else type(chain)(steps[cut:])
        lowers = [
            self.part(step, "transform", own, framed=framed and at == 0) for at, (own, step) in enumerate(steps[:cut])
        ]
        lowers.append(self.part(last, output, steps[-1][0] if len(steps) > 1 else name, framed=framed and cut == 0))

        def lower(node: Node) -> Node:
            for each in lowers:
                node = each(node)
            return node

        return lower

    def _voting(self, voting: Any, output: Output, name: str, framed: bool) -> Lower | None:
        names = [own for own, member in voting.estimators if member != "drop"]
        weights = None if voting.weights is None else tuple(voting._weights_not_none)
        if output == "transform" or output == "decision":
            return None
        if not hasattr(voting, "classes_"):
            return self._beside(voting.estimators_, ["predict"] * len(names), names, framed, [(Mean(weights), name)])
        classes = np.asarray(voting.classes_)
        said = (Classes(classes), f"{name} classes")
        if voting.voting == "hard":
            joins = [(Most(len(classes), weights), name), said]
            return self._beside(voting.estimators_, ["predict"] * len(names), names, framed, joins)
        joins = [(Mean(weights, tables=True), name)]
        joins += [(Largest(), f"{name} largest"), said] if output == "predict" else []
        return self._beside(voting.estimators_, ["proba"] * len(names), names, framed, joins)

    def _stacking(self, stacking: Any, output: Output, name: str, framed: bool) -> Lower | None:
        classes = getattr(stacking, "classes_", None)
        several = isinstance(classes, list)  # of a target with several columns
        if several or output == "transform" or (stacking.passthrough and framed):
            return None
        names = [own for own, member in stacking.estimators if member != "drop"]
        outputs = [OUTPUTS[method] for method in stacking.stack_method_]
        drops = tuple(output == "proba" and classes is not None and len(classes) == 2 for output in outputs)
        joined = self._beside(
            stacking.estimators_, outputs, names, framed, [(Stacked(drops), f"{name} features")], stacking.passthrough
        )
        final = self.part(stacking.final_estimator_, output, f"{name} final", framed=False)
        if classes is None or output != "predict":
            return lambda node: final(joined(node))
        places = Classes(np.asarray(classes))
        return lambda node: _call(final(joined(node)), places, f"{name} classes")

    def _union(self, union: Any, output: Output, name: str, framed: bool) -> Lower | None:
        members = [(own, member) for own, member in union.transformer_list if member != "drop"]
        whole = any(member == "passthrough" or gives_sparse(member) for _, member in members)
        if whole or not members or output not in ("predict", "transform"):
            return None
        weights = union.transformer_weights or {}
        join = Beside(tuple(weights.get(own) for own, _ in members) if weights else ())
        names = [own for own, _ in members]
        outputs: list[Output] = ["transform"] * len(members)
        return self._beside([member for _, member in members], outputs, names, framed, [(join, name)])

    def _columns(self, columns: Any, output: Output, name: str, framed: bool) -> Lower | None:
        if columns.sparse_output_ or output not in ("predict", "transform"):
            return None
        fitted = getattr(columns, "feature_names_in_", None)
        names = () if fitted is None else tuple(map(str, fitted))
        lowers: dict[str, Lower] = {}
        weights: list[float | None] = []
        for own, member, chosen in columns.transformers_:
            places = tuple(column_places(chosen, columns.n_features_in_, fitted))
            if not places or (isinstance(member, str) and member == "drop"):
                continue
            select = Select(places, tuple(names[at] for at in places) if names else (), isinstance(chosen, str | int))
            part = (
                None
                if _is_same(member, framed)
                else self.part(member, "transform", own, framed=framed and not select.single)
            )
            lowers[own] = self._selected(select, part, own)
            weights.append((columns.transformer_weights or {}).get(own))
        join = Beside(tuple(weights) if columns.transformer_weights else ())
        return (lambda node: _call(_packed(node, lowers), join, name)) if lowers else None

    def _selected(self, select: Select, part: Lower | None, name: str) -> Lower:
        key = ("select", select.places, select.names, select.single)
        made = Step(fn=select, name=f"{name} columns", vectorized=True, pure=True, key=key, named=False)
        return lambda node: Call((node,), step=made) if part is None else part(Call((node,), step=made))

    def _beside(
        self,
        members: Sequence[Any],
        outputs: Sequence[Any],
        names: Sequence[str],
        framed: bool,
        joins: Sequence[tuple[Callable[[Any], Any], str]],
        passthrough: bool = False,
    ) -> Lower:
        """Return the members over one value side by side, and behind them what joins their answers."""
        lowers = {
            name: self.part(member, output, name, framed=framed)
            for name, member, output in zip(names, members, outputs, strict=True)
        }
        if passthrough:
            lowers["its own input"] = lambda node: node

        def lower(node: Node) -> Node:
            node = _packed(node, lowers)
            for join, name in joins:
                node = _call(node, join, name)
            return node

        return lower

    def _own(self, name: str) -> str:
        """Return a name that no other part has."""
        taken, base, count = self._names, name, 1
        while name in taken:
            count += 1
            name = f"{base}-{count}"
        taken.add(name)
        return name


def _packed(node: Node, lowers: dict[str, Lower]) -> Node:
    return Pack(tuple(lower(node) for lower in lowers.values()), names=tuple(lowers))


def _is_same(member: Any, framed: bool) -> bool:
    """Return whether it gives its table as it gets it: what "passthrough" has become once it is fitted."""
    if isinstance(member, str):
        return True
    return not framed and type(member).__name__ == "FunctionTransformer" and member.func is None


def gives_sparse(estimator: Any) -> bool:
    """Return whether a fitted transformer may give a sparse table."""
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
