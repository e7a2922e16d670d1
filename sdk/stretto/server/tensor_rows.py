"""Tensors as the rows of a pipeline, and what is known of its tensors before it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

import msgspec
import numpy as np

from stretto.batch.frames import Frame
from stretto.engine.results import Metadata
from stretto.errors import InputError
from stretto.models.signature import Column, Signature
from stretto.wire.inference import BYTES, TensorMetadata
from stretto.wire.tensors import DATATYPES, datatype_of

INPUT: Final = "input"
"""The name in the metadata of an input that may have any."""
OUTPUT: Final = "output"
"""The name of an output that is no key of a dict."""
_NUMBER: Final = "FP64"


def rows_of_tensors(tensors: Mapping[str, np.ndarray], metadata: Metadata) -> Sequence[Any]:
    """Return the rows in a request's tensors.

    Several tensors, or one that is named as a feature, are columns: of shape (n_rows,) or (n_rows, 1). Any other holds
    the rows.

    Raises:
        InputError: columns have other shapes, or several lengths.
    """
    (name, first), *others = tensors.items()
    if others or name in metadata.features:
        return Frame({name: _column(name, each, len(first)) for name, each in tensors.items()}, len(first))
    if first.ndim == 2 and first.shape[1] == 1 and (metadata.takes or {}).get("kind") == "values":
        first = first[:, 0]
    return cast("Sequence[Any]", first.tolist() if first.dtype == object else first)


def input_tensors(metadata: Metadata) -> list[TensorMetadata]:
    """Return what is known of the inputs: one for each named feature, or one of all; none where nothing is known."""
    signature, takes = _signature(metadata), metadata.takes or {}
    unknown = _NUMBER if takes.get("kind") == "numbers" else BYTES
    if signature is not None and signature.form == "values":
        return [TensorMetadata(INPUT, _datatype(signature.columns[0], unknown), [-1])]
    if signature is not None and signature.names is not None:
        return [TensorMetadata(each.label, _datatype(each, unknown), [-1]) for each in signature.columns]
    if metadata.features:
        return [TensorMetadata(name, unknown, [-1]) for name in metadata.features]
    columns = () if signature is None else signature.columns
    datatypes = {_datatype(each, unknown) for each in columns} or {unknown}
    match takes.get("kind"), takes.get("width"):
        case "values", _:
            return [TensorMetadata(INPUT, BYTES, [-1])]
        case None, _:
            return []
        case _, width:
            datatype = datatypes.pop() if len(datatypes) == 1 else BYTES if BYTES in datatypes else _NUMBER
            return [TensorMetadata(INPUT, datatype, [-1, width or -1])]


def output_tensors(metadata: Metadata) -> list[TensorMetadata]:
    """Return what is known of the outputs: none where no model makes them."""
    answers = metadata.answers or {}
    classes = answers.get("classes")
    labels = datatype_of(np.array(classes).dtype) if classes and not _are_texts(classes) else BYTES
    match answers.get("output"), answers.get("width"):
        case "label_proba", _ if classes:
            return [TensorMetadata(str(each), _NUMBER, [-1]) for each in classes]
        case "predict", 0:
            return [TensorMetadata(OUTPUT, labels if classes else _NUMBER, [-1])]
        case (("proba" | "transform"), int() as width):
            return [TensorMetadata(OUTPUT, _NUMBER, [-1, width])]
        case _:
            return []


def no_answers(tensors: Sequence[TensorMetadata]) -> dict[str, tuple[np.ndarray, str]]:
    """Return the outputs of a request without rows, as far as they are known."""
    return {
        each.name: (np.empty([max(0, side) for side in each.shape], DATATYPES[each.datatype]), "") for each in tensors
    }


def declared(
    arrays: dict[str, tuple[np.ndarray, str]], tensors: Sequence[TensorMetadata]
) -> dict[str, tuple[np.ndarray, str]]:
    """Return outputs of which floats have the datatype that the metadata says: their precision follows the input's."""
    for each in tensors:
        array, content_type = arrays.get(each.name, (None, ""))
        if array is not None and array.dtype.kind == DATATYPES[each.datatype].kind == "f":
            arrays[each.name] = array.astype(DATATYPES[each.datatype], copy=False), content_type
    return arrays


def _column(name: str, array: np.ndarray, size: int) -> np.ndarray:
    if array.shape not in ((size,), (size, 1)):
        raise InputError(
            f"input {name!r} has shape {list(array.shape)}: several inputs are columns of one length",
            name,
            f"shape [{size}] or [{size}, 1]",
        )
    return array.reshape(size)


def _signature(metadata: Metadata) -> Signature | None:
    return None if metadata.signature is None else msgspec.convert(metadata.signature, Signature)


def _datatype(column: Column, unknown: str) -> str:
    """Return the datatype of a column: that of texts for what no datatype has, such as dates, `unknown` for no type."""
    if not column.dtype:
        return unknown
    name = column.category_dtype if column.categories is not None else column.dtype.lower()
    try:
        return datatype_of(np.dtype("bool" if name == "boolean" else name).newbyteorder("<"))
    except (TypeError, KeyError):
        return BYTES


def _are_texts(classes: Sequence[Any]) -> bool:
    return not all(isinstance(each, bool | int | float) for each in classes)
