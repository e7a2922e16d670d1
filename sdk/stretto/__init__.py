"""Compose models as code; run the composition in your process, on Ray Serve or over HTTP, with the same answers."""

from stretto import errors
from stretto._ir import (
    UNDECIDED,
    Aside,
    Call,
    Choose,
    Each,
    Input,
    Join,
    Node,
    Pack,
    Plan,
    Recover,
    Step,
    Until,
    Within,
)
from stretto._pipeline import Part, Pipeline, composer, model, parallel, step
from stretto.client import Client, Submission
from stretto.transports.base import Metadata, Span, Trace

__all__ = [
    "UNDECIDED",
    "Aside",
    "Call",
    "Choose",
    "Client",
    "Each",
    "Input",
    "Join",
    "Metadata",
    "Node",
    "Pack",
    "Part",
    "Pipeline",
    "Plan",
    "Recover",
    "Span",
    "Step",
    "Submission",
    "Trace",
    "Until",
    "Within",
    "composer",
    "errors",
    "model",
    "parallel",
    "step",
]
