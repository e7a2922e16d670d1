"""Engines: what can compute a fitted model in place of its estimator, found by entry point."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Final, Protocol, runtime_checkable

import numpy as np

from stretto.errors import ModelError
from stretto.models.estimator import Output
from stretto.models.verify import tree_splits
from stretto.plan.plan import Plan

GROUP: Final = "stretto.engines"
"""The group of entry points. The name of an entry is the engine's, and its object a class without arguments."""


class Kernel(Protocol):
    """One method of one estimator, as an engine computes it. It pickles, and its `str` says what computes it."""

    tolerance: float
    """How far its numbers may differ from the estimator's, as a fraction of the largest one, or of 1 where that is
    larger; labels must be equal."""

    def __call__(self, table: np.ndarray, /) -> np.ndarray:
        """Return the estimator's answers to finite numbers, a float64 array of shape (n_rows, n_features)."""
        ...


@runtime_checkable
class Engine(Protocol):
    """Computes fitted models, for ``model(..., engine=NAME)`` and ``Pipeline.optimize``.

    A package registers its engine, a subclass of this, by an entry point of the group ``stretto.engines``::

        [project.entry-points."stretto.engines"]
        treelite = "my_package:TreeliteEngine"
    """

    def ready(self) -> None:
        """Check that everything that `kernels` imports is installed.

        Raises:
            ModelError: it is not; the message says what to install.
        """

    def kernels(self, estimator: Any, output: Output) -> Iterator[Kernel | Exception]:
        """Return kernels for an output of the estimator, the most exact one first, or the reasons why there are none.

        Each is verified on rows: the first that agrees with the estimator is taken.
        """
        ...

    def splits(self, estimator: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return the features that the estimator's trees split, and the thresholds: rows there are verified too."""
        return tree_splits(estimator)

    def merge(self, plan: Plan) -> Plan:
        """Return a compiled plan in which models of this engine that stand together are computed in one call.

        It is a pass like those of the compiler: it keeps the plan's meaning.
        """
        return plan

    def read(self, path: Path) -> tuple[Any, tuple[str, ...] | None]:
        """Return the model in a file of the engine's own format, and the names of its features, if it has them.

        Raises:
            ModelError: it has no such format, or the file holds no model.
        """
        raise ModelError(f"{path}: this engine reads no files")

    def write(self, estimator: Any, rows: Any, metadata: Mapping[str, str]) -> bytes:
        """Return the content of a file, with metadata, that `read` gives as a model with the estimator's answers.

        They are verified on `rows`, an array or a frame of numbers, or None.

        Raises:
            ModelError: it has no such format, can't write the estimator, or the answers differ.
        """
        raise ModelError("this engine writes no files")


@runtime_checkable
class Plurality(Protocol):
    """An `until` that returns the label with the largest sum of weights; of several, the one that sorts first.

    `plurality` returns the weight of each of the members named, by which an engine that computes them all counts; or
    None where the answer is found in another way.
    """

    def plurality(self, names: tuple[str, ...], /) -> Mapping[str, float] | None:
        """Return each member's weight, or None."""
        ...


@cache
def find_engine(name: str) -> Engine:
    """Return the engine that is registered under a name.

    Raises:
        ModelError: there is none, two packages register one of this name, or it can't be loaded.
    """
    entries = entry_points(group=GROUP)
    named = {(_package(entry), entry.value): entry for entry in entries.select(name=name)}
    if not named:
        known = ", ".join(sorted({repr(entry.name) for entry in entries})) or "none"
        raise ModelError(
            f"engine={name!r} is not installed: the engines are {known}; install the package that provides it, or "
            "leave engine= out for the estimator itself"
        )
    if len(named) > 1:
        both = " and ".join(sorted(package for package, _ in named))
        raise ModelError(f"two packages provide an engine named {name!r}: {both}; uninstall one of them")
    ((package, value),) = named
    try:
        engine = named[package, value].load()()
    except Exception as error:  # whatever importing the package raises
        raise ModelError(
            f"engine {name!r} of {package} can't be loaded from {value} ({type(error).__name__}: {error}): "
            "reinstall or uninstall the package"
        ) from error
    if not isinstance(engine, Engine):
        raise ModelError(f"engine {name!r} of {package}: {value} is not a subclass of stretto.nodes.Engine")
    return engine


def _package(entry: EntryPoint) -> str:
    return "an unnamed package" if entry.dist is None else f"{entry.dist.name} {entry.dist.version}"
