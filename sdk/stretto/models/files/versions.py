"""The version of scikit-learn that a model was saved with."""

from __future__ import annotations

import warnings
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from stretto.errors import ModelError


@dataclass
class Versions:
    """The versions of scikit-learn that a file was saved with, of those that are not the installed one."""

    path: Path
    saved: dict[str, None] = field(default_factory=dict[str, None])
    installed: str = ""

    def __str__(self) -> str:
        return ", ".join(self.saved)

    def reject(self) -> None:
        """Raise an error if there is another version.

        Raises:
            ModelError: there is.
        """
        if self.saved:
            raise ModelError(f"{self._text()}: install scikit-learn=={self}, or fit and save the model again")

    def warn(self) -> None:
        """Warn if there is another version, naming both."""
        if self.saved:
            warnings.warn(
                f"{self._text()}: its answers may differ, or fail. Fit and save it again, with probes=X to have them "
                f"compared, or install scikit-learn=={self}; strict=True rejects such files",
                stacklevel=3,
            )

    def _text(self) -> str:
        return f"{self.path.absolute()} was saved with scikit-learn {self}, and {self.installed} is installed"


@contextmanager
def other_versions(path: Path) -> Generator[Versions]:
    """Yield the versions that the model which is read in the block was saved with: complete after the block.

    scikit-learn warns of every estimator in a file (`InconsistentVersionWarning`); other warnings pass.
    """
    versions = Versions(path)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield versions
    for each in caught:
        saved = getattr(each.message, "original_sklearn_version", None)
        if saved is None:
            warnings.warn_explicit(each.message, each.category, each.filename, each.lineno, source=each.source)
        else:
            versions.saved[str(saved)] = None
            versions.installed = str(getattr(each.message, "current_sklearn_version", ""))
