"""Compose models as code; run the composition in your process, on Ray Serve or over HTTP, with the same answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stretto import errors
from stretto._compile import Explanation, Profile
from stretto._from_sklearn import from_sklearn
from stretto._ir import (
    UNDECIDED,
    Around,
    Aside,
    Body,
    Call,
    Choose,
    Each,
    Input,
    Instead,
    Join,
    Node,
    Pack,
    Plan,
    Policy,
    Recover,
    Step,
    Until,
    Within,
)
from stretto._models import Answers, SavedModel, answering, answers_of, load_model, rows_read, save_model
from stretto._pipeline import Part, Pipeline, composer, model, parallel, step
from stretto._profile import profile
from stretto._scope import Span
from stretto.client import Client, Submission
from stretto.transports.base import Metadata, Trace

if TYPE_CHECKING:
    from stretto._as_estimator import as_estimator
    from stretto._deploy import application, deploy
    from stretto._ray import local_ray
    from stretto.server import asgi

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
    "application": "_deploy",
    "as_estimator": "_as_estimator",
    "asgi": "server",
    "deploy": "_deploy",
    "local_ray": "_ray",
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
