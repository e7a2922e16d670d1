"""How the rows of an estimator are read, from what was fitted."""

from __future__ import annotations

from typing import Any, TypeAlias

from stretto.errors import ModelError
from stretto.models.input.kinds import Kind, column_kinds, form_of, kinds_of_frame, wants_categories
from stretto.models.input.mixed import Mixed
from stretto.models.input.numeric import Schema
from stretto.models.input.single import Values

Intake: TypeAlias = Schema | Mixed | Values


def intake(estimator: Any, schema: Schema, frame: Any = None) -> Intake:
    """Return what reads the rows of an estimator: its `schema` where all features are numbers.

    `frame` is one like that it was fitted on, and says which of its columns are categories.

    Raises:
        ModelError: it was fitted on categories, and there is no frame to say which.
    """
    form = form_of(estimator)
    if form is not None:
        return Values(schema.model, form)
    if schema.count is None:
        return schema
    if frame is None and wants_categories(estimator):
        raise ModelError(
            f"{type(estimator).__name__} was fitted on columns of categories: pass features=X_train, the frame it was "
            "fitted on, which says what they are"
        )
    told = kinds_of_frame(frame) if frame is not None and hasattr(frame, "dtypes") else ()
    kinds = told if any(kind.category for kind in told) else column_kinds(estimator, schema.count)
    if all(kind == Kind() or (kind.holds == "number" and kind.known is None) for kind in kinds):
        return schema
    names = getattr(estimator, "feature_names_in_", schema.features if told else None)
    return Mixed(schema, kinds, None if names is None else tuple(map(str, names)))
