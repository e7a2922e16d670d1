"""How the rows of an estimator are read: by its signature, or by what it was fitted on."""

from __future__ import annotations

from typing import Any

from stretto.errors import ModelError
from stretto.models.estimator import fitted_names, has_method, parts
from stretto.models.input.column_types import ColumnType, column_types, form_of, knows_large, wants_categories
from stretto.models.input.columns import column_input
from stretto.models.input.mixed import MixedInput
from stretto.models.input.numeric import NumericInput
from stretto.models.input.open import OpenInput
from stretto.models.input.reader import ModelReader
from stretto.models.input.row import RowFormat
from stretto.models.input.single import SingleInput
from stretto.models.input.typed import TypedColumn
from stretto.models.signature import Column, Signature


def infer_reader(estimator: Any, row: RowFormat, signature: Signature | None = None) -> ModelReader:
    """Return the reader of an estimator's rows, which have the types of its signature, where one was recorded.

    Raises:
        ModelError: it was fitted on categories, and there is no signature; or the signature has columns that it does
            not take.
    """
    typed = signature if signature is not None and signature.is_typed else None
    form = form_of(estimator)
    if typed is not None and typed.form == "values":
        form = form or ("text" if typed.columns[0].is_text else "any")
    if form is not None:
        return SingleInput(row.model, form)
    if typed is None and wants_categories(estimator):
        raise ModelError(
            f"{type(estimator).__name__} was fitted on columns of categories: pass features=X_train, the data frame "
            "that it was fitted on, which has their names"
        )
    if row.count is None:
        # A function is called with an array of numbers, as its page says; an object of one's own with what there is.
        opened = has_method(estimator, "predict", "transform") and not hasattr(estimator, "n_features_in_")
        return OpenInput(row) if opened else NumericInput(row)
    types = column_types(estimator, row.count)
    if typed is not None:
        return _of_signature(estimator, row, typed, types)
    names = fitted_names(estimator)
    if names is None and all(each.holds == "any" for each in types):
        names = row.features  # such as a transformer of one's own at the front of a pipeline
    if not _only_known(estimator) and has_method(estimator, "predict", "transform"):
        # It may look at the types of the columns.
        types = tuple(ColumnType("any") if _is_plain(each) else each for each in types)
    if all(map(_is_plain, types)):
        return NumericInput(row)
    columns = tuple(column_input(row, at, each) for at, each in enumerate(types))
    return MixedInput(row, columns, None if names is None else tuple(map(str, names)))


def _of_signature(
    estimator: Any, row: RowFormat, signature: Signature, types: tuple[ColumnType, ...]
) -> NumericInput | MixedInput:
    for column, each in zip(signature.columns, types, strict=True) if _only_known(estimator) else ():
        if each.holds == "number" and not each.known and _is_no_number(column):
            if column.categories is not None and wants_categories(estimator):
                continue
            raise ModelError(
                f"features= has {'categories' if column.categories is not None else 'texts'} in column "
                f"{column.label!r}, and {type(estimator).__name__} takes numbers there"
            )
    if (
        all(map(_is_plain, types))
        and _only_known(estimator)
        and all(each.dtype in _PLAIN for each in signature.columns)
    ):
        return NumericInput(row, tuple(at for at, each in enumerate(signature.columns) if each.dtype == "float32"))
    columns = tuple(
        TypedColumn(row, at, each, column)
        for at, (each, column) in enumerate(zip(types, signature.columns, strict=True))
    )
    framed = signature.form == "frame" or fitted_names(estimator) is not None
    return MixedInput(row, columns, tuple(each.name for each in signature.columns) if framed else None)


_PLAIN = frozenset(f"{kind}{bits}" for kind in ("int", "uint", "float") for bits in (8, 16, 32, 64)) | {"bool"}


_KNOWN = frozenset({"sklearn", "lightgbm", "xgboost", "catboost", "imblearn", "stretto"})
_MLFLOW = "stretto.models.files.mlflow"


def _is_no_number(column: Column) -> bool:
    numbers = column.category_dtype.lower().startswith(("int", "uint", "float", "bool"))
    return column.is_text or (column.categories is not None and not numbers)


def _is_plain(column: ColumnType) -> bool:
    """Return whether a column holds numbers of which the model knows nothing that an array of floats would lose."""
    return column == ColumnType() or (column.holds == "number" and column.known is None and not knows_large(column))


def _only_known(estimator: Any) -> bool:
    """Return whether an estimator and its parts are of packages that compute numbers alike in an array and a frame."""
    modules = [type(part).__module__ for part in (estimator, *parts(estimator))]
    # What MLflow runs is a model of any kind.
    return _MLFLOW not in modules and all(module.partition(".")[0] in _KNOWN for module in modules)
