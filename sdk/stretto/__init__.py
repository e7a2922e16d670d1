"""Compose models as code; run the composition in your process, on Ray Serve or over HTTP, with the same answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stretto import errors
from stretto.client import Client, Submission
from stretto.compiler import Explanation, Profile
from stretto.composer import composer
from stretto.engine.context import Span
from stretto.engine.results import Metadata, Trace
from stretto.models import Answers, SavedModel, answering, answers_of, load_model, rows_read, save_model
from stretto.observe.profile import profile
from stretto.pipeline import Part, Pipeline, model, parallel, step
from stretto.plan.nodes import Around, Aside, Call, Choose, Each, Input, Instead, Join, Node, Pack, Recover, Within
from stretto.plan.plan import Plan
from stretto.plan.protocols import UNDECIDED, Body, Policy, Until
from stretto.plan.steps import Step
from stretto.sklearn.from_sklearn import from_sklearn

if TYPE_CHECKING:
    from stretto.serve.application import application
    from stretto.serve.cluster import local_ray
    from stretto.serve.deploy import deploy
    from stretto.server import asgi
    from stretto.sklearn.as_estimator import as_estimator

__all__ = [
    "UNDECIDED",
    "Answers",
    "Around",
    "Aside",
    "Body",
    "Call",
    "Choose",
    "Client",
    "Each",
    "Explanation",
    "Input",
    "Instead",
    "Join",
    "Metadata",
    "Node",
    "Pack",
    "Part",
    "Pipeline",
    "Plan",
    "Policy",
    "Profile",
    "Recover",
    "SavedModel",
    "Span",
    "Step",
    "Submission",
    "Trace",
    "Until",
    "Within",
    "answering",
    "answers_of",
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
    "parallel",
    "profile",
    "rows_read",
    "save_model",
    "step",
]

_LATER = {
    "application": "serve.application",
    "as_estimator": "sklearn.as_estimator",
    "asgi": "server",
    "deploy": "serve.deploy",
    "local_ray": "serve.cluster",
}
"""Names whose modules import ray, scikit-learn or starlette: they are loaded when they are first asked for."""


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module 'stretto' has no attribute {name!r}")
    from importlib import import_module

    try:
        return getattr(import_module(f"stretto.{_LATER[name]}"), name)
    except ModuleNotFoundError as error:
        extra = {"as_estimator": "models", "asgi": "server"}.get(name, "serve")
        raise ImportError(f"stretto.{name} needs {error.name}: pip install 'stretto[{extra}]'") from error
