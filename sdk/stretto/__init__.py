"""Compose models as code; run the composition in your process, on Ray Serve or over HTTP, with the same answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stretto import errors
from stretto._compile import Explanation, Profile
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
    "asgi",
    "composer",
    "deploy",
    "errors",
    "load_model",
    "local_ray",
    "model",
    "parallel",
    "profile",
    "rows_read",
    "save_model",
    "step",
]

_LATER = {"application": "_deploy", "asgi": "server", "deploy": "_deploy", "local_ray": "_ray"}
"""Names whose modules import ray or starlette: they are loaded when they are first asked for."""


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module 'stretto' has no attribute {name!r}")
    from importlib import import_module

    try:
        return getattr(import_module(f"stretto.{_LATER[name]}"), name)
    except ModuleNotFoundError as error:
        extra = "server" if name == "asgi" else "serve"
        raise ImportError(f"stretto.{name} needs {error.name}: pip install 'stretto[{extra}]'") from error
