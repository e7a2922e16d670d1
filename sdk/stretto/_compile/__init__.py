"""The compiler: check, share, place and fuse, each a function from plan to plan that keeps its meaning."""

from __future__ import annotations

from stretto._compile.check import check
from stretto._compile.explain import Explanation, explain
from stretto._compile.fuse import fuse
from stretto._compile.place import Placement, Profile, place
from stretto._compile.share import share
from stretto._ir import Plan


def compile_plan(plan: Plan, placement: Placement = "fused", profile: Profile | None = None) -> Plan:
    """Give the plan of stages that runs: checked, with equal work shared, each part in its place, the rest fused.

    ``"fused"`` keeps all in one process but for what asks for resources; ``"split"`` gives a deployment to every model;
    ``"auto"`` gives one to what by the `profile` costs more than a hop.

    Raises:
        PipelineError: a check failed; the message names the part and says what to do.
    """
    return fuse(place(share(check(plan)), placement, profile))


__all__ = ["Explanation", "Placement", "Profile", "check", "compile_plan", "explain", "fuse", "place", "share"]
