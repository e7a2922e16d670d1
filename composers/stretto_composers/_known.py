"""What is known of a part before it runs."""

from __future__ import annotations

from typing import Any, Protocol, cast, runtime_checkable

from stretto import Call, Node, Step


@runtime_checkable
class Classifier(Protocol):
    """What the function of a model's step says of itself: the kind of its answers, and the classes it tells apart.

    `classes` are as the model's labels name them, in the order of its probabilities; None for a regressor.
    """

    @property
    def output(self) -> str: ...

    @property
    def classes(self) -> tuple[Any, ...] | None: ...


def classifier(node: Node) -> Classifier | None:
    """Give what is known of the model that a node's value comes from; None where it comes from something else."""
    match node:
        case Call(step=Step(fn=fn)) if isinstance(cast("object", fn), Classifier):
            return cast("Classifier", fn)
        case _:
            return None
