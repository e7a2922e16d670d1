"""How the rows of an estimator are read, from what was fitted."""

from __future__ import annotations

from typing import Any, TypeAlias

from stretto._models.kinds import Kind, column_kinds
from stretto._models.mixed import Mixed
from stretto._models.rows import Schema
from stretto._models.values import Form, Values

Intake: TypeAlias = Schema | Mixed | Values


def intake(estimator: Any, schema: Schema) -> Intake:
    """Give what reads the rows of an estimator: its `schema` where all features are numbers."""
    form = _form(estimator)
    if form is not None:
        return Values(schema.model, form)
    if schema.count is None:
        return schema
    kinds = column_kinds(estimator, schema.count)
    if all(kind == Kind() or kind.holds == "number" and kind.known is None for kind in kinds):
        return schema
    names = getattr(estimator, "feature_names_in_", None)
    return Mixed(schema, kinds, None if names is None else tuple(map(str, names)))


def _form(estimator: Any) -> Form | None:
    """Give the form of its rows where these are no rows of features, by what reads them first."""
    while hasattr(estimator, "steps"):
        readers = [step for _, step in estimator.steps if step not in (None, "passthrough")]
        if not readers:
            return None
        estimator = readers[0]
    if hasattr(estimator, "transformer_list"):
        forms = {_form(part) for _, part in estimator.transformer_list if part not in ("drop", "passthrough")}
        return forms.pop() if len(forms) == 1 else None
    best = getattr(estimator, "best_estimator_", None)
    if best is not None:
        return _form(best)
    if not hasattr(estimator, "__sklearn_tags__"):
        return None
    from sklearn.utils import get_tags

    tags = get_tags(estimator).input_tags
    if tags.two_d_array or tags.three_d_array:
        return None
    return "text" if tags.string else "dict" if tags.dict else "number" if tags.one_d_array else "any"
