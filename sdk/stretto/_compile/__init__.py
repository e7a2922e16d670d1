"""The compiler: check, share, place and fuse, each a function from plan to plan that keeps its meaning."""

from __future__ import annotations

from stretto._compile.check import check
from stretto._compile.fuse import fuse
from stretto._compile.place import Placement, place
from stretto._compile.share import share
from stretto._ir import Plan


def compile_plan(plan: Plan, placement: Placement = "fused") -> Plan:
    """Give the plan of stages that runs: checked, with equal work shared, each part in its place, the rest fused.

    ``"fused"`` keeps all in one process but for what asks for resources; ``"split"`` gives a deployment to every model.

    Raises:
        PipelineError: a check failed; the message names the part and says what to do.
    """
    return fuse(place(share(check(plan)), placement))


__all__ = ["Placement", "check", "compile_plan", "fuse", "place", "share"]
