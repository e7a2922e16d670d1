"""What goes into a model and comes out of it, known before anything runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from stretto.errors import PipelineError
from stretto.models.compiled import Compiled
from stretto.models.estimator import Kind, gives_several_labels, has_method, kind, outputs
from stretto.models.function import ModelFunction
from stretto.models.input.mixed import MixedInput
from stretto.models.input.numeric import NumericInput
from stretto.models.input.row import listed
from stretto.models.input.single import SingleInput
from stretto.plan.nodes import Aside, Call, Choose, Node, Recover, Sub, Within
from stretto.plan.steps import ModelInfo, Step

_TAKES: Final[Mapping[type, Literal["numbers", "values", "columns"]]] = {
    NumericInput: "numbers",
    SingleInput: "values",
    MixedInput: "columns",
}


def model_info(fn: ModelFunction) -> ModelInfo:
    """Return what is known of a model before it runs."""
    return ModelInfo(
        features=fn.reader.features,
        n_features=getattr(fn.estimator, "n_features_in_", None),
        output=fn.output,
        outputs=outputs(fn.estimator),
        kind=kind(fn.estimator),
        several_labels=gives_several_labels(fn.estimator),
        classes=fn.classes,
        width=_width(fn),
        signature=fn.signature,
        file=fn.file,
        engine=fn.engine,
        note=fn.method.note if isinstance(fn.method, Compiled) else fn.note,
        takes=_TAKES.get(type(fn.reader), ""),
        warm_up=fn.warm_up,
    )


def _width(fn: ModelFunction) -> int | None:
    estimator, classes = fn.estimator, fn.classes
    if fn.output in ("proba", "label_proba"):
        return None if classes is None else len(classes)
    if fn.output == "predict" and has_method(estimator, "predict"):
        # The attributes of a regressor do not show the number of columns of its target.
        return None if classes is None or gives_several_labels(estimator) else 0
    vocabulary = getattr(estimator, "vocabulary_", None)
    if fn.output == "decision" or vocabulary is not None:
        return None if vocabulary is None else len(vocabulary)
    try:
        return len(estimator.get_feature_names_out())
    except Exception:  # not every transformer knows them, and each raises an error of its own
        return None


@dataclass(frozen=True, slots=True)
class Answers:
    """What is known of a node's answers before anything runs; everything is empty where no model makes them.

    Attributes:
        output: What the model answers with, in the words of ``model(..., output=)``.
        outputs: Every output that it supports.
        kind: ``"classifier"``, ``"regressor"`` or empty.
        classes: The classes, as the answers name them and in the order of the probabilities, or None.
        features: The number of values in one of the model's rows, None where it is unknown.
        several_labels: Whether it is a classifier of several targets, which answers with a label for each.
    """

    output: str = ""
    outputs: tuple[str, ...] = ()
    kind: Kind = ""
    classes: tuple[Any, ...] | None = None
    features: int | None = None
    several_labels: bool = False


def answers_of(node: Node) -> Answers:
    """Return what is known of a node's answers before anything runs.

    Of a composer that passes the answer of one of its parts on, such as `switch` and `fallback`, that is what the
    parts have in common; nothing, where their outputs or classes differ.

    >>> from stretto.nodes import Input
    >>> answers_of(Input())
    Answers(output='', outputs=(), kind='', classes=None, features=None, several_labels=False)
    """
    match node:
        case Call(step=Step(model=ModelInfo() as model)):
            return Answers(
                model.output, model.outputs, model.kind, model.classes, model.n_features, model.several_labels
            )
        case Sub() | Within() | Recover() | Choose():
            return _common([answers_of(plan.output) for plan in node.plans])
        case Aside(inputs=(main, *_)):
            return answers_of(main)
        case _:
            return Answers()


def _common(parts: Sequence[Answers]) -> Answers:
    if len({(part.output, part.kind, repr(part.classes)) for part in parts}) != 1:
        return Answers()
    first, *others = parts
    supported = tuple(output for output in first.outputs if all(output in part.outputs for part in others))
    same = all(part.features == first.features for part in others)
    return replace(first, outputs=supported, features=first.features if same else None)


def check_after_model(step: Step, before: Step) -> None:
    """Check that a model can take the answers of the model before it as its rows.

    Raises:
        PipelineError: they are single values, or their names or number differ from those of its features.
    """
    model, source = step.model, before.model
    if model is None or source is None or isinstance(step.reader, SingleInput):
        return
    if source.output == "label_proba":
        _check_names(step, model, [str(each) for each in source.classes or ()], f"model {before.name!r} gives")
        return
    if source.width == 0:
        raise PipelineError(
            f"model {step.name!r} takes rows of features, and model {before.name!r} before it gives one value a row: "
            "should they be side by side, in parallel()?"
        )
    if None not in (source.width, model.n_features) and source.width != model.n_features:
        raise PipelineError(
            f"model {step.name!r} was fitted on {model.n_features} features, and model {before.name!r} before it gives "
            f"{source.width}"
        )


def check_after_fan_out(step: Step, names: Sequence[str]) -> None:
    """Check that the branches of a fan-out are the features of the model after it.

    Raises:
        PipelineError: the names differ.
    """
    if step.model is not None and step.reader is not None:
        _check_names(step, step.model, names, "the fan-out before it gives")


def _check_names(step: Step, model: ModelInfo, names: Sequence[str], source: str) -> None:
    if isinstance(step.reader, SingleInput):
        raise PipelineError(f"model {step.name!r} takes single values, and {source} {listed(names)} by name")
    features = model.features
    if features is None:
        raise PipelineError(
            f"model {step.name!r} was fitted without names, and {source} {listed(names)} by name: "
            "name its features in order, with features=[...]"
        )
    different = [name for name in features if name not in names] or [name for name in names if name not in features]
    if different:
        raise PipelineError(
            f"model {step.name!r} takes {listed(features)}, and {source} {listed(names)}: {different[0]!r} is not in "
            "both"
        )
