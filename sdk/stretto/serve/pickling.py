"""What is pickled for other processes: plans, with models as the paths of their files, and batches of rows."""

from __future__ import annotations

import io
import pickle
import socket
from collections.abc import Collection, Mapping
from typing import Any, Literal, TypeAlias, cast

import numpy as np

from stretto.batch.batch import Batch
from stretto.errors import StrettoError
from stretto.models import File, FileReference, SavedModel, digest, read_reference
from stretto.plan.plan import Plan
from stretto.serve.cluster import connected
from stretto.serve.ray import NodeAffinitySchedulingStrategy, Pickler, ray, ray_errors

Reference: TypeAlias = tuple[FileReference, Literal["model", "estimator"]]
"""What stands in a pickle in place of the model of a file, or of its estimator."""

Wire: TypeAlias = Batch | tuple[list[Any] | np.ndarray, bool]
"""A batch on its way: itself, or its rows, with the errors in their places, and whether they are the caller's own."""

NODES_TIMEOUT = 10.0
"""Seconds in which each node must have looked for the files."""


def pickle_plan(plan: Plan, paths: Collection[str] = ()) -> bytes:
    """Return a plan pickled, with the models of files in `paths` as their paths, and others as bytes."""
    references: dict[int, Reference] = {}
    for file in _files(plan):
        if file.path not in paths or id(file.saved) in references:
            continue
        content = digest(file.path)
        if content is not None:
            reference = FileReference(file.path, content, file.options)
            references |= {id(file.saved): (reference, "model"), id(file.saved.estimator): (reference, "estimator")}
    stream = io.BytesIO()
    _Pickler(stream, references).dump(plan)
    return stream.getvalue()


def unpickle_plan(content: bytes) -> Any:
    """Return the plan of `pickle_plan`, with the models of its paths read here, each file once a process.

    Raises:
        ModelError: a file is not here any more, or its content differs.
    """
    return _Unpickler(io.BytesIO(content)).load()


class _Pickler(Pickler):
    def __init__(self, file: io.BytesIO, references: Mapping[int, Reference]) -> None:
        super().__init__(file)
        self._references = references

    def persistent_id(self, obj: Any) -> Reference | None:
        return self._references.get(id(obj))


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        # Kept until all of the plan is there: a model without references would be read again.
        self._read: dict[FileReference, SavedModel] = {}

    def persistent_load(self, pid: Reference) -> Any:
        reference, what = pid
        if reference not in self._read:
            self._read[reference] = read_reference(reference)
        return self._read[reference] if what == "model" else self._read[reference].estimator


def reachable(plan: Plan) -> frozenset[str]:
    """Return the paths of model files that every node of the connected Ray has, with the content that was read.

    A file that has changed since, or that a node lacks, is not among them. Without Ray there are none. This blocks.
    """
    files = {file.path: file for file in _files(plan) if file.is_current}
    if not files or not connected():
        return frozenset()
    others = [
        node["NodeID"] for node in ray.nodes() if node["Alive"] and node["NodeManagerHostname"] != socket.gethostname()
    ]
    if not others:
        return frozenset(files)
    expected = {path: digest(path) for path in files}
    look: Any = ray.remote(num_cpus=0)(_digests)
    tasks = [
        look.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(list(files))
        for node in others
    ]
    try:
        digests: list[dict[str, str | None]] = ray.get(tasks, timeout=NODES_TIMEOUT)
    except ray_errors.RayError:
        return frozenset()
    return frozenset(path for path in files if all(each[path] == expected[path] for each in digests))


def _files(plan: Plan) -> list[File]:
    """Return the files that the plan's models were read from."""
    models = [step.model for step in plan.steps() if step.model is not None]
    return [model.file for model in models if isinstance(model.file, File)]


def _digests(paths: list[str]) -> dict[str, str | None]:
    return {path: digest(path) for path in paths}


def pack_batch(batch: Batch) -> Wire:
    """Return what is sent of a batch: rows that are no columns travel bare, since a list takes least to pickle.

    Rows that are arrays of one shape and type become one array: Ray sends each array by itself.
    """
    rows = batch.values
    if isinstance(rows, np.ndarray) and not batch.errors:
        return rows, batch.request
    if not isinstance(rows, list):
        return batch
    return (batch.outcomes() if batch.errors else _stacked(rows)), batch.request


def unpack_batch(wire: Wire) -> Batch:
    """Return the batch of `pack_batch`, with arrays that can be written to."""
    if isinstance(wire, Batch):
        return writable(wire)
    rows, request = wire
    errors = {} if isinstance(rows, np.ndarray) else {i: x for i, x in enumerate(rows) if isinstance(x, StrettoError)}
    return Batch(writable(rows), len(rows), errors, request=request)


def _stacked(rows: list[Any]) -> list[Any] | np.ndarray:
    first = rows[0] if rows else None
    if not isinstance(first, np.ndarray) or not first.ndim or first.dtype.hasobject:
        return rows
    same = all(isinstance(row, np.ndarray) and row.shape == first.shape and row.dtype == first.dtype for row in rows)
    return np.stack(rows) if same else rows


def writable(values: Any) -> Any:
    """Return a batch, or values, with arrays that can be written to.

    Ray makes the arrays of a task read-only, since they may lie in memory that others share; a function that works in
    place in this process must do so on Serve too.
    """
    match values:
        case np.ndarray():
            return values if values.flags.writeable else values.copy()
        case Batch(values=tuple() as parts):
            own = tuple((rows, cast("Batch", writable(part))) for rows, part in parts)
            return Batch(own, values.size, values.errors, request=values.request)
        case Batch():
            return Batch(writable(values.values), values.size, values.errors, request=values.request)
        case dict():
            return {key: writable(each) for key, each in cast("dict[Any, Any]", values).items()}
        case list():
            return [writable(each) for each in cast("list[Any]", values)] if _holds_arrays(values) else values
        case _:
            return values


def _holds_arrays(values: list[Any]) -> bool:
    # The usual row is a dict of numbers: looking into each would cost as much as the model.
    return any(isinstance(each, np.ndarray) for each in values)
