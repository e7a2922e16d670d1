"""Each file's model once in a process, however many steps name it."""

from __future__ import annotations

import weakref
from collections.abc import Hashable
from pathlib import Path
from typing import Any, Final

from stretto._models.files import SavedModel, Trust, load_model

# The one thing a process knows of itself here: two pipelines built apart have no other place to meet. It keeps nothing
# alive; an estimator leaves it with the last step that uses it.
_ESTIMATORS: Final[weakref.WeakValueDictionary[Hashable, Any]] = weakref.WeakValueDictionary()
_BESIDE: Final[dict[Hashable, tuple[tuple[Any, ...] | None, tuple[str, ...] | None]]] = {}


def loaded_once(path: Path, file: Hashable, trusted: Trust) -> SavedModel:
    """Give the model in a file, the very same that other steps have whose `file` is equal.

    What one caller trusts says nothing of another: each trust reads for itself.

    Raises:
        ModelError: as in `load_model`.
    """
    key = (file, trusted if isinstance(trusted, bool | str) else tuple(trusted))
    estimator, beside = _ESTIMATORS.get(key), _BESIDE.get(key)
    if estimator is not None and beside is not None:
        return SavedModel(estimator, *beside)
    saved = load_model(path, trusted=trusted)
    try:
        weakref.finalize(saved.estimator, _BESIDE.pop, key, None).atexit = False
    except TypeError:  # of an object that can't be referred to weakly, every step has its own
        return saved
    _ESTIMATORS[key], _BESIDE[key] = saved.estimator, (saved.labels, saved.features)
    return saved
