"""Plans on their way to other processes: models go as the paths of their files where those can be read there."""

from __future__ import annotations

import io
import pickle
import socket
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from stretto._ir import Plan
from stretto._models import File, Sent, digest, file_of, received
from stretto._ray import NodeAffinitySchedulingStrategy, Pickler, connected, ray, ray_errors

PATIENCE = 10.0
"""Seconds in which each node must have looked for the files."""


def packed(plan: Plan, there: Collection[str] = ()) -> bytes:
    """Give a plan pickled. The models of files at the paths `there` go as those, others as bytes."""
    known: dict[int, tuple[Any, Sent]] = {}
    for step in plan.steps():
        file = file_of(step)
        if file is not None and file.path in there and id(file.saved.estimator) not in known:
            content = digest(file.path)
            if content is not None:
                known[id(file.saved.estimator)] = (file, Sent(file.path, content, file.reading))
    stream = io.BytesIO()
    _Pickler(stream, {key: sent for key, (_, sent) in known.items()}).dump(plan)
    return stream.getvalue()


def unpacked(content: bytes) -> Any:
    """Give a plan that was pickled, reading its models here where their paths were sent; each file once a process.

    Raises:
        ModelError: a file is not here any more, or is another one.
    """
    return _Unpickler(io.BytesIO(content)).load()


class _Pickler(Pickler):
    def __init__(self, file: io.BytesIO, known: Mapping[int, Sent]) -> None:
        super().__init__(file)
        self._known = known

    def persistent_id(self, obj: Any) -> Sent | None:
        return self._known.get(id(obj))


class _Unpickler(pickle.Unpickler):
    def persistent_load(self, pid: Any) -> Any:
        return received(pid)


def reachable(plan: Plan) -> frozenset[str]:
    """Give the paths of model files that every node of the connected Ray has, with the content that was read.

    A file that was changed since, or that one node lacks, is not among them. Without Ray there are none. This blocks.
    """
    files: dict[str, File] = {file.path: file for file in map(file_of, plan.steps()) if file is not None}
    files = {path: file for path, file in files.items() if _is_as_read(file)}
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
