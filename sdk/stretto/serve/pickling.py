"""What is pickled for other processes: plans, with models as the paths of their files, and batches of rows."""

from __future__ import annotations

import io
import pickle
import socket
from collections.abc import Collection
from functools import cache
from hashlib import sha256
from typing import Any, Literal, TypeAlias

import numpy as np

from stretto.batch.batch import Batch
from stretto.batch.contain import failure
from stretto.batch.isolate import each_row
from stretto.errors import InputError, StrettoError, text_of
from stretto.models import File, FileReference, digest, read_reference
from stretto.plan.plan import Plan
from stretto.serve.cluster import connected
from stretto.serve.ray import NodeAffinitySchedulingStrategy, Pickler, cloudpickled, ray, ray_errors

Reference: TypeAlias = tuple[FileReference, Literal["model", "estimator"]]
"""What stands in a pickle in place of the model of a file, or of its estimator."""

NODES_TIMEOUT = 10.0
"""Seconds in which each node must have looked for the files."""


def version_of(plan: bytes, *others: str) -> str:
    """Return what says which version a pickled plan is, together with the versions of `others`."""
    return sha256(plan + "".join(others).encode()).hexdigest()[:16]


def pickle_plan(plan: Plan, paths: Collection[str] = ()) -> bytes:
    """Return a plan pickled, with the models of files in `paths` as their paths, and others as bytes."""
    references: dict[int, Reference] = {}
    for file in _files(plan):
        content = digest(file.path) if file.path in paths and id(file.saved) not in references else None
        if content is not None:
            reference = FileReference(file.path, content, file.options)
            references |= {id(file.saved): (reference, "model"), id(file.saved.estimator): (reference, "estimator")}

    class ByReference(Pickler):
        def persistent_id(self, obj: Any) -> Reference | None:
            return references.get(id(obj))

    stream = io.BytesIO()
    ByReference(stream).dump(plan)
    return stream.getvalue()


def unpickle_plan(content: bytes) -> Any:
    """Return the plan of `pickle_plan`, with the models of its paths read here, each file once a process.

    Raises:
        ModelError: a file is not here any more, or its content differs.
    """
    # Kept until all of the plan is there: a model without references would be read again.
    read = cache(read_reference)

    class Reading(pickle.Unpickler):
        def persistent_load(self, pid: Reference) -> Any:
            reference, what = pid
            return read(reference) if what == "model" else read(reference).estimator

    return Reading(io.BytesIO(content)).load()


def reachable(plan: Plan) -> frozenset[str]:
    """Return the paths of model files that every node of the connected Ray has, with the content that was read.

    A file that has changed since, or that a node lacks, is not among them. Without Ray there are none. This blocks.
    """
    paths = [file.path for file in _files(plan) if file.is_current]
    if not paths or not connected():
        return frozenset()
    here = socket.gethostname()
    nodes = [each["NodeID"] for each in ray.nodes() if each["Alive"] and each["NodeManagerHostname"] != here]
    look: Any = ray.remote(num_cpus=0)(_digests)
    strategies = [NodeAffinitySchedulingStrategy(node, soft=False) for node in nodes]
    tasks = [look.options(scheduling_strategy=strategy).remote(paths) for strategy in strategies]
    try:
        others: list[list[str | None]] = ray.get(tasks, timeout=NODES_TIMEOUT) if tasks else []
    except ray_errors.RayError:
        return frozenset()
    return frozenset(path for path, *same in zip(paths, _digests(paths), *others, strict=True) if len(set(same)) == 1)


def _files(plan: Plan) -> list[File]:
    """Return the files that the plan's models were read from."""
    models = [step.model for step in plan.steps() if step.model is not None]
    return [model.file for model in models if isinstance(model.file, File)]


def _digests(paths: list[str]) -> list[str | None]:
    return [digest(path) for path in paths]


def pack_batch(batch: Batch) -> bytes:
    """Return a batch pickled, or raise what pickling one of its values raises.

    Bytes are all that Ray gets to see: it would make the arrays of a task read-only. Rows that are arrays of one shape
    and type travel as one array.
    """
    values = _stacked(batch.values) if isinstance(batch.values, list) and not batch.errors else batch.values
    return cloudpickled((values, batch.size, batch.errors, batch.request))


def unpack_batch(content: bytes) -> Batch:
    """Return the batch of `pack_batch`."""
    values, size, errors, request = pickle.loads(content)
    return Batch(values, size, errors, request=request)


def sendable(batch: Batch, name: str) -> tuple[Batch, list[int], dict[int, StrettoError]]:
    """Return the rows that can be pickled, their positions, and the errors of the others.

    Such an error is the caller's where the value is; of any other value it is a failure of the step `name`.

    Raises:
        Exception: all rows can be pickled alone.
    """
    errors: dict[int, StrettoError] = {}
    for i, why in each_row(batch.outcomes(), cloudpickled).errors.items():
        own = batch.from_request(i)
        errors[i] = InputError(f"the row can't be sent: {text_of(why)}") if own else failure(name, why)
    rest = [i for i in range(batch.size) if i not in errors]
    return batch.take(rest), rest, errors


def _stacked(rows: list[Any]) -> list[Any] | np.ndarray:
    first = rows[0] if rows else None
    if not isinstance(first, np.ndarray) or not first.ndim or first.dtype.hasobject:
        return rows
    same = all(isinstance(row, np.ndarray) and row.shape == first.shape and row.dtype == first.dtype for row in rows)
    return np.stack(rows) if same else rows
