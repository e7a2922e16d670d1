"""How the rows of an estimator are read, inferred from what it was fitted on."""

from __future__ import annotations

from typing import Any

from stretto.errors import ModelError
from stretto.models.input.column_types import ColumnType, column_types, form_of, types_of_frame, wants_categories
from stretto.models.input.mixed import MixedInput
from stretto.models.input.numeric import NumericInput
from stretto.models.input.reader import ModelReader
from stretto.models.input.row import RowFormat
from stretto.models.input.single import SingleInput


def infer_reader(estimator: Any, row: RowFormat, frame: Any = None) -> ModelReader:
    """Return the reader of an estimator's rows.

    `frame` is a data frame like that which it was fitted on, whose types show which columns are categories.

    Raises:
        ModelError: it was fitted on categories, and there is no frame.
    """
    form = form_of(estimator)
    if form is not None:
        return SingleInput(row.model, form)
    if row.count is None:
        return NumericInput(row)
    if frame is None and wants_categories(estimator):
        raise ModelError(
            f"{type(estimator).__name__} was fitted on columns of categories: pass features=X_train, the data frame "
            "that it was fitted on, which has their names"
        )
    recorded = types_of_frame(frame) if frame is not None and hasattr(frame, "dtypes") else ()
    types = recorded if any(each.category for each in recorded) else column_types(estimator, row.count)
    if all(each == ColumnType() or (each.holds == "number" and each.known is None) for each in types):
        return NumericInput(row)
    names = getattr(estimator, "feature_names_in_", row.features if recorded else None)
    return MixedInput.of(row, types, None if names is None else tuple(map(str, names)))
