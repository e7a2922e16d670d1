"""The version of scikit-learn that a model was saved with."""

from __future__ import annotations

import warnings
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from stretto.errors import ModelError


@contextmanager
def checked_version(path: Path, *, strict: bool) -> Generator[None]:
    """Warn once if the model that is read in the block was saved with another version, naming both.

    scikit-learn warns of every estimator in a file (`InconsistentVersionWarning`); other warnings pass.

    Raises:
        ModelError: `strict`, and it was saved with another version.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    versions = dict[tuple[str, str], None]()
    for each in caught:
        saved = getattr(each.message, "original_sklearn_version", None)
        if saved is None:
            warnings.warn_explicit(each.message, each.category, each.filename, each.lineno, source=each.source)
        else:
            versions[str(saved), str(getattr(each.message, "current_sklearn_version", ""))] = None
    for saved, installed in versions:
        text = f"{path.absolute()} was saved with scikit-learn {saved}, and {installed} is installed"
        if strict:
            raise ModelError(f"{text}: install scikit-learn=={saved}, or fit and save the model again")
        warnings.warn(
            f"{text}: its answers may differ, or fail. Fit and save it again, or install scikit-learn=={saved}; "
            "strict=True rejects such files",
            stacklevel=2,
        )
