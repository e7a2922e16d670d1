"""Engines: what can compute a fitted model in place of its estimator, found by entry point."""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Final, Protocol, runtime_checkable

import numpy as np

from stretto.errors import ModelError
from stretto.models.estimator import Output
from stretto.models.input.numeric import Given
from stretto.models.method import Method
from stretto.plan.plan import Plan

GROUP: Final = "stretto.engines"
"""The group of entry points; the name of one is the engine's, and its object a class without arguments."""


class CompiledMethod(Protocol):
    """A method of an estimator that an engine computes. It pickles."""

    method: Method
    """The estimator's own method, which it agrees with."""

    faster: bool
    """Whether it was measured to be faster than `method` for a single row."""

    @property
    def estimator(self) -> Any:
        """The fitted estimator."""
        ...

    @property
    def output(self) -> Output:
        """The output it computes: ``"predict"``, ``"proba"`` and so on."""
        ...

    @property
    def note(self) -> str:
        """What the plan says of it: the runtime, the precision, and how it was verified."""
        ...

    def __call__(self, given: Given, /) -> Any:
        """Return what `method` returns for rows that were read, within the tolerance that the note states."""
        ...


@runtime_checkable
class Engine(Protocol):
    """Computes fitted models, for ``model(..., engine=NAME)`` and ``Pipeline.optimize``.

    A package registers its engine by an entry point of the group ``stretto.engines``::

        [project.entry-points."stretto.engines"]
        treelite = "my_package:TreeliteEngine"

    A subclass inherits all methods but `compile`.
    """

    def ready(self) -> None:
        """Return if all that `compile` imports is installed.

        Raises:
            ModelError: it is not; the message says what to install.
        """

    def compile(self, method: Method, rows: np.ndarray | None) -> CompiledMethod:
        """Return the method compiled, after it was verified to agree with the estimator.

        It is verified on `rows`, an array of shape (n_rows, n_features), or on rows of the engine's choice.

        Raises:
            Disagreement: its answers differ from the estimator's; the error holds the rows.
            ModelError: the engine can't compute the estimator.
        """
        ...

    def merge(self, plan: Plan) -> Plan:
        """Return a compiled plan in which models of this engine that stand together are computed in one call.

        It is a pass like those of the compiler: the plan means the same.
        """
        return plan

    def read(self, path: Path) -> tuple[Any, tuple[str, ...] | None]:
        """Return the model in a file of the engine's own format, and the names of its features, if it has them.

        Raises:
            ModelError: it has no such format, or the file can't be a model.
        """
        raise ModelError(f"{path}: the engine reads no files")


@cache
def find_engine(name: str) -> Engine:
    """Return the engine registered under a name.

    Raises:
        ModelError: there is none, two packages register one of this name, or it can't be loaded.
    """
    entries = entry_points(group=GROUP)
    found = {(_package(entry), entry.value): entry for entry in entries.select(name=name)}
    if not found:
        known = ", ".join(sorted({repr(entry.name) for entry in entries})) or "none"
        raise ModelError(
            f"engine={name!r} is not installed: the engines are {known}; install the package that has it, or leave "
            "engine= out for the estimator itself"
        )
    if len(found) > 1:
        both = " and ".join(sorted(package for package, _ in found))
        raise ModelError(f"two packages provide an engine named {name!r}: {both}; uninstall one of them")
    ((package, value),) = found
    try:
        engine = found[package, value].load()()
    except Exception as error:
        raise ModelError(
            f"engine {name!r} of {package} can't be loaded from {value}: {type(error).__name__}: {error}; "
            "reinstall or uninstall the package"
        ) from error
    if not isinstance(engine, Engine):
        raise ModelError(f"engine {name!r} of {package}: {value} is no Engine: it lacks some of its methods")
    return engine


def _package(entry: EntryPoint) -> str:
    return "an unnamed package" if entry.dist is None else f"{entry.dist.name} {entry.dist.version}"


