"""The labels of a classifier's classes: where they come from, and how answers get them."""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np

from stretto.errors import ModelError
from stretto.models.estimator import classes_of_estimator


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
        # Dtype object: numpy would turn the labels (1, "a") into strings, and cut longer ones in some operations.
        self._sorted = np.array([*names, None], dtype=object)[:-1][order]
        # Where the classes are 0, 1, 2 and so on, an answer is its label's position.
        counted = classes.dtype.kind in "iu" and np.array_equal(classes, np.arange(len(classes)))
        self._classes = None if counted else classes[order]

    def __getstate__(self) -> dict[str, Any]:
        return {"estimator": self.estimator, "names": self.names}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)

    def of(self, answers: Any) -> np.ndarray:
        """Return the label of each predicted class."""
        return self._sorted[answers if self._classes is None else np.searchsorted(self._classes, answers)]


def check_labels(estimator: Any, labels: Sequence[Any]) -> None:
    """Refuse labels that don't name the classes of the estimator one by one.

    Raises:
        ModelError: it has no classes, or another number of them.
    """
    kind = type(estimator).__name__
    classes = classes_of_estimator(estimator)
    if classes is None:
        raise ModelError(f"labels= names classes, and {kind} has no one list of classes_: leave labels= out")
    if len(labels) != len(classes):
        raise ModelError(
            f"labels= has {len(labels)} names {list(labels)}, but {kind} tells {len(classes)} classes apart: "
            f"{classes.tolist()}; give one for each, in this order"
        )


def read_labels(labels: Any) -> tuple[Any, ...] | None:
    """Return labels as Python values, from a list, a tuple, an array or the path of a JSON file with a list.

    Raises:
        ModelError: they are something else, or the file is not there or holds something else.
    """
    if labels is None:
        return None
    if isinstance(labels, str | os.PathLike):
        labels = _read_json(Path(cast("str", labels)).expanduser())
    elif not isinstance(labels, list | tuple):
        # Arrays and series; a set has no order and a dict two sides.
        labels = labels.tolist() if hasattr(labels, "tolist") else labels
    if not isinstance(labels, list | tuple):
        raise ModelError(
            f"labels={labels!r}: give a list with a label for each class, or the path of a JSON file with one"
        )
    plain = [each.item() if isinstance(each, np.generic) else each for each in cast("Sequence[Any]", labels)]
    odd = [each for each in plain if not isinstance(each, str | int | float | bool | None)]
    if odd:
        raise ModelError(f"labels= has {odd[0]!r}: a label is a string or a number")
    return tuple(plain)


def _read_json(path: Path) -> Any:
    check_there(path, "labels file")
    try:
        return msgspec.json.decode(path.read_bytes())
    except (OSError, msgspec.DecodeError) as error:
        raise ModelError(f"can't read labels from {path.absolute()}: {error}; it should hold a JSON list") from error


def check_there(path: Path, what: str = "model file") -> None:
    """Raise ModelError unless there is a file at `path`."""
    if path.is_dir():
        raise ModelError(f"{path.absolute()} is a directory: give the path of the {what} in it")
    if path.is_file():
        return
    if not path.parent.is_dir():
        raise ModelError(f"there is no {what} {path.absolute()}: its directory does not exist")
    beside = [each.name for each in sorted(path.parent.iterdir()) if each.is_file()]
    alike = [name for name in beside if Path(name).stem == path.stem] or difflib.get_close_matches(
        path.name, beside, n=1
    )
    hint = f"; did you mean {alike[0]!r}, beside it?" if alike else ""
    raise ModelError(f"there is no {what} {path.absolute()}{hint}")
