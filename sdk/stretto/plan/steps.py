"""What a call runs: a step, or a stage of several."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

from stretto.errors import PipelineError

if TYPE_CHECKING:
    from stretto.plan.plan import Plan


def is_async(fn: Callable[..., Any]) -> bool:
    """Return whether calling `fn` gives a coroutine."""
    if isinstance(fn, type):
        return False
    return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(getattr(fn, "__call__", None))  # noqa: B004


class InputReader(Protocol):
    """Reads the rows of a batch for a vectorised function, once for all steps whose readers have equal keys."""

    @property
    def key(self) -> Hashable:
        """Equal for readers that read alike."""
        ...

    def read(self, batch: Any) -> Any:
        """Return the rows as the function takes them.

        `batch` is a list, an array or a dict of columns; or what a reader with an equal key returned, which is only
        checked. What it raises, the function would have raised.
        """
        ...


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What is known of a fitted model before it runs; whatever is unknown is None or empty.

    Attributes:
        features: The names of its features, in order.
        n_features: The number of values in one of its rows.
        output: What it answers with: ``"predict"``, ``"proba"`` and so on.
        outputs: Every output that it supports.
        kind: ``"classifier"``, ``"regressor"`` or empty.
        classes: The classes it distinguishes, as its answers name them and in the order of its probabilities.
        width: The number of values in one of its answers; 0 where an answer is a single value and not a row.
        signature: What it takes, a `stretto.models.Signature`.
        file: The file it was read from, a `stretto.models.File`.
        engine: The engine that computes it, by name, where that is not the estimator itself.
        note: What the plan says of its engine.
        several_labels: Whether it is a classifier of several targets, which answers with a label for each.
        takes: How its rows are read: ``"numbers"``, ``"values"`` (one a row) or ``"columns"`` of several types.
        warm_up: Answers a made-up row, and raises `ModelError` where the model fails on any.
    """

    features: tuple[str, ...] | None = None
    n_features: int | None = None
    output: str = ""
    outputs: tuple[str, ...] = ()
    kind: Literal["", "classifier", "regressor"] = ""
    classes: tuple[Any, ...] | None = None
    width: int | None = None
    signature: object = None
    file: object = None
    engine: str = ""
    note: str = ""
    several_labels: bool = False
    takes: Literal["", "numbers", "values", "columns"] = ""
    warm_up: Callable[[], None] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """A function applied to a value.

    `fn` takes one row's value, or with `vectorized` a column of them: a list or an array with a row each, or after
    a fan-out a dict of such columns; and gives as many. A `blocking` function runs in a thread of its own; an
    ``async def`` one is awaited. Equal `key`s of `pure` steps mean equal work, which is done once. `options` say where
    it runs, in Ray Serve's words (``num_replicas``, ``ray_actor_options`` and so on). With a `reading`, `fn` takes a
    column, or what that reading made of it: steps that read one column alike share the work. `one` is the row form of a
    vectorised `fn`: where `fn` raises, or returns None, each row is asked for by itself. `model` is what is known of
    a fitted model, and is None for other steps. An `internal` step is one that a composer made: users do not see it.
    What failed on the way to one that is not `idempotent` is not sent again, unless it certainly did not arrive.
    """

    fn: Callable[..., Any]
    name: str
    vectorized: bool = False
    blocking: bool = False
    pure: bool = False
    key: Hashable = None
    options: Mapping[str, Any] = field(default_factory=dict)
    named: bool = True
    reader: InputReader | None = None
    one: Callable[[Any], Any] | None = None
    model: ModelInfo | None = None
    internal: bool = False
    idempotent: bool = True
    asynchronous: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "asynchronous", is_async(self.fn))
        if self.one is not None and (self.asynchronous or not self.vectorized):
            raise PipelineError(f"step {self.name!r}: one= is the row form of a vectorized function that is not async")

    @property
    def waits(self) -> bool:
        """Whether running it can suspend the caller."""
        return self.asynchronous or self.blocking or bool(self.options)

    @property
    def features(self) -> tuple[str, ...] | None:
        """The names of the features it reads, a model's in order; None where they are unknown.

        A function may name them too, as a tuple in its attribute `features`: models then go on rejecting all others.
        """
        if self.model is not None and self.model.features is not None:
            return self.model.features
        names = getattr(self.fn, "features", None)
        return cast("tuple[str, ...]", names) if isinstance(names, tuple) else None

    def __repr__(self) -> str:
        return f"<step {self.name}>"


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """A sub-plan of synchronous steps that runs whole, over a batch of rows, in one go.

    `deployment` names the Ray Serve deployment that runs it, with its `options`; the empty string is the process that
    took the request. `reason` says why it stands where it does. `compute`, if there is one, computes the outcomes of a
    batch in one call, or returns None where it can't: then the plan is evaluated, with the same outcomes.
    """

    plan: Plan
    deployment: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""
    compute: Callable[[Any], Any] | None = None

    @property
    def name(self) -> str:
        """The names of the steps that users know, joined."""
        return "+".join(dict.fromkeys(step.name for step in self.plan.steps() if not step.internal)) or "stage"

    @property
    def waits(self) -> bool:
        """A stage may queue in front of its lane; one that computes is part of another, and runs at once."""
        return self.compute is None

    def __repr__(self) -> str:
        return f"<stage {self.name}>"
