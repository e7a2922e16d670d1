"""Whether a model can take what stands before it, known before anything runs."""

from __future__ import annotations

from collections.abc import Sequence

from stretto.errors import PipelineError
from stretto.models.input.numeric import listed
from stretto.models.input.single import Values
from stretto.models.step import ModelFunction
from stretto.plan.steps import Step


def check_after_model(step: Step, before: Step) -> None:
    """Refuse a model behind another whose answers it can't take as rows.

    Raises:
        PipelineError: they are single values, have other names, or are not as many as it has features.
    """
    fn, given = step.fn, before.fn
    if not isinstance(fn, ModelFunction) or not isinstance(given, ModelFunction) or isinstance(fn.schema, Values):
        return
    if given.output == "label_proba":
        _check_names(step, fn, [str(each) for each in given.classes or ()], f"model {before.name!r} gives")
        return
    if _is_single(given):
        raise PipelineError(
            f"model {step.name!r} takes rows of features, and model {before.name!r} before it gives one value a row: "
            "is it meant to stand beside it, in parallel()?"
        )
    gives, takes = _width(given), getattr(fn.estimator, "n_features_in_", None)
    if gives is not None and takes is not None and gives != takes:
        raise PipelineError(
            f"model {step.name!r} was fitted on {takes} features, and model {before.name!r} before it gives {gives}"
        )


def check_after_fan_out(step: Step, names: Sequence[str]) -> None:
    """Refuse a model behind a fan-out whose branches are not its features.

    Raises:
        PipelineError: the names differ.
    """
    if isinstance(step.fn, ModelFunction):
        _check_names(step, step.fn, names, "the fan-out before it gives")


def _check_names(step: Step, fn: ModelFunction, names: Sequence[str], gives: str) -> None:
    if isinstance(fn.schema, Values):
        raise PipelineError(f"model {step.name!r} takes single values, and {gives} {listed(names)} by name")
    if fn.features is None:
        raise PipelineError(
            f"model {step.name!r} was fitted without names, and {gives} {listed(names)} by name: "
            "say which of its features these are, with features=[...]"
        )
    wrong = [name for name in fn.features if name not in names] or [name for name in names if name not in fn.features]
    if wrong and set(names) != set(fn.features):
        raise PipelineError(
            f"model {step.name!r} takes {listed(fn.features)}, and {gives} {listed(names)}: {wrong[0]!r} is not in both"
        )


def _is_single(fn: ModelFunction) -> bool:
    # Of a regressor nobody knows: its target may have had several columns.
    one_class = fn.classes is not None and not getattr(fn.estimator, "multilabel_", False)
    return fn.output == "predict" and hasattr(fn.estimator, "predict") and one_class


def _width(fn: ModelFunction) -> int | None:
    """Return how many values it makes of a row, or None where nobody knows."""
    if fn.output == "proba":
        return None if fn.classes is None else len(fn.classes)
    if fn.output == "decision" or (hasattr(fn.estimator, "predict") and fn.output == "predict"):
        return None
    try:
        return len(fn.estimator.get_feature_names_out())
    except Exception:  # not every transformer can tell, and each fails in a way of its own
        return None
