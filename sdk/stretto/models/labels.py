"""The labels of a classifier's classes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np

from stretto.errors import ModelError
from stretto.models.estimator import classes_of_estimator
from stretto.models.files.paths import check_file


class Labels:
    """The names of a classifier's classes, in the order of its ``classes_``.

    Raises:
        ModelError: the estimator has no classes, or another number of them.
    """

    __slots__ = ("_classes", "_sorted", "estimator", "names")

    def __init__(self, estimator: Any, names: Sequence[Any]) -> None:
        check_labels(estimator, names)
        self.estimator = estimator
        self.names = tuple(names)
        classes = cast("np.ndarray", classes_of_estimator(estimator))
        order = np.argsort(classes)
        # As objects: numpy would turn the labels (1, "a") into strings. The None keeps it from making a 2-d array.
        self._sorted = np.array([*names, None], dtype=object)[:-1][order]
        # Where the classes are 0, 1, 2 and so on, an answer is the position of its label.
        positions = classes.dtype.kind in "iu" and np.array_equal(classes, np.arange(len(classes)))
        self._classes = None if positions else classes[order]

    def __getstate__(self) -> dict[str, Any]:
        return {"estimator": self.estimator, "names": self.names}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)

    def of(self, answers: Any) -> np.ndarray:
        """Return the labels of predicted classes."""
        return self._sorted[answers if self._classes is None else np.searchsorted(self._classes, answers)]


def check_labels(estimator: Any, labels: Sequence[Any]) -> None:
    """Check that there is a label for each of the estimator's classes.

    Raises:
        ModelError: it has no classes, or another number of them.
    """
    name = type(estimator).__name__
    classes = classes_of_estimator(estimator)
    if classes is None:
        raise ModelError(f"labels= needs a classifier with one array classes_, and {name} has none: leave labels= out")
    if len(labels) != len(classes):
        raise ModelError(
            f"labels= has {len(labels)} names {list(labels)}, but {name} has {len(classes)} classes: "
            f"{classes.tolist()}; pass a label for each, in this order"
        )


def read_labels(labels: Any) -> tuple[Any, ...] | None:
    """Return labels as Python values, from a list, a tuple, an array or the path of a JSON file with a list.

    Raises:
        ModelError: they are none of these, or the file is missing or holds no list.
    """
    if labels is None:
        return None
    if isinstance(labels, str | os.PathLike):
        labels = _read_json(Path(cast("str", labels)).expanduser())
    elif not isinstance(labels, list | tuple):
        # Arrays and series. A set has no order, and a dict could mean its keys or its values.
        labels = labels.tolist() if hasattr(labels, "tolist") else labels
    if not isinstance(labels, list | tuple):
        raise ModelError(
            f"labels={labels!r}: pass a list with a label for each class, or the path of a JSON file of one"
        )
    plain = [each.item() if isinstance(each, np.generic) else each for each in cast("Sequence[Any]", labels)]
    wrong = [each for each in plain if not isinstance(each, str | int | float | bool | None)]
    if wrong:
        raise ModelError(f"labels= has {wrong[0]!r}: a label is a string or a number")
    return tuple(plain)


def _read_json(path: Path) -> Any:
    check_file(path, "labels file")
    try:
        return msgspec.json.decode(path.read_bytes())
    except (OSError, msgspec.DecodeError) as error:
        raise ModelError(f"can't read labels from {path.absolute()}: {error}; it should hold a JSON list") from error
