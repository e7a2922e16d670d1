"""How the rows of an estimator are read, from what was fitted."""

from __future__ import annotations

from typing import Any, TypeAlias

from stretto._models.kinds import Kind, column_kinds, form_of
from stretto._models.mixed import Mixed
from stretto._models.rows import Schema
from stretto._models.values import Values

Intake: TypeAlias = Schema | Mixed | Values


def intake(estimator: Any, schema: Schema) -> Intake:
    """Give what reads the rows of an estimator: its `schema` where all features are numbers."""
    form = form_of(estimator)
    if form is not None:
        return Values(schema.model, form)
    if schema.count is None:
        return schema
    kinds = column_kinds(estimator, schema.count)
    if all(kind == Kind() or kind.holds == "number" and kind.known is None for kind in kinds):
        return schema
    names = getattr(estimator, "feature_names_in_", None)
    return Mixed(schema, kinds, None if names is None else tuple(map(str, names)))
