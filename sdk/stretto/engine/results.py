"""What a traced request and a pipeline's metadata say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from stretto.engine.context import Span
from stretto.errors import StrettoError


@dataclass(frozen=True, slots=True)
class Trace:
    """One request looked at from inside: its answer, or the error it ended in, and the spans of its steps."""

    answer: Any
    error: Exception | None
    spans: tuple[Span, ...]

    @classmethod
    def of(cls, outcome: Any, spans: Iterable[Span]) -> Trace:
        """Return the trace of a request that ended in `outcome`, its spans by their start."""
        answer, error = (None, outcome) if isinstance(outcome, StrettoError) else (outcome, None)
        return cls(answer, error, tuple(sorted(spans, key=lambda span: (span.start, -span.end))))

    @property
    def handle_calls(self) -> int:
        """How many calls of Serve deployments the request cost inside Serve."""
        return sum(span.kind == "handle" for span in self.spans)


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a pipeline says of itself: its name, its text form, its steps and the features its input must have.

    `features` is empty where the pipeline does not know them. `signature` has the names, types, categories and ranges
    of the columns that its first model takes (see `stretto.models.Signature`), where they were recorded. `versions` are
    those of Stretto and of what it runs on. A pipeline that is not `idempotent` has a step that says so.
    `addresses` are the URLs at which it answers, where there are several: replicas themselves, and Serve's proxies.

    `takes` is what is known of a row of that model: its ``"kind"``, which is ``"numbers"``, ``"values"`` (one a row) or
    ``"columns"``, and its ``"width"``. `answers` is what is known of the answers, where the last step is a model: its
    ``"output"``, ``"classes"`` and ``"width"``, as `stretto.plan.steps.ModelInfo` has them. Each is None for none.
    """

    name: str
    pipeline: str
    plan: str
    steps: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    signature: Mapping[str, Any] | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    idempotent: bool = True
    addresses: tuple[str, ...] = ()
    takes: Mapping[str, Any] | None = None
    answers: Mapping[str, Any] | None = None
