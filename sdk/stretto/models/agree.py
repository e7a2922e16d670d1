"""Whether a model can take what stands before it, known before anything runs."""

from __future__ import annotations

from collections.abc import Sequence

from stretto.errors import PipelineError
from stretto.models.input.numeric import listed
from stretto.models.input.single import Values
from stretto.plan.steps import ModelInfo, Step


def check_after_model(step: Step, before: Step) -> None:
    """Refuse a model behind another whose answers it can't take as rows.

    Raises:
        PipelineError: they are single values, have other names, or are not as many as it has features.
    """
    model, source = step.model, before.model
    if model is None or source is None or isinstance(step.reading, Values):
        return
    if source.output == "label_proba":
        _check_names(step, model, [str(each) for each in source.classes or ()], f"model {before.name!r} gives")
        return
    if source.width == 0:
        raise PipelineError(
            f"model {step.name!r} takes rows of features, and model {before.name!r} before it gives one value a row: "
            "is it meant to stand beside it, in parallel()?"
        )
    if None not in (source.width, model.n_features) and source.width != model.n_features:
        raise PipelineError(
            f"model {step.name!r} was fitted on {model.n_features} features, and model {before.name!r} before it gives "
            f"{source.width}"
        )


def check_after_fan_out(step: Step, names: Sequence[str]) -> None:
    """Refuse a model behind a fan-out whose branches are not its features.

    Raises:
        PipelineError: the names differ.
    """
    if step.model is not None and step.reading is not None:
        _check_names(step, step.model, names, "the fan-out before it gives")


def _check_names(step: Step, model: ModelInfo, names: Sequence[str], gives: str) -> None:
    if isinstance(step.reading, Values):
        raise PipelineError(f"model {step.name!r} takes single values, and {gives} {listed(names)} by name")
    if model.features is None:
        raise PipelineError(
            f"model {step.name!r} was fitted without names, and {gives} {listed(names)} by name: "
            "say which of its features these are, with features=[...]"
        )
    features = model.features
    wrong = [name for name in features if name not in names] or [name for name in names if name not in features]
    if wrong and set(names) != set(features):
        raise PipelineError(
            f"model {step.name!r} takes {listed(features)}, and {gives} {listed(names)}: {wrong[0]!r} is not in both"
        )
