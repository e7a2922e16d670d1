"""Which scikit-learn a model was saved with."""

from __future__ import annotations

import warnings
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from stretto.errors import ModelError


@contextmanager
def of_this_version(path: Path, *, strict: bool) -> Generator[None]:
    """Warn of what is read in the block if another scikit-learn wrote it, naming both versions.

    Raises:
        ModelError: another one wrote it, and it is to be `strict`.
    """
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        yield
    others = dict[tuple[str, str], None]()
    for each in seen:
        wrote = getattr(each.message, "original_sklearn_version", None)
        if wrote is None:
            warnings.warn_explicit(each.message, each.category, each.filename, each.lineno, source=each.source)
        else:
            others[str(wrote), str(getattr(each.message, "current_sklearn_version", ""))] = None
    for wrote, installed in others:
        said = f"{path.absolute()} was saved with scikit-learn {wrote}, and {installed} is installed"
        if strict:
            raise ModelError(f"{said}: install scikit-learn=={wrote}, or fit and save the model again")
        warnings.warn(
            f"{said}: its answers may differ, or fail. Fit and save it again, or install scikit-learn=={wrote}; "
            "strict=True refuses such files",
            stacklevel=2,
        )
