"""Compose models as code; run the composition in your process, on Ray Serve or over HTTP, with the same answers.

Authors of composers find the nodes of plans in `stretto.nodes`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stretto import errors, nodes
from stretto.client import Client, Submission
from stretto.compiler import Explanation, Profile
from stretto.composer import composer
from stretto.engine.context import Span
from stretto.engine.results import Metadata, Trace
from stretto.models import SavedModel, load_model, save_model
from stretto.observe.profile import profile
from stretto.pipeline import Pipeline, model, parallel, step
from stretto.sklearn.from_sklearn import from_sklearn

if TYPE_CHECKING:
    from stretto.observe.simulate import Simulation, simulate
    from stretto.serve.application import application
    from stretto.serve.cluster import local_ray
    from stretto.serve.deploy import deploy
    from stretto.server import asgi
    from stretto.sklearn.as_estimator import as_estimator

__all__ = [
    "Client",
    "Explanation",
    "Metadata",
    "Pipeline",
    "Profile",
    "SavedModel",
    "Simulation",
    "Span",
    "Submission",
    "Trace",
    "application",
    "as_estimator",
    "asgi",
    "composer",
    "deploy",
    "errors",
    "from_sklearn",
    "load_model",
    "local_ray",
    "model",
    "nodes",
    "parallel",
    "profile",
    "save_model",
    "simulate",
    "step",
]

_LATER = {
    "Simulation": "observe.simulate",
    "application": "serve.application",
    "as_estimator": "sklearn.as_estimator",
    "asgi": "server",
    "deploy": "serve.deploy",
    "local_ray": "serve.cluster",
    "simulate": "observe.simulate",
}
"""Names whose modules import ray, scikit-learn or starlette: they are loaded when they are first used."""


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in nodes.__all__:
        from warnings import warn

        warn(f"stretto.{name} is now stretto.nodes.{name}: import it from there", DeprecationWarning, stacklevel=2)
        return getattr(nodes, name)
    if name not in _LATER:
        raise AttributeError(f"module 'stretto' has no attribute {name!r}")
    try:
        return getattr(import_module(f"stretto.{_LATER[name]}"), name)
    except ModuleNotFoundError as error:
        extra = {"as_estimator": "models", "asgi": "server"}.get(name, "serve")
        raise ImportError(f"stretto.{name} needs {error.name}: pip install 'stretto[{extra}]'") from error
