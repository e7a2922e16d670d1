"""All passes in order, and the plan that shows what they make of it."""

from __future__ import annotations

from typing import Any

from stretto.compiler.check import check
from stretto.compiler.defer import defer
from stretto.compiler.explain import explain
from stretto.compiler.fuse import fuse
from stretto.compiler.picture import Explanation
from stretto.compiler.place import Placement, Profile, place
from stretto.compiler.share import share
from stretto.engine.gc import paused
from stretto.errors import PipelineError
from stretto.models import find_engine
from stretto.plan.nodes import Input, Node
from stretto.plan.plan import Plan


def compile_plan(plan: Plan, placement: Placement = "fused", profile: Profile | None = None) -> Plan:
    """Return the plan of stages that runs: checked, work shared, its place found, the rest fused.

    Equal work is done once, and what may not be wanted is left for later. ``"fused"`` keeps all in one process but for
    what asks for resources; ``"split"`` gives a deployment to every model; ``"auto"`` gives one to what by the
    `profile` costs more than a hop.

    Raises:
        PipelineError: a check failed; the message names the part and says what to do.
    """
    # Passes make many objects and no garbage to speak of: collecting would take a third of the time of 10,000 steps.
    with paused():
        fused = fuse(place(defer(share(check(plan))), placement, profile))
    return merge(fused)


def merge(plan: Plan) -> Plan:
    """Return the plan in which engines compute together what they can of their models."""
    for engine in sorted({step.model.engine for step in plan.steps() if step.model is not None and step.model.engine}):
        plan = find_engine(engine).merge(plan)
    return plan


_UNMEASURED = "without a profile only steps that ask for resources get a deployment; profile() measures the others"


class PipelinePlan(Plan):
    """The plan of a pipeline, printed as the compiler's explanation of it.

    In a terminal it is a tree, which rich prints in color, and in a notebook a picture. `text` is the plan itself, one
    line per node.
    """

    __slots__ = ("label", "written")

    def __init__(self, start: Input, output: Node, written: str, label: str) -> None:
        super().__init__((start,), output)
        self.written = written
        self.label = label

    def __getstate__(self) -> Any:
        return super().__getstate__(), self.written, self.label

    def __setstate__(self, state: Any) -> None:
        graph, self.written, self.label = state
        super().__setstate__(graph)

    def explain(self, placement: Placement = "auto", profile: Profile | None = None) -> Explanation:
        """Return the stages, the deployments, the handle calls a request costs on Ray Serve, and the reasons.

        Raises:
            PipelineError: a check failed; the message names the part and says what to do.
        """
        advice = (_UNMEASURED,) if placement == "auto" and profile is None else ()
        return explain(compile_plan(self, placement, profile), self.written, advice)

    def __repr__(self) -> str:
        try:
            return str(self.explain())
        except PipelineError as error:
            return f"{self.text}\n\nit does not compile: {error}"

    def __rich__(self) -> Any:
        try:
            return self.explain()
        except PipelineError:
            return repr(self)

    def _repr_html_(self) -> str | None:
        try:
            return self.explain()._repr_html_()
        except PipelineError:
            return None
