"""Plans on their way to other processes: models go as the paths of their files where those can be read there."""

from __future__ import annotations

import io
import pickle
import socket
from collections.abc import Collection, Hashable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

from stretto.models import File, SavedModel, Sent, digest, received
from stretto.plan.plan import Plan
from stretto.serve.ray import NodeAffinitySchedulingStrategy, Pickler, connected, ray, ray_errors

Reference: TypeAlias = tuple[Sent, Literal["model", "estimator"]]
"""What stands in a pickle in place of the model of a file, or of its estimator."""

PATIENCE = 10.0
"""Seconds in which each node must have looked for the files."""


def packed(plan: Plan, there: Collection[str] = ()) -> bytes:
    """Return a plan pickled. The models of files at the paths `there` go as those, others as bytes."""
    known: dict[int, Reference] = {}
    for file in _files(plan):
        if file.path not in there or id(file.saved) in known:
            continue
        content = digest(file.path)
        if content is not None:
            sent = Sent(file.path, content, file.reading)
            known |= {id(file.saved): (sent, "model"), id(file.saved.estimator): (sent, "estimator")}
    stream = io.BytesIO()
    _Pickler(stream, known).dump(plan)
    return stream.getvalue()


def unpacked(content: bytes) -> Any:
    """Return a plan that was pickled, reading its models here where their paths were sent; each file once a process.

    Raises:
        ModelError: a file is not here any more, or is another one.
    """
    return _Unpickler(io.BytesIO(content)).load()


class _Pickler(Pickler):
    def __init__(self, file: io.BytesIO, known: Mapping[int, Reference]) -> None:
        super().__init__(file)
        self._known = known

    def persistent_id(self, obj: Any) -> Reference | None:
        return self._known.get(id(obj))


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        # Held until all of the plan is there: what nobody holds the process would read again.
        self._read: dict[Hashable, SavedModel] = {}

    def persistent_load(self, pid: Reference) -> Any:
        sent, what = pid
        key = (sent.path, sent.reading.key)
        if key not in self._read:
            self._read[key] = received(sent)
        return self._read[key] if what == "model" else self._read[key].estimator


def reachable(plan: Plan) -> frozenset[str]:
    """Return the paths of model files that every node of the connected Ray has, with the content that was read.

    A file that was changed since, or that one node lacks, is not among them. Without Ray there are none. This blocks.
    """
    files = {file.path: file for file in _files(plan) if _is_as_read(file)}
    if not files or not connected():
        return frozenset()
    others = [
        node["NodeID"] for node in ray.nodes() if node["Alive"] and node["NodeManagerHostname"] != socket.gethostname()
    ]
    if not others:
        return frozenset(files)
    wanted = {path: digest(path) for path in files}
    look: Any = ray.remote(num_cpus=0)(_digests)
    asked = [
        look.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(list(files))
        for node in others
    ]
    try:
        found: list[dict[str, str | None]] = ray.get(asked, timeout=PATIENCE)
    except ray_errors.RayError:
        return frozenset()
    return frozenset(path for path in files if all(each[path] == wanted[path] for each in found))


def _files(plan: Plan) -> list[File]:
    """Return the files that the plan's models were read from."""
    models = [step.model for step in plan.steps() if step.model is not None]
    return [model.file for model in models if isinstance(model.file, File)]


def _digests(paths: list[str]) -> dict[str, str | None]:
    return {path: digest(path) for path in paths}


def _is_as_read(file: File) -> bool:
    path = Path(file.path)
    if path.is_dir():
        return path.exists()
    try:
        status = path.stat()
    except OSError:
        return False
    return (status.st_mtime_ns, status.st_size) == (file.modified, file.size)
